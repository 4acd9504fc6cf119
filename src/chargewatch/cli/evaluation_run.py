"""A run of ``evaluate``: what was asked for is checked, done with a progress line, and shown as tables."""

import time
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Final, NamedTuple, Self

from pyarrow import ArrowInvalid
from rich.console import Console
from rich.progress import Progress, SpinnerColumn, TextColumn, TimeElapsedColumn
from rich.table import Table

from chargewatch.cli.result_files import WholeFile
from chargewatch.evaluate.examples import Gallery
from chargewatch.evaluate.real import RealReport, evaluate_real, real_data, why_not
from chargewatch.evaluate.reliability_plot import draw_reliability
from chargewatch.evaluate.report import Report, TextTable, as_json, as_markdown, shown, tables_of
from chargewatch.evaluate.result_rows import ResultsFileError, read_results
from chargewatch.evaluate.run import (
    Progress as Told,
)
from chargewatch.evaluate.run import (
    SeedReport,
    evaluate_results,
    evaluate_seed,
    intervals_over_seeds,
)
from chargewatch.evaluate.scorecard import all_alarms, pooled
from chargewatch.evaluate.suite import SuiteSize
from chargewatch.evaluate.suite import suite as suite_of
from chargewatch.evaluate.suite_files import write_suite
from chargewatch.ingest.table_blocks import TableError
from chargewatch.simulate.real_curves import read_curves

STANDARD: Final = "standard"
STATIONS: Final = "shade"
_BRIEF: Final = (
    *("methods", "categories", "faults under harder conditions", "calibration", "real curves, injected"),
    *("over seeds", "real DC sessions", "flags"),
)
_ENDINGS: Final = (".json", ".md")
_PLAIN_WIDTH: Final = 240


class RequestError(Exception):
    """What was asked for cannot be done; the text is one line."""


class Request(NamedTuple):
    """What to measure, and where the report goes."""

    seeds: tuple[int, ...]
    scale: float
    peers: bool
    write: Path | None
    results: Path | None
    output: Path | None
    examples: Path | None
    full: bool
    suite: str = STANDARD

    @classmethod
    def checked(
        cls,
        suite: str,
        seeds: str,
        scale: float,
        peers: bool,
        write: Path | None,
        results: Path | None,
        output: Path | None,
        examples: Path | None,
        full: bool,
    ) -> Self:
        """Returns a request that makes sense.

        Raises:
            RequestError: it makes none.
        """
        if suite not in {STANDARD, STATIONS}:
            raise RequestError(f"there is no suite {suite}; there are {STANDARD} and {STATIONS}")
        if not scale > 0:
            raise RequestError("--scale must be above 0")
        if output is not None and output.suffix.lower() not in _ENDINGS:
            raise RequestError(f"{output}: a report is {' or '.join(_ENDINGS)}")
        if output is not None and not output.resolve().parent.is_dir():
            raise RequestError(f"{output}: no such folder")
        request = cls(_numbers(seeds), scale, peers, write, results, output, examples, full, suite)
        request._check_together()
        return request

    def _check_together(self) -> None:
        if self.suite == STATIONS and (self.write or self.results or self.examples or len(self.seeds) > 1):
            raise RequestError(
                f"the suite {STATIONS} takes one seed, and no --write, --results or --examples"
            )
        if self.write and (self.results or self.output or self.examples or self.peers):
            raise RequestError("--write only writes the suite; run the command again without it")
        if self.results and (self.peers or self.examples):
            raise RequestError("--results measures a file; --peers and --examples are of a run without it")
        if len(self.seeds) > 1 and (self.write or self.results):
            raise RequestError("--write and --results are of one seed")


def _numbers(text: str) -> tuple[int, ...]:
    words = [word.strip() for word in text.split(",")]
    if not all(word.isascii() and word.isdigit() for word in words):
        raise RequestError(f"--seeds {text}: numbers with commas, as 0,1,2")
    if len(set(map(int, words))) < len(words):
        raise RequestError(f"--seeds {text}: a seed is there twice")
    return tuple(map(int, words))


def run(request: Request) -> None:
    """Does what was asked; tables and names of files go to stdout, the rest to stderr.

    Raises:
        RequestError: a file of results or of real sessions cannot be used.
        OSError: something cannot be written.
    """
    told = Console(stderr=True, highlight=False)
    if request.write is not None:
        with progress_line(told) as progress:
            cases = suite_of(request.seeds[0], SuiteSize.scaled(request.scale))
            write_suite(request.write, cases, lambda done: progress("writing the suite", done))
        print(request.write, flush=True)
        return
    gallery = Gallery(request.examples) if request.examples else None
    curves = _curves(request, told)
    with progress_line(told) as progress:
        reports = tuple(_measured(request, seed, curves, gallery, progress) for seed in request.seeds)
    over = intervals_over_seeds(reports) if len(reports) > 1 else {}
    alarms = pooled([all_alarms(r.card) for r in reports]) if len(reports) > 1 else ()
    report = Report(STANDARD, request.scale, reports, over, _real(request, told), alarms)
    _show(report, request.full)
    for seed in reports:
        told.print(f"seed {seed.seed}: {seed.seconds:.0f} s")
    if gallery is not None and request.examples is not None:
        plot = draw_reliability(reports[0].card.calibration)
        (request.examples / "reliability.svg").write_text(plot, encoding="utf-8")
        told.print(f"{sum(gallery.drawn.values())} examples in {request.examples}", soft_wrap=True)
    if request.output is not None:
        content = as_json(report) if is_json(request.output) else as_markdown(report).encode()
        save(content, request.output.resolve())
        print(request.output, flush=True)


def _curves(request: Request, told: Console) -> Path | None:
    """Returns the file of real sessions where it has curves that faults can be injected into."""
    file = real_data() if request.results is None else None
    if file is None:
        return None
    try:
        read_curves(file)
    except (ValueError, ArrowInvalid) as problem:
        told.print(f"no measured curves: {problem}", soft_wrap=True)
        return None
    return file


def _measured(
    request: Request, seed: int, curves: Path | None, gallery: Gallery | None, progress: Told
) -> SeedReport:
    if request.results is None:
        on_case = gallery.show if gallery is not None and seed == request.seeds[0] else None
        return evaluate_seed(
            seed,
            request.scale,
            peers=request.peers,
            curves=curves,
            progress=progress,
            on_case=on_case,
        )
    try:
        results = read_results(request.results)
        return evaluate_results(request.results.name, results, seed, request.scale, progress)
    except (ResultsFileError, ValueError) as problem:
        raise RequestError(str(problem)) from None


def _real(request: Request, told: Console) -> RealReport | None:
    """Judges the real sessions where there are any; a file of results knows none of them."""
    if request.results is not None:
        return None
    file = real_data()
    if file is None:
        told.print(f"no real sessions: {why_not()}", soft_wrap=True)
        return None
    try:
        return evaluate_real(file, time.time_ns() // 1_000)
    except TableError as problem:
        raise RequestError(str(problem)) from None


def is_json(output: Path) -> bool:
    """Returns whether a report goes there as JSON; else it is Markdown."""
    return output.suffix.lower() == ".json"


def save(content: bytes, output: Path) -> None:
    """Writes a report, whole or not at all.

    Raises:
        OSError: it cannot be written.
    """
    file = WholeFile(output)
    try:
        file.sink.write(content)
        file.commit()
    finally:
        file.discard()


def _show(report: Report, full: bool) -> None:
    tables = list(tables_of(report))
    show_tables(tables if full else shown(tables, _BRIEF))


def show_tables(tables: Iterable[TextTable]) -> None:
    """Draws tables on stdout."""
    console = Console(highlight=False)
    if not console.is_terminal:
        console = Console(highlight=False, width=_PLAIN_WIDTH)
    for table in tables:
        console.print(_drawn(table))


def _drawn(table: TextTable) -> Table:
    drawn = Table(title=table.title, caption=table.note or None, title_justify="left", caption_justify="left")
    for number, column in enumerate(table.columns):
        drawn.add_column(column, justify="right" if number else "left", overflow="fold", no_wrap=not number)
    for row in table.rows:
        drawn.add_row(*row)
    return drawn


@contextmanager
def progress_line(console: Console) -> Iterator[Told]:
    """Shows what is going on on a terminal, and nothing elsewhere."""
    columns = (SpinnerColumn(), TextColumn("{task.description}"), TimeElapsedColumn())
    with Progress(*columns, console=console, transient=True, disable=not console.is_terminal) as bar:
        task = bar.add_task("", total=None)
        yield lambda what, count: bar.update(task, description=f"{what}: {count}")
