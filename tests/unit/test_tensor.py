"""The tensor record against its slow twin, and what it must not depend on."""

from dataclasses import replace
from random import Random

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.features import channel_table
from chargewatch.features.batch import SessionBatch
from chargewatch.features.channel_table import BUCKETS, CHANNELS, CONTEXT, FEATURE_HASH, Place
from chargewatch.features.tensor import SessionTensors, session_tensors
from tests.nasty_sessions import nasty_session, sessions
from tests.reference.tensor import tensor
from tests.sessions import NOW_US, POWER, REGISTER, Sent, Session, charging, columns_of, declared_of

NASTY = 120


def tensors_of(drawn: list[Session]) -> SessionTensors:
    return session_tensors(SessionBatch(columns_of(drawn), declared_of(drawn), NOW_US, DEFAULT_THRESHOLDS))


def assert_as_the_twin(session: Session, tensors: SessionTensors, row: int) -> None:
    declared = session.declared
    twin = tensor(
        session.sent,
        now_us=NOW_US,
        rated_kw=declared.get("rated_kw"),
        managed=bool(declared.get("managed", False)),
    )
    if twin is None:
        assert not tensors.masks[row].any()
        return
    values, context, width = twin
    assert tensors.width_ms[row] == width * 1000
    assert tensors.context[row] == pytest.approx([context[figure.name] for figure in CONTEXT], abs=2e-4)
    for place, channel in enumerate(CHANNELS):
        expected = values[channel.name]
        shown = [
            round(float(v), 9) if known else None
            for v, known in zip(tensors.values[row, place], tensors.masks[row, place], strict=True)
        ]
        assert [v is None for v in shown] == [v is None for v in expected], channel.name
        assert [v for v in shown if v is not None] == pytest.approx(
            [v for v in expected if v is not None], abs=2e-3
        ), channel.name


@settings(
    derandomize=True, deadline=None, max_examples=150, suppress_health_check=list(HealthCheck), database=None
)
@given(sessions())
def test_drawn_sessions_become_what_the_twin_makes_of_them(session: Session) -> None:
    assert_as_the_twin(session, tensors_of([session]), 0)


@pytest.mark.parametrize("first", range(0, NASTY, 40))
def test_nasty_sessions_become_what_the_twin_makes_of_them(first: int) -> None:
    nasty = [nasty_session(Random(seed)) for seed in range(first, first + 40)]
    tensors = tensors_of(nasty)
    for row, session in enumerate(nasty):
        assert_as_the_twin(session, tensors, row)


def key(one: Sent) -> tuple[int, str, str, str, str]:
    """What a reading is told by, with the defaults of OCPP."""
    at, _, measurand, _, phase, location, context = one
    defaults = ("Energy.Active.Import.Register", "", "Outlet", "Sample.Periodic")
    sent = (measurand, phase, location, context)
    return at, *((name or default).casefold() for name, default in zip(sent, defaults, strict=True))


def test_a_session_is_the_same_in_any_batch() -> None:
    nasty = [nasty_session(Random(seed)) for seed in range(NASTY)]
    together = tensors_of(nasty)
    for row, session in enumerate(nasty):
        alone = tensors_of([session])
        for name in SessionTensors._fields:
            assert np.array_equal(getattr(together, name)[row], getattr(alone, name)[0]), (row, name)


@settings(derandomize=True, deadline=None, max_examples=60, database=None)
@given(sessions(), st.randoms(use_true_random=False))
def test_order_and_repetition_of_the_readings_do_not_matter(session: Session, rng: Random) -> None:
    distinct = list({key(one): one for one in session.sent}.values())
    session = replace(session, sent=tuple(distinct))
    sent = [*distinct, *rng.sample(distinct, len(distinct) // 3)]
    rng.shuffle(sent)
    other = replace(session, sent=tuple(sent))
    for one, same in zip(tensors_of([session]), tensors_of([other]), strict=True):
        assert np.array_equal(one, same)


@pytest.mark.parametrize("begin_kwh", [0.0, 12.0, 18_345.0])
@pytest.mark.parametrize("unit", ["Wh", "kWh"])
def test_unit_and_offset_of_the_register_do_not_matter(unit: str, begin_kwh: float) -> None:
    session = charging((20, 11.0), (10, 3.0), (30, 7.0))
    plain = tensors_of([session.register(60)])
    other = tensors_of([session.register(60, unit=unit, begin_kwh=begin_kwh)])
    for name, one, same in zip(SessionTensors._fields, plain, other, strict=True):
        assert np.array_equal(one, same), name


def test_a_plain_session_reads_as_what_happened() -> None:
    """An hour in buckets of a minute: 11 kW for half of it, then half of that."""
    tensors = tensors_of([charging((30, 11.0), (30, 5.5)).register(60).power(60)])
    assert tensors.width_ms[0] == 60_000
    assert tensors.peak_w[0] == pytest.approx(11_000)
    for place in (Place.REGISTER_POWER, Place.MEASURED_POWER):
        known, power = tensors.masks[0, place], tensors.values[0, place]
        assert known.tolist() == [False] * 12 + [True] * 60
        assert power[12:41] == pytest.approx(1.0, abs=0.01)
        assert power[43:] == pytest.approx(0.5, abs=0.01)


def test_a_long_session_shows_its_last_six_hours_and_all_of_its_energy() -> None:
    tensors = tensors_of([charging((600, 2.0), (120, 4.0)).register(300)])
    assert tensors.width_ms[0] == 300_000
    assert tensors.masks[0, Place.REGISTER_POWER].all()
    assert np.expm1(4 * tensors.values[0, Place.ENERGY, -1]) == pytest.approx(28.0, abs=0.01)
    before = [figure.name for figure in CONTEXT].index("before_window")
    assert np.expm1(tensors.context[0, before]) == pytest.approx(6.0, abs=0.01)


def test_what_is_masked_is_zero() -> None:
    tensors = tensors_of([nasty_session(Random(seed)) for seed in range(40)])
    assert not tensors.values[~tensors.masks].any()
    assert np.isfinite(tensors.values).all()
    assert np.isfinite(tensors.context).all()


def test_a_repaired_register_counts() -> None:
    """Of a switch from kWh to Wh without a unit nothing is left."""
    session = charging((60, 11.0)).register(60, begin_kwh=100.0).power(60)
    switched = session.altered(REGISTER, lambda at, value: value / 1000.0 if at > 30 else value)
    place = Place.REGISTER_POWER
    assert tensors_of([switched]).values[0, place] == pytest.approx(
        tensors_of([session]).values[0, place], abs=0.02
    )


def test_no_readings_and_no_sessions() -> None:
    empty = tensors_of([charging((10, 11.0))])
    assert not empty.masks.any()
    assert empty.shown.tolist() == [0]
    none = tensors_of([])
    assert none.values.shape == (0, len(CHANNELS), BUCKETS)


def test_power_alone_is_enough() -> None:
    tensors = tensors_of([charging((30, 11.0)).power(60)])
    assert tensors.shown[0] == 30
    assert np.expm1(4 * tensors.values[0, Place.ENERGY, -1]) == pytest.approx(5.5, abs=0.01)
    assert POWER == "Power.Active.Import"


def test_the_table_is_in_order_and_its_hash_is_of_it(monkeypatch: pytest.MonkeyPatch) -> None:
    assert [place.name.casefold() for place in Place] == [channel.name for channel in CHANNELS]
    assert len(FEATURE_HASH) == 64
    assert channel_table.hash_of(channel_table.TENSOR_VERSION) == FEATURE_HASH
    assert channel_table.hash_of(channel_table.TENSOR_VERSION + 1) != FEATURE_HASH
