"""Time as the service sees it: aware UTC, and microseconds since 1970 for the analysis."""

from datetime import UTC, datetime, timedelta
from typing import Final

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_MICROSECOND: Final = timedelta(microseconds=1)


def utc_now() -> datetime:
    """Returns the present."""
    return datetime.now(UTC)


def microseconds(at: datetime) -> int:
    """Returns the microseconds from 1970 to an aware time."""
    return (at - _EPOCH) // _MICROSECOND


def from_microseconds(at_us: int) -> datetime:
    """Returns the time that many microseconds after 1970.

    Raises:
        OverflowError: a year outside 1–9999.
    """
    return _EPOCH + timedelta(microseconds=at_us)
