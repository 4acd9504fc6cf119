"""Readings of many sessions as columns, the one form in which the analysis takes them."""

from typing import Final, NamedTuple, TypeVar

import numpy as np
import numpy.typing as npt

Floats = npt.NDArray[np.float64]
Integers = npt.NDArray[np.int64]
Codes = npt.NDArray[np.int8]
Flags = npt.NDArray[np.bool_]
Number = TypeVar("Number", np.float64, np.int64)

#: Readings before this instant (2000-01-02T00:00:00Z) come from a clock that was never set.
EARLIEST_SANE_US: Final = 946_771_200_000_000
#: Readings further ahead of the server's clock than this come from a clock that is wrong.
AHEAD_US: Final = 24 * 3600 * 1_000_000
#: No time is declared.
NO_TIME: Final = np.iinfo(np.int64).min


class ReadingColumns(NamedTuple):
    """N readings of S sessions; those of session s are rows ``offsets[s]:offsets[s + 1]``.

    Rows of a session stand in the order in which they count: of two with the same key the later one wins.
    ``at_us`` is UTC in microseconds since 1970. ``value`` is in the unit that was sent (NaN: no number).
    Codes are positions in the tables of ``domain.vocabulary``; -1 is unknown. ``signed`` marks
    ``format: SignedData``.
    """

    offsets: Integers
    at_us: Integers
    value: Floats
    measurand: Codes
    unit: Codes
    phase: Codes
    location: Codes
    context: Codes
    unit_assumed: Flags
    signed: Flags

    @property
    def sessions(self) -> int:
        """The number of sessions, S."""
        return len(self.offsets) - 1


class SessionColumns(NamedTuple):
    """What is declared about S sessions, beside their readings. Power in W (NaN: unknown).

    ``overlaps`` counts the other sessions of the same connector whose time overlaps with the session's.
    """

    managed: Flags
    over: Flags
    rated_power_w: Floats
    started_us: Integers
    ended_us: Integers
    duplicates: Integers
    out_of_order: Integers
    overlaps: Integers

    @classmethod
    def undeclared(cls, sessions: int, *, over: bool = True) -> "SessionColumns":
        """Returns the columns of sessions about which nothing is declared."""
        return cls(
            managed=np.zeros(sessions, np.bool_),
            over=np.full(sessions, over),
            rated_power_w=np.full(sessions, np.nan),
            started_us=np.full(sessions, NO_TIME),
            ended_us=np.full(sessions, NO_TIME),
            duplicates=np.zeros(sessions, np.int64),
            out_of_order=np.zeros(sessions, np.int64),
            overlaps=np.zeros(sessions, np.int64),
        )


def steps(values: npt.NDArray[Number]) -> npt.NDArray[Number]:
    """Returns each value less the one before (``numpy.diff``, at a fifth of its cost on a few readings)."""
    return values[1:] - values[:-1]
