"""The demo fleet of ``make run``: a simulated week of eight stations, pushed to the running service as a backend would.

Runs as a process of its own beside the service (``python -m chargewatch.cli.demo URL``, the key on stdin), so
that what it shows is what any client sees.
"""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chargewatch.client import NO_RETRY, Client, ConnectionFailed, MeterValue, SessionState
from chargewatch.simulate import SimulatedSession, simulate_fleet

STATIONS: Final = 8
DAYS: Final = 7
SEED: Final = 20260227
_PUSHES: Final = 3


def sessions_until(now: datetime) -> list[SimulatedSession]:
    """Returns the demo fleet's sessions of the week before ``now``, those that are over."""
    start = (now - timedelta(days=DAYS)).date()
    fleet = simulate_fleet(stations=STATIONS, days=DAYS, seed=SEED, start=start, anomaly_share=0.06)
    return [session for session in fleet if session.ended_at <= now]


def push(client: Client, session: SimulatedSession) -> SessionState:
    """Sends a session as a backend would: its begin, its readings in a few calls, its end. Returns the last answer."""
    first, *rest = _parts([MeterValue(**reading._asdict()) for reading in session.readings])
    client.create_session(
        session.session_id,
        session.station_id,
        first,
        connector_id=session.connector_id,
        started_at=session.started_at,
        managed=session.managed or None,
    )
    for part in rest:
        client.update_session(session.session_id, part)
    return client.update_session(session.session_id, ended_at=session.ended_at)


def _parts(values: Sequence[MeterValue]) -> Iterator[Sequence[MeterValue]]:
    size = max(1, -(-len(values) // _PUSHES))
    for start in range(0, max(len(values), 1), size):
        yield values[start : start + size]


def stream(url: str, api_key: str, console: Console) -> None:
    """Pushes the demo fleet to the service at ``url``, with a progress bar."""
    sessions = sessions_until(datetime.now(UTC))
    anomalous = 0
    columns = (
        TextColumn("demo fleet"),
        BarColumn(),
        MofNCompleteColumn(),
        TextColumn("sessions"),
        TimeRemainingColumn(),
    )
    with Client(url, api_key, retry=NO_RETRY) as client, Progress(*columns, console=console) as progress:
        for session in progress.track(sessions, description="demo fleet"):
            anomalous += bool(push(client, session).is_anomaly)
    console.print(
        f"demo fleet: {len(sessions)} simulated sessions of {STATIONS} stations, {anomalous} of them anomalous; try\n"
        f"  curl -s -H 'Authorization: Bearer {api_key}' '{url}/v1/sessions?is_anomaly=true'",
        soft_wrap=True,
        highlight=False,
    )


def main() -> int:
    """Runs the demo; ends quietly when the service is stopped meanwhile."""
    try:
        stream(sys.argv[1], sys.stdin.readline().strip(), Console(stderr=True))
    except (KeyboardInterrupt, ConnectionFailed):
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
