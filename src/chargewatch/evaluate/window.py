"""The window that a verdict speaks about: the last 6 h of a session, and which of its faults count there."""

from datetime import datetime, timedelta

from chargewatch.domain.verdict import WINDOW_S
from chargewatch.simulate import Label, SimulatedSession


def window_start(session: SimulatedSession) -> datetime:
    """Returns the first reading of the last 6 h (contract, sections 3 and 4)."""
    times = [reading.timestamp for reading in session.readings]
    begin = max(times) - timedelta(seconds=WINDOW_S)
    return min(t for t in times if t >= begin)


def counted_labels(session: SimulatedSession) -> list[Label]:
    """Returns the labels that count: the readings prove them, and their last reading lies in the window."""
    if not session.labels:
        return []
    window = window_start(session)
    return [label for label in session.labels if label.visible and label.end >= window]
