"""One OCPP transaction of a station, and which times belong to it.

A station's transactionIds are not unique for ever: OCPP 1.6 backends may begin to count anew. `nearest` tells by time
which use of an id is meant. A clock that was reset (before 2000-01-02) says nothing about order.
"""

import math
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from chargewatch.domain.instants import MICROSECONDS
from chargewatch.ingest.columns import EARLIEST_SANE_US

#: A transactionId that is silent for longer begins anew (24 h); so does one that is used this long after its end.
LONGEST_SILENCE_US: Final = 24 * 3600 * MICROSECONDS
#: Readings without a transactionId belong to the connector's last transaction for so long after its end (15 min).
AFTER_STOP_US: Final = 15 * 60 * MICROSECONDS
#: A start waits for its transactionId for so long (7 days).
LONGEST_WAIT_US: Final = 7 * LONGEST_SILENCE_US
#: Clocks of stations and readings aligned to the clock may put a reading just before the start.
_EARLY_US: Final = 60 * MICROSECONDS
#: The key of a start that waits for its transactionId begins so.
PENDING: Final = "start:"


class Transaction(NamedTuple):
    """One transaction of a station, or a start that waits for its transactionId.

    ``key`` is the transactionId, or ``start:`` and the message id of the start; ``generation`` how often the id had
    been used before. ``began_us`` is when the transaction started, or its first known instant where no start was seen
    (``started``). ``last_us`` is the newest sane instant of its readings. ``evse`` and ``connector`` are None where
    they are not known yet.
    """

    key: str
    generation: int = 0
    session: str = ""
    evse: str | None = None
    connector: str | None = None
    message_id: str | None = None
    started: bool = False
    began_us: int | None = None
    ended_us: int | None = None
    last_us: int | None = None
    meter_start: str | None = None

    @property
    def is_pending(self) -> bool:
        """Whether it is a start that waits for its transactionId."""
        return not self.session

    @property
    def start(self) -> tuple[int | None, str | None, str | None]:
        """What tells its start from others: when, where, and the register."""
        return self.began_us, self.connector, self.meter_start

    def same_start(self, other: "Transaction") -> bool:
        """Whether both are one start."""
        return self.started and other.started and self.start == other.start

    def is_at(self, evse: str | None, connector: str | None) -> bool:
        """Whether it takes place at an EVSE (OCPP 2) or a connector (OCPP 1.6)."""
        if evse is not None:
            return self.evse == evse
        return connector is not None and self.evse is None and self.connector == connector

    def placed(self, evse: str | None, connector: str | None) -> "Transaction":
        """Returns it with the place that a message names, where none was known."""
        return self._replace(evse=self.evse or evse, connector=self.connector or connector)

    def with_start(self, start: "Transaction") -> "Transaction":
        """Returns it with what a start says."""
        return self.placed(start.evse, start.connector)._replace(
            connector=start.connector or self.connector,
            message_id=start.message_id,
            started=True,
            began_us=start.began_us,
            meter_start=start.meter_start,
        )

    def read(self, times: Sequence[int]) -> "Transaction":
        """Returns it with the instants of readings."""
        sane = [at for at in times if is_sane(at)]
        if not sane:
            return self
        row = self
        if not self.started and (self.began_us is None or min(sane) < self.began_us):
            row = self._replace(began_us=min(sane))
        return row._replace(last_us=max(sane) if row.last_us is None else max(row.last_us, *sane))

    @property
    def newest_us(self) -> int | None:
        """The newest instant that is known of it."""
        return max(
            (at for at in (self.began_us, self.last_us, self.ended_us) if at is not None), default=None
        )

    def span(self) -> tuple[float, float]:
        """Returns the first and the last instant that are known of it; without any reading yet it lasts for ever."""
        known = [at for at in (self.began_us, self.last_us, self.ended_us) if at is not None and is_sane(at)]
        first = -math.inf if self.began_us is None or not is_sane(self.began_us) else min(known)
        if self.ended_us is not None:
            return first, self.ended_us if is_sane(self.ended_us) else max(known, default=math.inf)
        return first, math.inf if self.last_us is None else self.last_us

    def distance_us(self, at_us: int) -> float:
        """Returns how far a time is from the transaction."""
        first, last = self.span()
        return max(first - at_us, at_us - last, 0)

    def runs_at(self, at_us: int | None) -> bool:
        """Whether readings of its connector at a time are its own: until 15 min after its end, or 24 h of silence."""
        if at_us is None:
            return self.ended_us is None
        first, last = self.span()
        return first <= at_us <= last + (LONGEST_SILENCE_US if self.ended_us is None else AFTER_STOP_US)

    def may_have_begun(self, at_us: int | None) -> bool:
        """Whether a start that waits may be that of readings at a time."""
        if at_us is None or self.began_us is None or not is_sane(self.began_us):
            return True
        return -_EARLY_US <= at_us - self.began_us <= LONGEST_WAIT_US

    def is_between(self, other: "Transaction", at_us: int | None) -> bool:
        """Whether it, a start, stands between all that is known of another transaction and a time."""
        if self.began_us is None or other.newest_us is None or not is_sane(self.began_us):
            return False
        return at_us is not None and other.newest_us < self.began_us <= at_us

    @property
    def shown_end_us(self) -> int | None:
        """When the transaction ended; the newest reading where the clock was reset, and never before the start."""
        if self.ended_us is None:
            return None
        known = [at for at in (self.began_us, self.last_us) if at is not None and is_sane(at)]
        if not is_sane(self.ended_us):
            return max(known, default=None)
        began = self.began_us if self.started and self.began_us is not None else self.ended_us
        return max(self.ended_us, began)

    def lacks_start(self, at_us: int) -> bool:
        """Whether its start, which was not seen yet, may have been at a time."""
        if self.started or self.began_us is None or self.newest_us is None:
            return not self.started
        return self.began_us - LONGEST_SILENCE_US <= at_us <= self.newest_us


def is_sane(at_us: int) -> bool:
    """Whether a time can be right: no clock that begins at 2000-01-01."""
    return at_us >= EARLIEST_SANE_US


def first_sane(times: Iterable[int]) -> int | None:
    """Returns the earliest time that can be right."""
    return min((at for at in times if is_sane(at)), default=None)


def nearest(uses: Sequence[Transaction], at_us: int | None) -> Transaction | None:
    """Returns the use of a transactionId that a time belongs to, None where the id begins anew.

    Args:
        uses: the uses of one transactionId, the newest first.
        at_us: the time; None where there is no sane one: then it is the use that runs, else the newest.
    """
    if at_us is None:
        return next((row for row in uses if row.ended_us is None), uses[0] if uses else None)
    near = min(uses, key=lambda row: row.distance_us(at_us), default=None)
    if near is None or near.distance_us(at_us) > LONGEST_SILENCE_US:
        return None
    return near
