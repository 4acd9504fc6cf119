"""A small language for building charging sessions in tests.

>>> session = charging((30, 11.0), (10, 0.0), (30, 11.0)).register(every_s=60).power(every_s=60)
>>> [found.category for found in judge(session).anomalies]
['ENERGY_PIT']

Times are minutes after ``START``, powers kW, energies kWh. ``charging`` fixes what truly happens; ``register``,
``power``, ``soc``, ``offer`` and ``reading`` add what a meter sends of it, in the order in which it arrives.
"""

from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass, field, replace
from datetime import UTC, datetime
from math import floor

import numpy as np

from chargewatch.csar2.detect import detect
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.domain.verdict import Anomaly, Verdict
from chargewatch.ingest.builder import build_columns, kind_of
from chargewatch.ingest.columns import NO_TIME, ReadingColumns, SessionColumns
from tests.reference.verdict import Twin
from tests.reference.verdict import verdict as twin_verdict

START = datetime(2026, 3, 2, 10, 0, tzinfo=UTC)
START_US = int(START.timestamp()) * 1_000_000
NOW_US = START_US + 3 * 86_400_000_000
MINUTE_US = 60_000_000

REGISTER = "Energy.Active.Import.Register"
INTERVAL = "Energy.Active.Import.Interval"
POWER = "Power.Active.Import"
CURRENT = "Current.Import"
CURRENT_OFFERED = "Current.Offered"
POWER_OFFERED = "Power.Offered"
POWER_EXPORT = "Power.Active.Export"
EXPORT_REGISTER = "Energy.Active.Export.Register"
VOLTAGE = "Voltage"
SOC = "SoC"
BEGIN, END = "Transaction.Begin", "Transaction.End"
PERIODIC, CLOCK = "Sample.Periodic", "Sample.Clock"

#: (µs, value, measurand, unit, phase, location, context); None where a name is not sent.
Sent = tuple[int, float, str | None, str | None, str | None, str | None, str | None]
Pieces = Sequence[tuple[float, float]]


def us(minutes: float) -> int:
    """Microseconds since 1970 of a time in minutes after ``START``."""
    return START_US + round(minutes * MINUTE_US)


def minutes(at: datetime) -> float:
    """Minutes after ``START`` of a time."""
    return round((at - START).total_seconds() / 60.0, 6)


@dataclass(frozen=True)
class Session:
    """Readings as they are sent, the truth behind them, and what is declared about the session."""

    pieces: tuple[tuple[float, float], ...] = ()
    sent: tuple[Sent, ...] = ()
    declared: dict[str, object] = field(default_factory=dict)

    # ------------------------------------------------------------------------------------ the truth

    @property
    def length(self) -> float:
        """How long the session lasts."""
        return sum(m for m, _ in self.pieces)

    def kw_at(self, at: float) -> float:
        """The power right before a time (at the start: right after it)."""
        begin = 0.0
        for lasts, kw in self.pieces:
            begin += lasts
            if at <= begin + 1e-9:
                return kw
        return self.pieces[-1][1] if self.pieces else 0.0

    def kwh_at(self, at: float) -> float:
        """The energy delivered up to a time."""
        kwh = begin = 0.0
        for lasts, kw in self.pieces:
            kwh += kw * max(0.0, min(lasts, at - begin)) / 60.0
            begin += lasts
        return kwh

    def times(self, every_s: float) -> list[float]:
        """Sampling times from 0 to the end."""
        step = every_s / 60.0
        return [round(i * step, 9) for i in range(int(self.length / step + 1e-9) + 1)]

    # --------------------------------------------------------------------------------------- sending

    def reading(
        self,
        at: float,
        value: float,
        measurand: str | None = REGISTER,
        unit: str | None = None,
        *,
        phase: str | None = None,
        location: str | None = None,
        context: str | None = None,
    ) -> "Session":
        """Sends one reading."""
        one = (us(at), value, measurand, unit, phase, location, context)
        return replace(self, sent=(*self.sent, one))

    def readings(
        self,
        pairs: Iterable[tuple[float, float]],
        measurand: str = REGISTER,
        unit: str | None = None,
        **names: str,
    ) -> "Session":
        """Sends readings of one kind, given as (minutes, value)."""
        session = self
        for at, value in pairs:
            session = session.reading(at, value, measurand, unit, **names)
        return session

    def register(
        self,
        every_s: float = 60.0,
        *,
        unit: str = "Wh",
        resolution_wh: float = 1.0,
        begin_kwh: float = 0.0,
        times: Sequence[float] | None = None,
        **names: str,
    ) -> "Session":
        """Sends the import register, rounded down to its resolution."""
        scale = 1000.0 if unit == "kWh" else 1.0
        pairs = []
        for at in self.times(every_s) if times is None else times:
            wh = (begin_kwh + self.kwh_at(at)) * 1000.0
            pairs.append((at, round(floor(wh / resolution_wh + 1e-9) * resolution_wh, 3) / scale))
        return self.readings(pairs, REGISTER, unit, **names)

    def power(
        self, every_s: float = 60.0, *, unit: str = "W", times: Sequence[float] | None = None, **names: str
    ) -> "Session":
        """Sends measured power."""
        scale = 1.0 if unit == "kW" else 1000.0
        at = self.times(every_s) if times is None else times
        return self.readings([(t, self.kw_at(t) * scale) for t in at], POWER, unit, **names)

    def intervals(self, every_s: float = 900.0) -> "Session":
        """Sends the energy of each sampling interval."""
        at = self.times(every_s)
        pairs = zip(at, at[1:], strict=False)
        return self.readings(
            [(b, (self.kwh_at(b) - self.kwh_at(a)) * 1000.0) for a, b in pairs], INTERVAL, "Wh"
        )

    def soc(self, *pairs: tuple[float, float]) -> "Session":
        """Sends the state of charge as (minutes, per cent)."""
        return self.readings(pairs, SOC, "Percent")

    def offer(self, *pieces: tuple[float, float], every_s: float = 60.0) -> "Session":
        """Sends the power on offer, given like ``pieces`` of ``charging``, at every sampling time."""
        offers = charging(*pieces)
        return self.readings([(t, offers.kw_at(t) * 1000.0) for t in self.times(every_s)], POWER_OFFERED, "W")

    # ---------------------------------------------------------------------------------------- editing

    def altered(self, measurand: str, change: "Change") -> "Session":
        """Changes the values of one measurand: ``change(minutes, value)``; None leaves the reading out."""
        kept = []
        for one in self.sent:
            value = change((one[0] - START_US) / MINUTE_US, one[1]) if one[2] == measurand else one[1]
            if value is not None:
                kept.append((one[0], value, *one[2:]))
        return replace(self, sent=tuple(kept))

    def without(self, start: float, end: float, measurand: str | None = None) -> "Session":
        """Loses the readings between two times, both exclusive."""
        return replace(
            self,
            sent=tuple(
                one
                for one in self.sent
                if not us(start) < one[0] < us(end) or (measurand is not None and one[2] != measurand)
            ),
        )

    def declare(self, **declared: object) -> "Session":
        """Declares ``managed``, ``over``, ``rated_kw``, ``started`` or ``ended`` (both in minutes)."""
        return replace(self, declared={**self.declared, **declared})


#: A function (minutes, value) → value, or None for what is not sent.
Change = Callable[[float, float], float | None]


def charging(*pieces: tuple[float, float]) -> Session:
    """A session that delivers, one after the other, (minutes, kW)."""
    return Session(pieces=tuple(pieces))


# --------------------------------------------------------------------------------------------- judging


def columns_of(sessions: Sequence[Session]) -> ReadingColumns:
    """The readings of sessions, in the order in which they were sent."""
    return build_columns(
        [[(one[0], one[1], kind_of(one[2], one[3], *one[4:])) for one in s.sent] for s in sessions]
    )


def declared_of(sessions: Sequence[Session]) -> SessionColumns:
    """What is declared about sessions; over unless declared otherwise."""
    count = len(sessions)

    def moment(session: Session, name: str) -> int:
        at = session.declared.get(name)
        return int(NO_TIME) if at is None else us(float(at))

    rated = [s.declared.get("rated_kw") for s in sessions]
    return SessionColumns.undeclared(count)._replace(
        managed=np.array([bool(s.declared.get("managed", False)) for s in sessions], np.bool_),
        over=np.array([bool(s.declared.get("over", True)) for s in sessions], np.bool_),
        rated_power_w=np.array([np.nan if kw is None else float(kw) * 1000.0 for kw in rated], np.float64),
        started_us=np.array([moment(s, "started") for s in sessions], np.int64),
        ended_us=np.array([moment(s, "ended") for s in sessions], np.int64),
    )


#: For tests of the rules: the network says nothing. Sessions built by hand are unlike any that it has seen.
RULES_ONLY = DEFAULT_THRESHOLDS._replace(unusual_per_thousand=0.0)


def judge_all(
    sessions: Sequence[Session], *, gated: bool = True, thresholds: Thresholds = RULES_ONLY
) -> list[Verdict]:
    """The verdicts of the rules on a batch of sessions."""
    return detect(
        columns_of(sessions), declared_of(sessions), now_us=NOW_US, thresholds=thresholds, gated=gated
    )


def judge(session: Session, *, gated: bool = True) -> Verdict:
    """The rules' verdict on one session."""
    return judge_all([session], gated=gated)[0]


def twin_of(session: Session) -> Twin:
    """What the slow twins say about a session."""
    declared = session.declared
    return twin_verdict(
        session.sent,
        now_us=NOW_US,
        rated_kw=declared.get("rated_kw"),
        managed=bool(declared.get("managed", False)),
        started_us=None if declared.get("started") is None else us(float(declared["started"])),
        ended_us=None if declared.get("ended") is None else us(float(declared["ended"])),
        over=bool(declared.get("over", True)),
    )


def found(session: Session) -> list[tuple[str, float, float, str]]:
    """What is found: (category, first minute, last minute, severity)."""
    return [spot(a) for a in judge(session).anomalies]


def spot(anomaly: Anomaly) -> tuple[str, float, float, str]:
    """An anomaly as (category, first minute, last minute, severity)."""
    span = anomaly.time_range
    return (
        anomaly.category.value,
        minutes(span.start_timestamp),
        minutes(span.end_timestamp),
        str(anomaly.severity),
    )


def categories(session: Session) -> list[str]:
    """The categories found in a session."""
    return [a.category.value for a in judge(session).anomalies]


def notes(session: Session) -> dict[str, int]:
    """The data-quality notes on a session that say more than that no unit was sent, and their counts."""
    return {note.code: note.count for note in judge(session).data_quality if note.code != "unit_assumed"}
