"""``detect``: from a batch of readings to verdicts. HTTP, files and back-tests all come through here."""

import math
from bisect import bisect_right
from collections.abc import Sequence
from datetime import UTC, datetime, timedelta
from itertools import accumulate
from typing import Final, NamedTuple

import numpy as np

from chargewatch.artefacts.folder import read_manifest
from chargewatch.csar2 import scores, unusual_profile
from chargewatch.csar2.calibration import ConfidenceModel, Grounds
from chargewatch.csar2.physics import (
    charging_expected,
    energy_pit,
    energy_spike,
    gates,
    kwh_decrease,
    meter_frozen,
    phase_loss,
    power_energy_mismatch,
    soc_drop,
    thermal_derating,
    voltage_out_of_range,
    zero_session,
)
from chargewatch.csar2.physics.finding import Fact, Finding
from chargewatch.csar2.shape_model import Outlook, ShapeModel, base_folder, base_model, telling
from chargewatch.domain.categories import CONCERNS, YIELDS_TO, Category
from chargewatch.domain.data_quality import DataQualityNote
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.domain.verdict import (
    LAST_UNIT,
    UNIT_S,
    Anomaly,
    BucketRange,
    Evidence,
    TimeRange,
    Verdict,
)
from chargewatch.features.batch import SessionBatch
from chargewatch.features.record import SessionRecord
from chargewatch.features.register import WH_PER_KWH
from chargewatch.features.tensor import SessionTensors, session_tensors
from chargewatch.ingest.channels import Channel
from chargewatch.ingest.columns import ReadingColumns, SessionColumns

_BASE: Final = read_manifest(base_folder())
MODEL_ID: Final = _BASE.model_id
MODEL_VERSION: Final = _BASE.model_version

_RULES: Final = (
    kwh_decrease.find,
    energy_pit.find,
    zero_session.find,
    charging_expected.find,
    energy_spike.find,
    meter_frozen.find,
    power_energy_mismatch.find,
    soc_drop.find,
    phase_loss.find,
    voltage_out_of_range.find,
    thermal_derating.find,
)
_FEW: Final = 1
_MOST_FACTS: Final = 24  # of an anomaly that was joined from many
_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)


class Judged(NamedTuple):
    """A verdict, and what its confidence rests on."""

    verdict: Verdict
    grounds: Grounds


class _Shapes(NamedTuple):
    """What the network says of the sessions of a batch, and the share of normal ones that may be reported."""

    tensors: SessionTensors
    outlook: Outlook
    limit: float

    def unusual(self, session: int) -> bool:
        """Tells whether a session is to be reported."""
        return bool(self.outlook.judged[session] and self.outlook.p[session] <= self.limit)

    def score(self, session: int) -> float | None:
        """Returns the score of a session without findings, None where the network has no say."""
        if not self.outlook.judged[session]:
            return None
        return unusual_profile.score_of(float(self.outlook.p[session]), self.limit)

    def surprise(self, session: int) -> float | None:
        """Returns −log10 of the p-value, None where the network has no say."""
        if not self.outlook.judged[session]:
            return None
        return -math.log10(max(float(self.outlook.p[session]), 1e-12))


def detect(
    readings: ReadingColumns,
    sessions: SessionColumns,
    *,
    now_us: int,
    thresholds: Thresholds = DEFAULT_THRESHOLDS,
    gated: bool = True,
    model: ShapeModel | None = None,
) -> list[Verdict]:
    """Judges S sessions; returns S verdicts in their order.

    ``now_us`` is the present in microseconds since 1970, which tells clock faults. ``gated=False`` runs every
    rule on every session; the verdicts are the same. ``model`` is the network, the base model where it is None.

    Raises:
        ArtefactError: the base model is missing or does not fit this version.
    """
    batch = SessionBatch(readings, sessions, now_us, thresholds)
    return [judged.verdict for judged in judge(batch, model or base_model(), gated=gated)]


def judge(batch: SessionBatch, model: ShapeModel, *, gated: bool = True) -> list[Judged]:
    """Judges the sessions of a batch; as `detect`, with the grounds of each verdict's confidence."""
    count = batch.readings.sessions
    gated = gated and count > _FEW  # the gates of a few sessions cost more than the rules
    needed = gates.need_rules(batch) if gated else [True] * count
    energies = _energies(batch) if gated else []
    records = {s: batch.record(s) for s in range(count) if needed[s]}
    findings = {s: _findings(record) for s, record in records.items()}
    shapes = _shapes(batch, [not findings.get(s) for s in range(count)], model)
    judged = []
    for s in range(count):
        found, record = findings.get(s, []), records.get(s)
        if shapes is not None and shapes.unusual(s):
            record = record or batch.record(s)
            found = unusual_profile.find(record, shapes.tensors, shapes.outlook, s, shapes.limit)
        notes = batch.notes(s)
        grounds = Grounds(
            category=None,
            strength=0.0,
            instants=int(batch.selection.instants[s]),
            doubts=scores.doubts(notes),
            surprise=shapes.surprise(s) if shapes else None,
            managed=bool(batch.sessions.managed[s]),
        )
        case = _Case(batch, s, notes, grounds, model.confidence)
        if found and record is not None:
            judged.append(_anomalous(case, record, found))
        else:
            energy = (record.imported_wh, record.energy_source) if record else energies[s]
            judged.append(_normal(case, *energy, shapes.score(s) if shapes else None))
    return judged


class _Case(NamedTuple):
    """One session of a batch while its verdict is made; ``grounds`` are those of a verdict without anomaly."""

    batch: SessionBatch
    session: int
    notes: tuple[DataQualityNote, ...]
    grounds: Grounds
    confidence: ConfidenceModel


def _findings(record: SessionRecord) -> list[Finding]:
    """Runs every rule on one session."""
    return _merged(_decided([finding for rule in _RULES for finding in rule(record)]))


def _shapes(batch: SessionBatch, quiet: Sequence[bool], model: ShapeModel) -> _Shapes | None:
    """Lets the network judge the sessions in which no rule found anything; None where it is not asked."""
    limit = batch.thresholds.unusual_per_thousand / 1000.0
    if limit <= 0.0 or not any(quiet):
        return None
    tensors = session_tensors(batch)
    wanted = telling(tensors, batch.selection.instants) & np.array(quiet, np.bool_)
    return _Shapes(tensors, model.outlook(tensors, wanted), limit)


def _energies(batch: SessionBatch) -> list[tuple[float | None, str | None]]:
    """Returns the energy (Wh) of every session and where it comes from, for sessions without a finding."""
    register = batch.series(Channel.REGISTER).offsets
    interval = batch.series(Channel.INTERVAL).offsets
    power = batch.series(Channel.POWER).offsets
    register_wh = batch.register_rises_wh.tolist()
    power_wh = batch.power_integrals_wh.tolist()
    energies: list[tuple[float | None, str | None]] = []
    for s in range(batch.readings.sessions):
        if register[s + 1] - register[s] >= 2:
            energies.append((register_wh[s], "register"))
        elif interval[s + 1] > interval[s]:
            energies.append((sum(batch.curve(s, Channel.INTERVAL).value), "interval"))
        elif power[s + 1] - power[s] >= 2:
            energies.append((power_wh[s], "power"))
        else:
            energies.append((None, None))
    return energies


def _anomalous(case: _Case, record: SessionRecord, findings: Sequence[Finding]) -> Judged:
    """Returns the verdict on a session with findings."""
    window_s = _window_start_s(case.batch, case.session)
    current = [f for f in findings if f.end_s >= window_s]
    past = [f for f in findings if f.end_s < window_s]
    anomalies = [_anomaly(case, record, f, window_s) for f in current]
    surest = max(range(len(anomalies)), key=lambda i: anomalies[i].score, default=None)
    grounds = case.grounds if surest is None else _grounds_of(case, current[surest])
    verdict = Verdict(
        is_anomaly=surest is not None,
        score=_quiet_score(case) if surest is None else anomalies[surest].score,
        confidence=_sure(case, grounds) if surest is None else anomalies[surest].confidence,
        confidence_basis=case.confidence.basis,
        sequence_length=_sequence_length(case.batch, case.session),
        anomalies=tuple(anomalies),
        past_anomalies=tuple(_anomaly(case, record, f, f.start_s) for f in past),
        data_quality=case.notes,
        energy_kwh=_kwh(record.imported_wh),
        energy_source=record.energy_source,
        energy_disputed_kwh=_kwh(sum(f.disputed_wh for f in findings)) or 0.0,
    )
    return Judged(verdict, grounds)


def _normal(case: _Case, energy_wh: float | None, source: str | None, shape_score: float | None) -> Judged:
    """Returns the verdict on a session without findings; ``shape_score`` is the network's, None where it has no say."""
    verdict = Verdict(
        is_anomaly=False,
        score=_quiet_score(case) if shape_score is None else shape_score,
        confidence=_sure(case, case.grounds),
        confidence_basis=case.confidence.basis,
        sequence_length=_sequence_length(case.batch, case.session),
        anomalies=(),
        past_anomalies=(),
        data_quality=case.notes,
        energy_kwh=_kwh(energy_wh),
        energy_source=source,
        energy_disputed_kwh=0.0,
    )
    return Judged(verdict, case.grounds)


def _grounds_of(case: _Case, finding: Finding) -> Grounds:
    return case.grounds._replace(category=finding.category, strength=finding.strength)


def _sure(case: _Case, grounds: Grounds, limit: float = 1.0) -> float:
    return round(min(case.confidence.confidence(grounds), limit), 4)


def _quiet_score(case: _Case) -> float:
    return round(scores.score_without(case.grounds.instants, case.grounds.doubts), 4)


def _decided(findings: Sequence[Finding]) -> list[Finding]:
    """Leaves out what another category explains on the same readings."""
    spans = {
        category: _Spans([other for other in findings if other.category in stronger])
        for category, stronger in YIELDS_TO.items()
    }
    return [f for f in findings if f.category not in spans or not spans[f.category].overlap(f)]


class _Spans:
    """Times of findings, asked whether one of them overlaps with another finding."""

    def __init__(self, findings: Sequence[Finding]) -> None:
        ordered = sorted(findings, key=lambda f: f.start_s)
        self._starts = [f.start_s for f in ordered]
        self._latest_ends = list(accumulate((f.end_s for f in ordered), max))

    def overlap(self, finding: Finding) -> bool:
        begun = bisect_right(self._starts, finding.end_s)
        return begun > 0 and self._latest_ends[begun - 1] >= finding.start_s


def _merged(findings: Sequence[Finding]) -> list[Finding]:
    """Joins findings of one category that touch the same unit, then orders all by time."""
    joined: list[Finding] = []
    for finding in sorted(findings, key=lambda f: (f.category, f.start_s)):
        before = joined[-1] if joined else None
        if before and before.category == finding.category and finding.start_s - before.end_s < UNIT_S:
            joined[-1] = _join(before, finding)
        else:
            joined.append(finding)
    return sorted(joined, key=lambda f: (f.start_s, f.category))


def _join(a: Finding, b: Finding) -> Finding:
    strongest = max(a, b, key=lambda f: f.strength)
    order = ("info", "warning", "critical")
    return strongest._replace(
        start_s=a.start_s,
        end_s=max(a.end_s, b.end_s),
        severity=max(a.severity, b.severity, key=lambda s: order.index(s.value)),
        facts=(a.facts + b.facts)[:_MOST_FACTS],
        disputed_wh=a.disputed_wh + b.disputed_wh,
    )


def _window_start_s(batch: SessionBatch, session: int) -> float:
    """Returns where the analysed window begins: at the first reading of the last 6 h; 0 for short sessions."""
    selection = batch.selection
    return (int(selection.window_us[session]) - int(selection.first_us[session])) / 1e6


def _sequence_length(batch: SessionBatch, session: int) -> int:
    """Returns the unit of the last reading + 1; 0 without sane readings."""
    last_us, window_us = int(batch.selection.last_us[session]), int(batch.selection.window_us[session])
    return _unit((last_us - window_us) / 1e6) + 1 if last_us else 0


def _unit(seconds: float) -> int:
    """Returns the 15-minute unit of a time since the beginning of the window, exact to the microsecond."""
    return min(max(round(seconds * 1e6) // (UNIT_S * 1_000_000), 0), LAST_UNIT)


def _anomaly(case: _Case, record: SessionRecord, finding: Finding, window_s: float) -> Anomaly:
    return Anomaly(
        category=Category(finding.category),
        score=round(scores.score_of(finding.strength), 4) if finding.score is None else finding.score,
        confidence=_sure(case, _grounds_of(case, finding), finding.confidence_limit),
        bucket_range=BucketRange(_unit(finding.start_s - window_s), _unit(finding.end_s - window_s)),
        time_range=TimeRange(_instant(record, finding.start_s), _instant(record, finding.end_s)),
        severity=finding.severity.value,
        concern=CONCERNS[finding.category].value,
        evidence=tuple(_evidence(record, fact) for fact in finding.facts),
    )


def _evidence(record: SessionRecord, fact: Fact) -> Evidence:
    return Evidence(
        what=fact.what,
        unit=fact.unit,
        observed=round(fact.observed, 4),
        expected=None if fact.expected is None else round(fact.expected, 4),
        timestamp=None if fact.at_s is None else _instant(record, fact.at_s),
    )


def _instant(record: SessionRecord, at_s: float) -> datetime:
    return _EPOCH + timedelta(microseconds=record.first_us + round(at_s * 1e6))


def _kwh(energy_wh: float | None) -> float | None:
    return None if energy_wh is None else round(energy_wh / WH_PER_KWH, 6)
