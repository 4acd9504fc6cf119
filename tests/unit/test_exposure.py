"""Normal sessions made odd at random: only what is meant to change does, and the rest follows."""

import numpy as np
import pytest

from chargewatch.csar2 import exposure
from chargewatch.csar2.exposure import SPOILT_OF, modulated, spoilt
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS
from chargewatch.evaluate.columns import columns_of
from chargewatch.features.batch import SessionBatch
from chargewatch.features.channel_table import COMPANIONS, CONTEXT, Place
from chargewatch.features.tensor import SessionTensors, session_tensors
from chargewatch.simulate import simulate_session

POWERS = (Place.REGISTER_POWER, Place.MEASURED_POWER)
UNTOUCHED = (
    Place.OFFERED,
    Place.VOLTAGE,
    Place.PHASES,
    Place.REGISTER_GAP,
    Place.MEASURED_GAP,
    Place.READINGS,
    Place.ELAPSED,
    Place.FIRST_PHASE,
)


@pytest.fixture(scope="module")
def normal() -> SessionTensors:
    columns = columns_of([simulate_session(seed) for seed in range(240)])
    batch = SessionBatch(columns.readings, columns.declared, columns.now_us, DEFAULT_THRESHOLDS)
    return session_tensors(batch)


def sources(normal: SessionTensors, changed: SessionTensors) -> list[int]:
    """The position of each changed session: masks, width and end stay as they were."""
    found = []
    for row in range(len(changed.shown)):
        same = (normal.masks == changed.masks[row]).all(axis=(1, 2)) & (normal.end_ms == changed.end_ms[row])
        same &= (normal.context == changed.context[row]).all(axis=1)
        found.append(int(np.flatnonzero(same)[0]))
    return found


def test_a_spoilt_session_differs_in_one_companion_only(normal: SessionTensors) -> None:
    changed = spoilt(normal, seed=1)
    assert 0 < len(changed.shown) <= len(COMPANIONS) * (len(normal.shown) // SPOILT_OF)
    spoilt_places = set()
    for row, source in enumerate(sources(normal, changed)):
        places = np.flatnonzero((normal.values[source] != changed.values[row]).any(axis=1))
        assert len(places) == 1
        assert places[0] in COMPANIONS
        spoilt_places.add(int(places[0]))
        assert not changed.values[row][~changed.masks[row]].any()
        highest = {Place.OFFERED: 4.0, Place.DIVERGENCE: 3.0}.get(Place(places[0]), 1.0)
        assert np.abs(changed.values[row, places[0]]).max() <= highest
    assert spoilt_places == {int(place) for place in COMPANIONS}


def test_the_state_of_charge_stands_leaps_and_takes_another_pace(normal: SessionTensors) -> None:
    """Ways that only it has: it never falls by them, and by standing it ends where it would have."""
    rising = np.linspace(0.2, 0.8, 60)
    rng = np.random.default_rng(5)
    for _ in range(50):
        stood = rising + exposure._stand_and_leap(rng, rising, 0.0)
        assert (np.diff(stood) >= 0).all()
        assert (stood <= rising).all()
        assert len(np.unique(stood)) <= 60 / 4
        paced = rising + exposure._another_pace(rng, rising, 0.0)
        assert (np.diff(paced) > 0).all()
        assert paced[0] == rising[0]
        assert abs((paced[-1] - paced[0]) / 0.6 - 1.0) > 0.4


def test_a_modulated_session_delivers_less_and_never_as_little_as_in_a_pit(normal: SessionTensors) -> None:
    changed = modulated(normal, seed=1)
    assert len(changed.shown) >= 10
    managed = [row.name for row in CONTEXT].index("managed")
    for row, source in enumerate(sources(normal, changed)):
        before, after = normal.values[source], changed.values[row]
        assert changed.context[row, managed] == 0
        assert not after[~changed.masks[row]].any()
        assert (after[list(UNTOUCHED)] == before[list(UNTOUCHED)]).all()
        place = max(POWERS, key=lambda p: int(changed.masks[row, p].sum()))
        flowing = changed.masks[row, place] & (before[place] > 0.2)
        share = after[place][flowing] / before[place][flowing]
        assert share.max() / share.min() <= 1 / 0.35 + 1e-3
        assert share.max() - share.min() > 0.01
        energy = after[Place.ENERGY][changed.masks[row, Place.ENERGY]]
        assert (np.diff(energy) >= -1e-6).all()
        assert energy[-1] < before[Place.ENERGY][changed.masks[row, Place.ENERGY]][-1]


@pytest.mark.parametrize("make", [spoilt, modulated])
def test_a_seed_gives_the_same_sessions(normal: SessionTensors, make) -> None:
    first, again, other = make(normal, 3), make(normal, 3), make(normal, 4)
    assert (first.values == again.values).all()
    assert first.values.shape != other.values.shape or (first.values != other.values).any()
