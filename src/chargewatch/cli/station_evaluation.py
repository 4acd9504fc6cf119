"""A run of ``evaluate --suite shade``: the station detector and its peers, as tables."""

import time

import msgspec
from rich.console import Console

from chargewatch.cli.evaluation_run import Request, RequestError, is_json, progress_line, save, show_tables
from chargewatch.evaluate.report import markdown_table
from chargewatch.evaluate.station_report import station_tables
from chargewatch.evaluate.station_suite import run_station_suite, why_no_real_sets


def run_stations(request: Request) -> None:
    """Runs the back-test; tables and the report's name go to stdout, the rest to stderr.

    Raises:
        RequestError: peers were asked for that are not installed.
        OSError: the report cannot be written.
    """
    told = Console(stderr=True, highlight=False)
    if missing := why_no_real_sets():
        told.print(f"no real sessions: {missing}", soft_wrap=True)
    began = time.monotonic()
    try:
        with progress_line(told) as progress:
            report = run_station_suite(request.seeds[0], request.scale, request.peers, progress)
    except ModuleNotFoundError as problem:
        raise RequestError(f"--peers: {problem.name} is not installed (extra: peers)") from None
    tables = list(station_tables(report))
    show_tables(tables)
    told.print(f"seed {report.seed}: {time.monotonic() - began:.0f} s")
    if request.output is not None:
        text = "\n\n".join(markdown_table(table) for table in tables) + "\n"
        content = msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"
        save(content if is_json(request.output) else text.encode(), request.output.resolve())
        print(request.output, flush=True)
