"""``train``: makes a model for the learned part of CSAR-2 from simulated sessions; the seed decides all of it.

The folder's name goes to stdout, everything said about it to stderr. Exit status: 1 when it could not be made,
2 when the command line is wrong, 130 after Ctrl-C.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Final

import typer

if TYPE_CHECKING:
    from rich.progress import Progress

    from chargewatch.cli.training_data import Amounts
    from chargewatch.csar2.train import Settings, TrainingData
    from chargewatch.features.tensor import SessionTensors

_INTERRUPTED: Final = 130
_INSTALL: Final = (
    "training needs PyTorch, which is not installed: pip install 'chargewatch[train]' "
    "(in a checkout: make setup-train)"
)


def register(app: typer.Typer) -> None:
    """Adds the command to the program's."""
    app.command()(train)


def train(
    output: Annotated[Path, typer.Option(help="The folder for manifest, ONNX graph and weights.")],
    seed: Annotated[int, typer.Option(min=0, help="Of the simulated sessions and of the training.")] = 1,
    share: Annotated[
        float, typer.Option(min=0.001, max=10.0, help="Of the usual number of sessions (1: about 60,000).")
    ] = 1.0,
    epochs: Annotated[int, typer.Option(min=1, help="Passes of the autoencoder over the sessions.")] = 24,
    workers: Annotated[
        int | None, typer.Option(min=1, help="Processes that simulate.", show_default="one for each core")
    ] = None,
) -> None:
    """Trains a model on simulated sessions and writes it as a folder."""
    try:
        from chargewatch.csar2.train import Settings
    except ModuleNotFoundError as missing:
        if missing.name not in {"torch", "onnx"}:
            raise
        raise _failed(_INSTALL, 1) from None
    from chargewatch.cli.training_data import Amounts

    settings = Settings(seed=seed, epochs=epochs, head_epochs=max(round(1.25 * epochs), 1))
    try:
        metrics = _train(output, settings, Amounts().times(share), workers, share)
    except ValueError as problem:
        raise _failed(str(problem), 1) from None
    except OSError as problem:
        raise _failed(f"{problem.filename or output}: {problem.strerror or problem}", 1) from None
    except KeyboardInterrupt:
        raise _failed("interrupted; nothing was written", _INTERRUPTED) from None
    print(output, flush=True)
    for name, value in metrics.items():
        typer.echo(f"{name}: {value}", err=True)


def _train(
    output: Path, settings: "Settings", amounts: "Amounts", workers: int | None, scale: float
) -> dict[str, float]:
    """Simulates, trains, calibrates and writes; returns what was measured on sessions that were not learnt from."""
    import msgspec
    from rich.console import Console
    from rich.progress import BarColumn, Progress, TextColumn, TimeRemainingColumn

    from chargewatch.artefacts.folder import Artefact, write_artefact
    from chargewatch.csar2.shape_model import ShapeModel
    from chargewatch.csar2.train import train as made
    from chargewatch.evaluate.confidence_fit import fit_confidence

    console = Console(stderr=True)
    columns = (TextColumn("{task.description}"), BarColumn(), TimeRemainingColumn())
    with Progress(*columns, console=console, disable=not console.is_terminal) as progress:
        data = simulated_data(settings.seed, amounts, workers, progress)
        task = progress.add_task("training", total=1.0)
        trained = made(data, settings, lambda share: progress.update(task, completed=share))
        model = ShapeModel(Artefact(trained.manifest, trained.graph), "the trained model")
        task = progress.add_task("calibrating the confidence", total=None)
        fitted = fit_confidence(
            model, settings.seed, scale, lambda done: progress.update(task, completed=done)
        )
    manifest = msgspec.structs.replace(trained.manifest, confidence=fitted)
    write_artefact(output, manifest, trained.graph, trained.weights)
    return manifest.metrics


def simulated_data(
    seed: int, amounts: "Amounts", workers: int | None, progress: "Progress"
) -> "TrainingData":
    """Simulates all parts of the training data."""
    from chargewatch.artefacts.manifest import DataSource
    from chargewatch.cli.training_data import chunks, simulated
    from chargewatch.csar2.train import TrainingData, joined

    wanted = chunks(seed, amounts)
    parts: dict[str, list[SessionTensors]] = {}
    kinds: dict[str, list[SessionTensors]] = {}
    total = sum(one.sessions for one in wanted)
    task = progress.add_task("simulating", total=total)
    for one, tensors in simulated(wanted, workers):
        if one.part == "test_odd":
            kinds.setdefault(str(one.odd), []).append(tensors)
        else:
            parts.setdefault(one.part, []).append(tensors)
        progress.advance(task, one.sessions)
    if "odd" not in parts:
        raise ValueError("the simulator knows no odd shapes to learn from")
    source = DataSource("simulated sessions (chargewatch simulate)", total, "Apache-2.0", "")
    return TrainingData(
        normal=joined(parts["normal"]),
        odd=joined(parts["odd"]),
        calibration=joined(parts["calibration"]),
        test_normal=joined(parts["test_normal"]),
        test_odd={kind: joined(found) for kind, found in kinds.items()},
        sources=(source,),
    )


def _failed(text: str, status: int) -> typer.Exit:
    typer.echo(f"chargewatch: {text}", err=True)
    return typer.Exit(status)
