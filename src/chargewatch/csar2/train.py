"""Trains the learned part of CSAR-2; needs PyTorch (the extra ``train``). One thread; a seed gives one model.

In two steps: the autoencoder learns to reconstruct normal sessions; then it is frozen, and the head learns to tell
normal sessions from odd shapes by what was not reconstructed (outlier exposure: Hendrycks et al. 2019). Calibration is
on normal sessions that neither step saw (`chargewatch.csar2.rarity`). Sessions come as tensors: where they are from,
simulated or real, is the caller's business.
"""

import io
import warnings
from collections.abc import Callable, Mapping, Sequence
from hashlib import sha256
from pathlib import Path
from typing import Final, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from chargewatch import __version__
from chargewatch.artefacts.folder import Artefact, read_artefact, read_weights, write_artefact
from chargewatch.artefacts.manifest import FORMAT, DataSource, Manifest, Stratum
from chargewatch.artefacts.weights import Weights
from chargewatch.csar2 import rarity
from chargewatch.csar2.exposure import modulated, spoilt
from chargewatch.csar2.network import (
    PASSES,
    Autoencoder,
    Detector,
    Head,
    loss_of,
    passes,
)
from chargewatch.csar2.row_detector import RowDetector
from chargewatch.csar2.shape_model import ShapeModel
from chargewatch.features.channel_table import (
    BUCKETS,
    CHANNELS,
    CONTEXT,
    FEATURE_HASH,
    RECONSTRUCTED,
)
from chargewatch.features.tensor import SessionTensors

MODEL_ID: Final = "model-csar2-base"
MODEL_VERSION: Final = "0.3.0"

_OPSET: Final = 17
_CLIP: Final = 1.0
_SHORTEST_SPAN, _LONGEST_SPAN = 2, 8

#: Told the share of the work that is done, between 0 and 1.
Progress = Callable[[float], None]


class TrainingData(NamedTuple):
    """Tensors of the sessions of each part; no station occurs in two parts.

    ``normal`` and ``odd`` are learnt from, ``calibration`` (normal) sets the false-alarm rate; ``test_normal`` and
    ``test_odd`` (by kind, kinds that are not in ``odd``) are measured on. ``sources`` says where all came from.
    """

    normal: SessionTensors
    odd: SessionTensors
    calibration: SessionTensors
    test_normal: SessionTensors
    test_odd: Mapping[str, SessionTensors]
    sources: tuple[DataSource, ...]


class Settings(NamedTuple):
    """How long and how fast to learn."""

    seed: int = 1
    epochs: int = 24
    head_epochs: int = 30
    batch_size: int = 128
    learning_rate: float = 2e-3


class Trained(NamedTuple):
    """A trained model: what `chargewatch.artefacts.folder.write_artefact` takes."""

    manifest: Manifest
    graph: bytes
    weights: Weights


class Inputs(NamedTuple):
    """What the network takes: (N, C, T) values and masks, (N, K) context."""

    values: Tensor
    masks: Tensor
    context: Tensor

    def of(self, rows: Tensor) -> "Inputs":
        """Returns some rows."""
        return Inputs(self.values[rows], self.masks[rows], self.context[rows])


def train(data: TrainingData, settings: Settings, progress: Progress = lambda _: None) -> Trained:
    """Trains, calibrates and measures a model.

    The same data, settings, machine and version of PyTorch give the same model.
    """
    torch.set_num_threads(1)
    torch.manual_seed(settings.seed)
    autoencoder, head = Autoencoder(), Head()
    learn_to_reconstruct(autoencoder, inputs_of(data.normal), settings, lambda x: progress(0.5 * x))
    detector = Detector(autoencoder, head)
    learn_to_tell(detector, data, settings, lambda x: progress(0.5 + 0.45 * x))
    detector.eval()
    graph = export(detector)
    manifest = _manifest(data, settings)
    model = ShapeModel(Artefact(manifest, graph), "the trained model")
    scores = model.run(data.calibration, np.arange(len(data.calibration.shown)))[0]
    strata = rarity.calibrate(scores, rarity.strata_of(data.calibration))
    manifest = _manifest(data, settings, strata)
    metrics = measured(ShapeModel(Artefact(manifest, graph), "the trained model"), data)
    progress(1.0)
    weights = {name: tensor.detach().numpy().copy() for name, tensor in detector.state_dict().items()}
    return Trained(_manifest(data, settings, strata, metrics), graph, weights)


def joined(parts: Sequence[SessionTensors]) -> SessionTensors:
    """Returns the sessions of several parts as one."""
    return SessionTensors(*(np.concatenate(columns) for columns in zip(*parts, strict=True)))


def measured(model: ShapeModel, data: TrainingData, limit: float = 0.001) -> dict[str, float]:
    """Measures false alarms on normal sessions and how many odd shapes of each kind are found."""
    metrics = {
        "unusual_per_thousand": 1000.0 * limit,
        "false_alarms_per_1000": round(1000.0 * _share_found(model, data.test_normal, limit), 2),
    }
    shares = {kind: _share_found(model, odd, limit) for kind, odd in sorted(data.test_odd.items())}
    if shares:
        metrics["recall_unseen_kinds"] = round(float(np.mean(list(shares.values()))), 3)
    return metrics | {f"recall_{kind}": round(share, 3) for kind, share in shares.items()}


def _share_found(model: ShapeModel, sessions: SessionTensors, limit: float) -> float:
    if not len(sessions.shown):
        return 0.0
    outlook = model.outlook(sessions, np.ones(len(sessions.shown), np.bool_))
    return float((outlook.p <= limit).mean())


def inputs_of(sessions: SessionTensors) -> Inputs:
    """Returns sessions as the network takes them."""
    return Inputs(
        torch.from_numpy(sessions.values),
        torch.from_numpy(sessions.masks.astype(np.float32)),
        torch.from_numpy(sessions.context),
    )


def learn_to_reconstruct(
    autoencoder: Autoencoder, normal: Inputs, settings: Settings, progress: Progress
) -> None:
    """Hides spans of normal sessions and learns what is expected there."""
    batches = max(len(normal.values) // settings.batch_size, 1)
    optimiser, schedule = _optimiser(autoencoder, settings, settings.epochs * batches)
    for epoch in range(settings.epochs):
        order = torch.randperm(len(normal.values))
        for number in range(batches):
            some = normal.of(order[number * settings.batch_size :][: settings.batch_size])
            hidden = _hidden(len(some.values))
            expected, _ = autoencoder(*some, hidden)
            counts = some.masks[:, list(RECONSTRUCTED)] * hidden
            _step(autoencoder, loss_of(expected, some.values, counts), optimiser, schedule)
        progress((epoch + 1) / settings.epochs)
    autoencoder.eval()


def _hidden(sessions: int) -> Tensor:
    """Draws what is hidden: the spans of one pass, or as often combs of other spans. Shape (B, 1, T)."""
    span = torch.randint(_SHORTEST_SPAN, _LONGEST_SPAN + 1, (sessions, 1))
    shift = torch.randint(0, BUCKETS, (sessions, 1))
    every = torch.randint(PASSES, PASSES + 2, (sessions, 1))
    comb = (((torch.arange(BUCKETS)[None] + shift) // span) % every == 0).float()
    of_a_pass = passes()[torch.randint(0, PASSES, (sessions,))]
    return torch.where(torch.rand(sessions, 1) < 0.5, comb, of_a_pass)[:, None]


def learn_to_tell(detector: Detector, data: TrainingData, settings: Settings, progress: Progress) -> None:
    """Teaches the head, on a frozen autoencoder; a third of each batch is odd.

    Of these a third each are simulated odd shapes, normal sessions spoilt, and normal sessions modulated.
    """
    normal = _evidence(detector, inputs_of(data.normal))
    made_odd = (data.odd, spoilt(data.normal, settings.seed), modulated(data.normal, settings.seed))
    odd = [_evidence(detector, inputs_of(one)) for one in made_odd if len(one.shown)]
    each = settings.batch_size // (2 * len(odd))
    batches = max(len(normal[0]) // settings.batch_size, 1)
    optimiser, schedule = _optimiser(detector.head, settings, settings.head_epochs * batches)
    tell = nn.BCEWithLogitsLoss()
    detector.head.fit_scale(*normal)
    detector.head.train()
    for epoch in range(settings.head_epochs):
        order = torch.randperm(len(normal[0]))
        for number in range(batches):
            rows = order[number * settings.batch_size :][: settings.batch_size]
            drawn = [torch.randint(0, len(one[0]), (each,)) for one in odd]
            seen, shown = (
                torch.cat(
                    (normal[part][rows], *(one[part][some] for one, some in zip(odd, drawn, strict=True)))
                )
                for part in range(2)
            )
            truth = torch.cat((torch.zeros(len(rows)), torch.ones(each * len(odd))))
            _step(detector.head, tell(detector.head(seen, shown), truth), optimiser, schedule)
        progress((epoch + 1) / settings.head_epochs)
    detector.head.eval()


def _evidence(detector: Detector, sessions: Inputs) -> tuple[Tensor, Tensor]:
    """Returns what the head sees of sessions."""
    parts = []
    with torch.no_grad():
        for rows in torch.arange(len(sessions.values)).split(512):
            some = sessions.of(rows)
            parts.append(detector.evidence(*some, *detector.expect(*some)))
    seen, shown = zip(*parts, strict=True)
    return torch.cat(seen), torch.cat(shown)


def _optimiser(
    module: nn.Module, settings: Settings, steps: int
) -> tuple[torch.optim.Optimizer, torch.optim.lr_scheduler.LRScheduler]:
    optimiser = torch.optim.AdamW(module.parameters(), settings.learning_rate, weight_decay=1e-4)
    schedule = torch.optim.lr_scheduler.OneCycleLR(
        optimiser, settings.learning_rate, total_steps=max(steps, 20), pct_start=0.1
    )
    return optimiser, schedule


def _step(
    module: nn.Module,
    loss: Tensor,
    optimiser: torch.optim.Optimizer,
    schedule: torch.optim.lr_scheduler.LRScheduler,
) -> None:
    optimiser.zero_grad()
    loss.backward()
    nn.utils.clip_grad_norm_(module.parameters(), _CLIP)
    optimiser.step()
    schedule.step()


def export(detector: Detector) -> bytes:
    """Returns the network as ONNX, for any number of sessions."""
    names, results = ["values", "masks", "context"], ["logit", "expected"]
    example = (
        torch.zeros(2, len(CHANNELS), BUCKETS),
        torch.zeros(2, len(CHANNELS), BUCKETS),
        torch.zeros(2, len(CONTEXT)),
    )
    file = io.BytesIO()
    with warnings.catch_warnings():
        # The older exporter: it writes half the nodes, and PyTorch is pinned to a version that has it.
        warnings.simplefilter("ignore")
        torch.onnx.export(
            RowDetector(detector).eval(),
            example,
            file,
            dynamo=False,
            opset_version=_OPSET,
            input_names=names,
            output_names=results,
            dynamic_axes={name: {0: "sessions"} for name in (*names, *results)},
        )
    return file.getvalue()


def export_anew(folder: Path) -> Manifest:
    """Writes a model's graph anew from its weights, where the layout of the export has changed; returns its manifest.

    Raises:
        ArtefactError: the model does not fit this version.
    """
    manifest = read_artefact(folder, FEATURE_HASH).manifest
    weights = read_weights(folder, manifest)
    detector = Detector(Autoencoder(), Head())
    detector.load_state_dict({name: torch.from_numpy(array.copy()) for name, array in weights.items()})
    return write_artefact(folder, manifest, export(detector.eval()), weights)


def fingerprint(data: TrainingData) -> str:
    """Returns the SHA-256 of everything that a model was trained and calibrated on."""
    digest = sha256()
    for part in (data.normal, data.odd, data.calibration):
        for column in part:
            digest.update(np.ascontiguousarray(column).tobytes())
    return digest.hexdigest()


def _manifest(
    data: TrainingData,
    settings: Settings,
    strata: tuple[Stratum, ...] | None = None,
    metrics: Mapping[str, float] | None = None,
) -> Manifest:
    return Manifest(
        format=FORMAT,
        model_id=MODEL_ID,
        model_version=MODEL_VERSION,
        created_by=f"chargewatch {__version__}",
        feature_hash=FEATURE_HASH,
        channels=tuple(row.name for row in CHANNELS),
        context=tuple(row.name for row in CONTEXT),
        buckets=BUCKETS,
        seed=settings.seed,
        data=data.sources,
        training_fingerprint=fingerprint(data),
        metrics=dict(metrics or {}),
        strata=rarity.uncalibrated() if strata is None else strata,
        tensors={},
        files={},
    )
