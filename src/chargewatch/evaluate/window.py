"""The window that a verdict speaks about: the last 6 h of a session, and which of its faults count there."""

from datetime import datetime, timedelta

from chargewatch.domain.categories import Category
from chargewatch.domain.verdict import WINDOW_S
from chargewatch.simulate import Label, SimulatedSession


def window_start(session: SimulatedSession) -> datetime:
    """Returns the first reading of the last 6 h (contract, sections 3 and 4)."""
    times = [reading.timestamp for reading in session.readings]
    begin = max(times) - timedelta(seconds=WINDOW_S)
    return min(t for t in times if t >= begin)


def counted_labels(session: SimulatedSession) -> list[Label]:
    """Returns the labels that count: the readings prove them, and they lie in the window."""
    if not session.labels:
        return []
    window = window_start(session)
    return [label for label in session.labels if label.visible and _happens_at(label) >= window]


def _happens_at(label: Label) -> datetime:
    """Returns when a fault must be in the window to count: a register's fall as it falls, all else until it ends.

    A register that fell stays below what it has shown before, often to the end of the session.
    """
    return label.start if label.category is Category.KWH_DECREASE else label.end
