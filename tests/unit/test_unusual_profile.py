"""UNUSUAL_PROFILE: shapes that no definition names, found by the network; and what it must keep to."""

from dataclasses import replace
from pathlib import Path
from random import Random

import numpy as np
import pytest

from chargewatch.artefacts.folder import ArtefactError, read_artefact
from chargewatch.csar2 import shape_model
from chargewatch.csar2.detect import MODEL_ID, MODEL_VERSION
from chargewatch.csar2.shape_model import base_artefact, base_folder, base_model, read_model
from chargewatch.domain.categories import Category
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.domain.verdict import Anomaly, Verdict
from chargewatch.features.channel_table import BUCKETS, CHANNELS, FEATURE_HASH
from tests.artefacts import manifest
from tests.nasty_sessions import nasty_session
from tests.sessions import Session, charging, judge_all, us

PLAIN = charging((40, 11.0)).register(60).power(60)
NASTY = [nasty_session(Random(seed)) for seed in range(100)]


def hunting(minutes: int = 60, low_kw: float = 7.5) -> Session:
    """Power that leaps between two levels every other minute: nothing that a definition names."""
    pieces = [(2.0, 11.0 if turn % 2 == 0 else low_kw) for turn in range(minutes // 2)]
    return charging(*pieces).register(30).power(30).declare(rated_kw=11.0)


def judged(sessions: list[Session], **options: object) -> list[Verdict]:
    return judge_all(sessions, thresholds=DEFAULT_THRESHOLDS, **options)


#: So many in 1,000 that the odd sessions below are reported, whatever the base model's sensitivity is.
PERMISSIVE = 900.0


def reported(session: Session) -> Anomaly:
    """The one anomaly of an odd session, where many normal ones may be reported."""
    limits = DEFAULT_THRESHOLDS._replace(unusual_per_thousand=PERMISSIVE)
    (anomaly,) = judge_all([session], thresholds=limits)[0].anomalies
    return anomaly


def test_the_base_model_is_what_the_manifest_says() -> None:
    found = base_artefact().manifest
    assert (found.model_id, found.model_version) == (MODEL_ID, MODEL_VERSION) == ("model-csar2-base", "0.3.0")
    assert found.feature_hash == FEATURE_HASH
    assert found.buckets == BUCKETS
    assert len(found.channels) == len(CHANNELS)
    assert sum(file.stat().st_size for file in base_folder().iterdir()) < 1_000_000
    assert all(source.licence for source in found.data)


def test_an_odd_shape_is_found_with_its_evidence() -> None:
    anomaly = reported(hunting())
    assert anomaly.category is Category.UNUSUAL_PROFILE
    assert (anomaly.severity, anomaly.concern) == ("info", "driver")
    assert 0.5 <= anomaly.score < 0.55
    rare, *powers = anomaly.evidence
    assert rare.observed <= PERMISSIVE == rare.expected
    assert powers
    for fact in powers:
        assert fact.expected is not None
        assert fact.timestamp is not None
        assert anomaly.time_range.start_timestamp <= fact.timestamp <= anomaly.time_range.end_timestamp


def test_times_are_those_of_readings() -> None:
    session = hunting()
    anomaly = reported(session)
    sent = {one[0] for one in session.sent}
    for at in (
        anomaly.time_range.start_timestamp,
        anomaly.time_range.end_timestamp,
        *(fact.timestamp for fact in anomaly.evidence if fact.timestamp),
    ):
        assert round(at.timestamp() * 1e6) in sent


def test_a_plain_session_is_normal_and_less_sure_the_rarer_it_is() -> None:
    (verdict,) = judged([PLAIN])
    assert not verdict.anomalies
    assert 0.0 <= verdict.score < 0.5


def test_a_batch_is_judged_as_its_sessions_alone() -> None:
    sessions = [*NASTY, PLAIN, hunting(), *(hunting(low_kw=low) for low in (6.0, 7.0, 8.0, 9.0))]
    together = judged(sessions)
    assert together == [judged([session])[0] for session in sessions]
    assert together == judged(sessions[::-1])[::-1]


def test_gates_change_nothing() -> None:
    assert judged(NASTY) == judged(NASTY, gated=False)


def test_any_order_of_the_readings_is_judged_the_same() -> None:
    rng = Random(5)
    for session in (PLAIN, hunting(), *NASTY[:20]):
        keys = {(one[0], one[2], *one[4:]): one for one in session.sent}
        session = replace(session, sent=tuple(keys.values()))
        shuffled = replace(session, sent=tuple(rng.sample(session.sent, len(session.sent))))
        assert judged([session]) == judged([shuffled])


def test_what_a_definition_proves_is_never_called_unusual_as_well() -> None:
    by_rules = judge_all(NASTY)
    for alone, both in zip(by_rules, judged(NASTY), strict=True):
        if alone.anomalies or alone.past_anomalies:
            assert both == alone
        else:
            assert {a.category for a in both.anomalies} <= {Category.UNUSUAL_PROFILE}
        assert both.is_anomaly == bool(both.anomalies) == (both.score >= 0.5)


def test_none_is_reported_where_none_may_be() -> None:
    assert not judge_all([hunting()], thresholds=DEFAULT_THRESHOLDS._replace(unusual_per_thousand=0.0))[
        0
    ].anomalies


def test_a_higher_rate_reports_at_least_as_much() -> None:
    sessions = [*NASTY, *(hunting(low_kw=low) for low in (5.0, 7.0, 8.0, 9.0, 10.0, 10.5))]
    counts = [
        sum(
            v.is_anomaly
            for v in judge_all(sessions, thresholds=DEFAULT_THRESHOLDS._replace(unusual_per_thousand=rate))
        )
        for rate in (0.5, 1.0, 5.0, 50.0)
    ]
    assert counts == sorted(counts)
    assert counts[-1] > counts[0]


@pytest.mark.parametrize("readings", [3, 7])
def test_thin_sessions_have_no_shape(readings: int) -> None:
    session = charging(*((1.0, 11.0 if turn % 2 else 4.0) for turn in range(readings - 1))).power(60)
    assert not judged([session])[0].anomalies


def test_the_oddity_is_placed_where_it_is() -> None:
    """Forty quiet minutes, then twenty of hunting."""
    odd = [(1.0, 11.0 if turn % 2 == 0 else 7.5) for turn in range(20)]
    session = charging((60, 11.0), *odd).register(30).power(30).declare(rated_kw=11.0)
    anomaly = reported(session)
    assert anomaly.time_range.start_timestamp.timestamp() * 1e6 >= us(50)


# ------------------------------------------------------------------------------------------ refusals


def test_a_missing_base_model_is_an_error_and_no_silence(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setattr(shape_model, "base_folder", lambda: tmp_path)
    base_artefact.cache_clear()
    base_model.cache_clear()
    try:
        with pytest.raises(ArtefactError, match=r"manifest\.json: No such file"):
            judged([PLAIN])
    finally:
        monkeypatch.undo()
        base_artefact.cache_clear()
        base_model.cache_clear()


def test_bytes_that_are_no_graph_are_refused() -> None:
    artefact = base_artefact()
    with pytest.raises(ArtefactError, match="onnxruntime cannot load the graph"):
        shape_model.ShapeModel(artefact._replace(graph=b"\x00nonsense"), "here")


def test_a_manifest_that_contradicts_its_hash_is_refused() -> None:
    artefact = base_artefact()
    with pytest.raises(ArtefactError, match="channels, context or buckets"):
        shape_model.ShapeModel(artefact._replace(manifest=manifest(feature_hash=FEATURE_HASH)), "here")


def test_a_model_is_read_from_its_folder() -> None:
    tensors_model = read_model(base_folder())
    assert tensors_model.manifest == base_artefact().manifest
    assert read_artefact(base_folder(), FEATURE_HASH) == base_artefact()


def test_no_more_is_kept_in_memory_than_a_network_needs() -> None:
    """Scores come in parts: a large batch makes no large intermediate."""
    sessions = [PLAIN] * 130
    scores = {verdict.score for verdict in judged(sessions)}
    assert len(scores) == 1
    assert np.isfinite(list(scores)).all()
