"""The demo fleet of ``make run``: a simulated week of eight stations, pushed to the running service as a backend would.

Runs as a process of its own beside the service (``python -m chargewatch.cli.demo URL``, the key on stdin), so
that what it shows is what any client sees.
"""

import sys
from collections.abc import Iterator, Sequence
from datetime import UTC, datetime, timedelta
from typing import Final

import httpx
from rich.console import Console
from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeRemainingColumn

from chargewatch.simulate import SimulatedReading, SimulatedSession, simulate_fleet

STATIONS: Final = 8
DAYS: Final = 7
SEED: Final = 20260227
_PUSHES: Final = 3


def sessions_until(now: datetime) -> list[SimulatedSession]:
    """Returns the demo fleet's sessions of the week before ``now``, those that are over."""
    start = (now - timedelta(days=DAYS)).date()
    fleet = simulate_fleet(stations=STATIONS, days=DAYS, seed=SEED, start=start, anomaly_share=0.06)
    return [session for session in fleet if session.ended_at <= now]


def pushes(session: SimulatedSession) -> Iterator[tuple[str, str, dict[str, object]]]:
    """Yields method, path and body of the calls in which a backend would send a session."""
    attributes: dict[str, object] = {"started_at": session.started_at.isoformat()}
    if session.managed:
        attributes["managed"] = True
    parts = list(_parts([_value(reading) for reading in session.readings]))
    first: dict[str, object] = {
        "session_id": session.session_id,
        "charging_station_id": session.station_id,
        "connector_id": session.connector_id,
        "meter_values": parts[0],
    }
    yield "POST", "/v1/sessions", first | attributes
    path = f"/v1/sessions/{session.session_id}"
    for part in parts[1:]:
        yield "PATCH", path, {"meter_values": part}
    yield "PATCH", path, {"meter_values": [], "ended_at": session.ended_at.isoformat()}


def _parts(values: Sequence[dict[str, object]]) -> Iterator[Sequence[dict[str, object]]]:
    size = max(1, -(-len(values) // _PUSHES))
    for start in range(0, max(len(values), 1), size):
        yield values[start : start + size]


def _value(reading: SimulatedReading) -> dict[str, object]:
    fields = reading._asdict()
    sent = {name: value for name, value in fields.items() if value is not None}
    return sent | {"timestamp": reading.timestamp.isoformat()}


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
    headers = {"Authorization": f"Bearer {api_key}"}
    with (
        httpx.Client(base_url=url, headers=headers, timeout=30.0, trust_env=False) as client,
        Progress(*columns, console=console) as progress,
    ):
        for session in progress.track(sessions, description="demo fleet"):
            state: dict[str, object] = {}
            for method, path, body in pushes(session):
                answer = client.request(method, path, json=body)
                answer.raise_for_status()
                state = answer.json()
            anomalous += bool(state["is_anomaly"])
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
    except (KeyboardInterrupt, httpx.TransportError):
        return 0
    return 0


if __name__ == "__main__":
    raise SystemExit(main())
