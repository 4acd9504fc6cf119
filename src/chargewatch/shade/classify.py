"""What is wrong with a station, by precedence: the first type of the table that its evidence supports."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.domain.thresholds import ShadeThresholds
from chargewatch.shade.accumulate import false_discovery_limit
from chargewatch.shade.arrays import Flags, Floats, Integers

TYPES: Final = tuple(StationAnomaly)
NONE: Final = -1
#: Types whose definition is a probability; they are never named for less.
_BY_ODDS: Final = np.array(
    [kind in {StationAnomaly.STATION_SILENT, StationAnomaly.CONNECTOR_SILENT} for kind in TYPES]
)


class Evidence(NamedTuple):
    """What is held against each station, types × stations (in the order of `TYPES`).

    Args:
        nats: the evidence.
        enough: whether the effect is as large as the type demands.
        observed: since the evidence began, in the type's own unit (`evidence.UNITS`).
        expected: likewise.
        begun: the row on which it began.
    """

    nats: Floats
    enough: Flags
    observed: Floats
    expected: Floats
    begun: Integers


class Judgement(NamedTuple):
    """The verdict on a day, an element a station.

    Args:
        kind: index into `TYPES`, or `NONE`.
        score: 0 to 1; at least 0.5 exactly where there is a type.
        begun: the row on which the evidence for that type began.
    """

    kind: npt.NDArray[np.int8]
    score: Floats
    begun: Integers


def limits_of(thresholds: ShadeThresholds) -> Floats:
    """Returns the evidence that each type needs, in the order of `TYPES`."""
    silence = float(np.log(thresholds.silence_odds))
    by_type = {
        StationAnomaly.SITE_DROP: thresholds.evidence_site,
        StationAnomaly.STATION_SILENT: silence,
        StationAnomaly.CONNECTOR_SILENT: max(silence, thresholds.evidence_connector),
        StationAnomaly.SESSION_COUNT_DROP: thresholds.evidence_count,
        StationAnomaly.ZERO_SESSION_SURGE: thresholds.evidence_zero,
        StationAnomaly.POWER_DERATE: thresholds.evidence_power,
        StationAnomaly.METER_DRIFT: thresholds.evidence_drift,
        StationAnomaly.ENERGY_DROP: thresholds.evidence_energy,
    }
    return np.array([by_type[kind] for kind in TYPES])


def judge(evidence: Evidence, tested: Flags, thresholds: ShadeThresholds) -> Judgement:
    """Returns the verdict on a day.

    Something is wrong where one type has enough evidence (its own limit, and that of Benjamini and Hochberg over all
    stations tested) and enough effect. Its name is the first type in precedence with enough effect and at least the
    share ``supporting_share`` of its limit (silence: all of it), as what shows first need not be the cause.
    """
    limits = limits_of(thresholds)[:, None]
    nats = np.where(evidence.enough, evidence.nats, 0.0)
    found = np.zeros(nats.shape, np.bool_)
    for number in range(len(TYPES)):
        needed = false_discovery_limit(nats[number], tested, thresholds.false_discoveries)
        found[number] = tested & (nats[number] >= max(float(limits[number, 0]), needed))
    wrong = found.any(axis=0)
    supported = nats >= np.where(_BY_ODDS[:, None], 1.0, thresholds.supporting_share) * limits
    first = np.argmax(supported | found, axis=0)
    kind = np.where(wrong, first, NONE).astype(np.int8)
    strength = np.max(nats / limits, axis=0)
    score = strength / (1.0 + strength)
    score = np.where(wrong, np.maximum(score, 0.5), np.minimum(score, 0.499))
    column = np.arange(nats.shape[1])
    begun = evidence.begun[np.argmax(np.where(found, nats / limits, -1.0), axis=0), column]
    return Judgement(kind, np.where(tested, score, 0.0), begun)
