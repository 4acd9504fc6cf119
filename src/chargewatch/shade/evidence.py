"""What stands behind a verdict: the evidence of each channel, as figures with units that a person can check."""

import math
from datetime import date
from typing import Final, NamedTuple

from chargewatch.domain.station_types import StationAnomaly, StationState
from chargewatch.domain.thresholds import DEFAULT_SHADE_THRESHOLDS, ShadeThresholds
from chargewatch.shade.classify import NONE, TYPES, limits_of
from chargewatch.shade.detect import Finding, Replay
from chargewatch.shade.local_days import date_of

#: What ``value`` of a channel is.
UNITS: Final = {
    StationAnomaly.SITE_DROP: "sessions of expected",
    StationAnomaly.STATION_SILENT: "sessions missed",
    StationAnomaly.CONNECTOR_SILENT: "sessions missed",
    StationAnomaly.SESSION_COUNT_DROP: "sessions of expected",
    StationAnomaly.ZERO_SESSION_SURGE: "share of zero sessions",
    StationAnomaly.POWER_DERATE: "power of expected",
    StationAnomaly.METER_DRIFT: "register of witness, against before",
    StationAnomaly.ENERGY_DROP: "energy of expected",
}
_LOGARITHMS: Final = frozenset({StationAnomaly.POWER_DERATE, StationAnomaly.METER_DRIFT})
_MISSED: Final = frozenset({StationAnomaly.STATION_SILENT, StationAnomaly.CONNECTOR_SILENT})


class ChannelEvidence(NamedTuple):
    """One channel of a station on a day.

    Args:
        kind: the type that it speaks for.
        strength: evidence over what the type needs; from 1 on it is enough.
        effect: whether the effect is as large as the type demands.
        value: what was seen since ``since``, in ``unit``; None while there is no evidence.
        unit: of ``value``.
        since: the day on which the evidence began; None while there is none.
    """

    kind: StationAnomaly
    strength: float
    effect: bool
    value: float | None
    unit: str
    since: date | None


class DayDetails(NamedTuple):
    """A station's day: the verdict and what it rests on. Energies in kWh; None before the station can be judged.

    ``silent_connectors`` are connector ids with their strength of evidence, from 1 on enough.
    """

    affected_period: date
    anomaly_type: str | None
    state: StationState
    since: date | None
    expected_energy_kwh: float | None
    expected_low_kwh: float | None
    expected_high_kwh: float | None
    actual_energy_kwh: float
    expected_sessions: float | None
    actual_sessions: int
    channels: tuple[ChannelEvidence, ...]
    silent_connectors: tuple[tuple[str, float], ...]


def day_details(
    replay: Replay, station: int, row: int, thresholds: ShadeThresholds = DEFAULT_SHADE_THRESHOLDS
) -> DayDetails:
    """Returns what stands behind the verdict on a station's day.

    Args:
        replay: of the station's time zone.
        station: its number in the replay.
        row: the day; channels are known of days with a report at this station, and of the last day.
        thresholds: those of the replay.
    """
    days = replay.days
    watching = bool(replay.watching[row, station])
    kind = int(replay.kind[row, station])
    since = int(replay.since[row, station])
    finding = next((f for f in replay.findings if f.row == row and station in f.stations), None)

    def known(value: float) -> float | None:
        return float(value) if watching else None

    return DayDetails(
        date_of(days.first_day + row),
        None if kind == NONE else TYPES[kind].value,
        StationState.WATCHING if watching else StationState.LEARNING,
        None if since < 0 else date_of(days.first_day + since),
        known(replay.expected_kwh[row, station]),
        known(replay.low_kwh[row, station]),
        known(replay.high_kwh[row, station]),
        float(days.actual_kwh[row, station]),
        known(replay.expected_sessions[row, station]),
        int(days.sessions[row, station]),
        () if finding is None else _channels(finding, station, days.first_day, thresholds),
        () if finding is None else _connectors(replay, finding, station, thresholds),
    )


def _channels(
    finding: Finding, station: int, first_day: int, thresholds: ShadeThresholds
) -> tuple[ChannelEvidence, ...]:
    place = int((finding.stations == station).argmax())
    evidence, limits = finding.evidence, limits_of(thresholds)
    found = []
    for number, kind in enumerate(TYPES):
        nats = float(evidence.nats[number, place])
        some = nats > 0
        found.append(
            ChannelEvidence(
                kind,
                round(nats / float(limits[number]), 4),
                bool(evidence.enough[number, place]),
                _value(kind, evidence.observed[number, place], evidence.expected[number, place])
                if some
                else None,
                UNITS[kind],
                date_of(first_day + int(evidence.begun[number, place])) if some else None,
            )
        )
    return tuple(found)


def _value(kind: StationAnomaly, observed: float, expected: float) -> float | None:
    if kind in _MISSED:
        return round(float(expected), 2)
    if expected <= 0:
        return None
    ratio = float(observed / expected)
    return round(math.exp(ratio) if kind in _LOGARITHMS else ratio, 4)


def _connectors(
    replay: Replay, finding: Finding, station: int, thresholds: ShadeThresholds
) -> tuple[tuple[str, float], ...]:
    limit = float(limits_of(thresholds)[TYPES.index(StationAnomaly.CONNECTOR_SILENT)])
    mine = [(c.connector_id, i) for i, c in enumerate(replay.days.connectors) if c.station == station]
    strengths = [(name, round(float(finding.connector_nats[i]) / limit, 4)) for name, i in mine]
    return tuple((name, strength) for name, strength in strengths if strength > 0)
