"""SOC_DROP, sentence by sentence (``docs/categories.md``)."""

import pytest

from tests.sessions import POWER_EXPORT, Session, categories, charging, found, judge

DROP = ["SOC_DROP"]


def driven(*soc: tuple[float, float], kw: float = 11.0) -> Session:
    """An hour of charging with power, register and the given SoC."""
    return charging((60, kw)).register(every_s=60).power(every_s=60).soc(*soc)


# ------------------------------------------------------------------------------------------ it is this


def test_from_the_last_reading_at_the_earlier_value_to_the_lowest() -> None:
    session = driven((0, 40), (10, 50), (20, 50), (30, 45), (40, 44), (50, 46))
    assert found(session) == [("SOC_DROP", 20.0, 40.0, "info")]
    (anomaly,) = judge(session).anomalies
    assert anomaly.concern == "driver"
    evidence = {e.what: (e.observed, e.expected) for e in anomaly.evidence}
    assert evidence["state of charge before"] == (50.0, None)
    assert evidence["state of charge after"] == (44.0, 50.0)
    assert evidence["fall of the state of charge"] == (6.0, 3.0)
    assert evidence["energy imported meanwhile"][0] == pytest.approx(11.0 / 3, rel=0.01)


@pytest.mark.parametrize(("low", "expected"), [(47, DROP), (47.1, []), (48, []), (49, [])])
def test_three_points_or_more(low: float, expected: list[str]) -> None:
    assert categories(driven((0, 40), (20, 50), (30, low), (50, 52))) == expected


def test_a_fall_in_small_steps() -> None:
    session = driven((0, 40), (10, 50), (20, 49), (30, 48), (40, 47), (50, 47))
    assert found(session) == [("SOC_DROP", 10.0, 40.0, "info")]


def test_a_lone_low_reading_that_comes_back_at_once() -> None:
    assert found(driven((0, 40), (20, 50), (21, 30), (22, 50), (50, 60))) == [
        ("SOC_DROP", 20.0, 21.0, "info")
    ]


def test_two_falls_far_apart_are_two() -> None:
    session = driven((0, 40), (10, 50), (15, 40), (40, 60), (45, 50), (50, 51))
    assert [(start, end) for _, start, end, _ in found(session)] == [(10.0, 15.0), (40.0, 45.0)]


@pytest.mark.parametrize("every_s", [60, 300])
def test_energy_from_the_register_alone(every_s: int) -> None:
    session = charging((60, 11.0)).register(every_s=every_s, resolution_wh=100)
    assert categories(session.soc((0, 40), (20, 50), (30, 45), (40, 46))) == DROP


def test_as_long_as_the_session_runs() -> None:
    assert categories(driven((0, 40), (20, 50), (30, 45)).declare(over=False)) == DROP


def test_import_within_a_span_of_v2g() -> None:
    session = driven((0, 40), (10, 50), (20, 44), (30, 45), (40, 40), (50, 41))
    exporting = session.readings([(35, 5_000)], POWER_EXPORT)
    assert found(exporting) == [("SOC_DROP", 10.0, 20.0, "info")]


# -------------------------------------------------------------------------------------- it is not this


def test_export_lowers_the_soc() -> None:
    session = driven((0, 40), (10, 50), (20, 44), (30, 40), (50, 45))
    assert categories(session.readings([(t, 5_000) for t in range(10, 31)], POWER_EXPORT)) == []
    assert categories(session) == DROP


def test_after_an_export_the_earlier_value_is_the_one_then() -> None:
    session = driven((0, 40), (10, 60), (20, 40), (30, 42), (40, 41), (50, 43))
    assert categories(session.readings([(15, 5_000)], POWER_EXPORT)) == []


@pytest.mark.parametrize(
    ("high", "low", "expected"), [(100, 97, []), (100, 96.9, DROP), (99, 96, DROP), (100, 90, DROP)]
)
def test_recalibration_between_97_and_100(high: float, low: float, expected: list[str]) -> None:
    assert categories(driven((0, 80), (20, high), (30, low), (40, low), (50, low))) == expected


@pytest.mark.parametrize("placeholder", [0, 255, 65_535, 101])
def test_placeholders_are_no_soc(placeholder: float) -> None:
    assert categories(driven((0, 40), (20, 50), (25, placeholder), (30, 51), (50, 55))) == []
    assert categories(driven((0, placeholder), (20, 50), (30, 51), (50, placeholder))) == []


def test_no_energy_is_imported_meanwhile() -> None:
    idle = charging((20, 11.0), (20, 0.0), (20, 11.0)).power(every_s=60)
    assert "SOC_DROP" not in categories(idle.soc((0, 40), (19, 50), (25, 50), (38, 45), (60, 52)))
    assert "SOC_DROP" in categories(idle.soc((0, 40), (5, 50), (10, 45), (60, 52)))


def test_a_value_sent_anew_after_a_pause_or_a_first_one_before_charging() -> None:
    paused = charging((20, 11.0), (20, 0.0), (20, 11.0)).power(every_s=60)
    assert "SOC_DROP" not in categories(paused.soc((0, 40), (19, 50), (39, 50), (42, 40), (60, 42)))
    waiting = charging((20, 0.0), (40, 11.0)).power(every_s=60)
    assert categories(waiting.soc((0, 60), (25, 50), (60, 60))) == []


def test_without_any_energy_known() -> None:
    assert categories(charging((60, 11.0)).soc((0, 40), (20, 50), (30, 40), (60, 42))) == []
