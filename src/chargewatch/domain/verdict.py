"""What CSAR-2 says about a session: anomalies with their place in time and the evidence for each."""

from collections.abc import Sequence
from datetime import datetime
from typing import Final

import msgspec

from chargewatch.domain.categories import Category
from chargewatch.domain.data_quality import DataQualityNote

UNIT_S: Final = 900
LAST_UNIT: Final = 23
WINDOW_S: Final = 24 * UNIT_S
DECISION_THRESHOLD: Final = 0.5


class BucketRange(msgspec.Struct, frozen=True):
    """The first and the last 15-minute unit of the analysed window that an anomaly touches, inclusive."""

    start_unit: int
    end_unit: int


class TimeRange(msgspec.Struct, frozen=True):
    """The times (UTC) of the first and the last reading that show an anomaly."""

    start_timestamp: datetime
    end_timestamp: datetime


class Evidence(msgspec.Struct, frozen=True, omit_defaults=True):
    """One figure that supports an anomaly: what was looked at, when, what was seen, what was expected.

    ``observed`` and ``expected`` are in ``unit``; ``kind`` names the mechanism where one is recognised.
    """

    what: str
    unit: str
    observed: float
    expected: float | None = None
    timestamp: datetime | None = None


class Anomaly(msgspec.Struct, frozen=True):
    """One anomaly of a session."""

    category: Category
    score: float
    confidence: float
    bucket_range: BucketRange
    time_range: TimeRange
    severity: str
    concern: str
    evidence: Sequence[Evidence]


class Verdict(msgspec.Struct, frozen=True):
    """The verdict on one session; ``energy_*`` in kWh.

    ``score`` is at least 0.5 exactly when ``anomalies`` is not empty. ``confidence`` is the probability
    that the verdict is right; ``confidence_basis`` says how it was obtained.
    """

    is_anomaly: bool
    score: float
    confidence: float
    confidence_basis: str
    sequence_length: int
    anomalies: tuple[Anomaly, ...]
    past_anomalies: tuple[Anomaly, ...]
    data_quality: tuple[DataQualityNote, ...]
    energy_kwh: float | None
    energy_source: str | None
    energy_disputed_kwh: float
