"""Every threshold has its row: meaning, unit, bounds; nobody relaxes what must not be relaxed."""

import functools
import math
from pathlib import Path
from random import Random

import pytest

from chargewatch.cli.threshold_file import ThresholdFileError, read_thresholds
from chargewatch.cli.thresholds import changes_of, markdown
from chargewatch.csar2.detect import detect
from chargewatch.domain.categories import Category
from chargewatch.domain.limits import (
    LIMITS,
    NEVER_RELAXED,
    OutOfBounds,
    RelaxedBy,
    ThresholdError,
    UnknownLimit,
    bounds_text,
    checked,
    default_of,
    thresholds_of_stored,
    thresholds_with,
)
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from tests.nasty_sessions import nasty_session
from tests.sessions import NOW_US, columns_of, declared_of

NASTY = [nasty_session(Random(seed)) for seed in range(7_000, 7_120)]


def test_every_threshold_has_its_row_in_the_order_of_the_fields() -> None:
    rows, fields = set(LIMITS), set(Thresholds._fields)
    assert not fields - rows, f"chargewatch/domain/limits.py lacks rows for {sorted(fields - rows)}"
    assert not rows - fields, (
        f"chargewatch/domain/limits.py has rows without a threshold: {sorted(rows - fields)}"
    )
    order = [name for name in Thresholds._fields if name in LIMITS]
    assert list(LIMITS) == order


@pytest.mark.parametrize("name", LIMITS)
def test_a_row_makes_sense(name: str) -> None:
    limit = LIMITS[name]
    assert limit.least <= default_of(name) <= limit.most
    assert math.isfinite(limit.least)
    assert math.isfinite(limit.most)
    assert limit.meaning.endswith(".")
    assert limit.meaning.count(". ") == 0, "one sentence"
    assert limit.unit
    assert checked(name, limit.least) == limit.least
    assert checked(name, limit.most) == limit.most


@pytest.mark.parametrize("name", [name for name, one in LIMITS.items() if one.category in NEVER_RELAXED])
def test_falls_of_the_register_and_safety_are_never_relaxed(name: str) -> None:
    limit = LIMITS[name]
    assert limit.relaxed_by is not RelaxedBy.NEITHER
    lenient = limit.most if limit.relaxed_by is RelaxedBy.RAISING else limit.least
    assert lenient == default_of(name)


def test_what_excuses_a_lost_phase_is_never_relaxed_either() -> None:
    assert LIMITS["zero_power_kw"].most == DEFAULT_THRESHOLDS.zero_power_kw
    assert LIMITS["offer_fall"].least == DEFAULT_THRESHOLDS.offer_fall


def test_what_is_never_relaxed() -> None:
    assert set(NEVER_RELAXED) == {
        Category.KWH_DECREASE,
        Category.PHASE_LOSS,
        Category.VOLTAGE_OUT_OF_RANGE,
    }
    assert {one.category for one in LIMITS.values()} == {*Category, None}


@functools.cache
def reports(thresholds: Thresholds, category: Category | None) -> int:
    """In how many of the seeded sessions the category (None: any) is found by these thresholds, past ones too."""
    verdicts = detect(columns_of(NASTY), declared_of(NASTY), now_us=NOW_US, thresholds=thresholds)
    found = [{a.category for a in (*v.anomalies, *v.past_anomalies)} for v in verdicts]
    return sum(bool(each) if category is None else category in each for each in found)


@pytest.mark.parametrize("name", LIMITS)
def test_relaxing_a_limit_reports_less(name: str) -> None:
    limit = LIMITS[name]
    low, high = (
        reports(thresholds_with({name: bound}), limit.category) for bound in (limit.least, limit.most)
    )
    if limit.relaxed_by is RelaxedBy.RAISING:
        assert high <= low
    elif limit.relaxed_by is RelaxedBy.LOWERING:
        assert low <= high
    else:
        assert low == high


def test_the_seeded_sessions_can_tell() -> None:
    telling = [
        name
        for name, limit in LIMITS.items()
        if reports(thresholds_with({name: limit.least}), limit.category)
        != reports(thresholds_with({name: limit.most}), limit.category)
    ]
    assert len(telling) >= 8, telling


def test_an_unknown_limit_is_told_with_those_like_it() -> None:
    with pytest.raises(UnknownLimit, match=r"no limit 'pit_deptt'; did you mean pit_depth"):
        checked("pit_deptt", 0.2)
    with pytest.raises(UnknownLimit, match=r"no limit 'xyzzy'; `chargewatch thresholds` lists them"):
        default_of("xyzzy")
    with pytest.raises(UnknownLimit, match="did you mean zero_"):
        checked("zero_q", 1)


@pytest.mark.parametrize("value", [0.04999, 0.40001, math.nan, math.inf, -1, True, "0.2", None, 10**400])
def test_a_value_out_of_bounds_is_told_with_the_bounds(value: object) -> None:
    with pytest.raises(OutOfBounds, match=r"pit_depth must be .*0\.05 to 0\.4 \(share\)"):
        checked("pit_depth", value)
    with pytest.raises(OutOfBounds):
        thresholds_with({"pit_level_kw": 2, "pit_depth": value})


def test_a_limit_that_nobody_may_change_says_so() -> None:
    assert bounds_text(LIMITS["coarsest_resolution_kwh"]) == "1 (kWh), which nobody may change"


def test_defaults_with_some_values_in_their_place() -> None:
    assert thresholds_with({}) == DEFAULT_THRESHOLDS
    changed = thresholds_with({"pit_depth": 0.2, "pit_shortest_s": 300})
    assert changed == DEFAULT_THRESHOLDS._replace(pit_depth=0.2, pit_shortest_s=300.0)
    assert isinstance(changed.pit_shortest_s, float)


def test_what_another_release_stored_binds_within_the_bounds_of_this_one() -> None:
    stored = {"pit_depth": 0.9, "tolerance_kwh": 5.0, "of_tomorrow": 1.0, "zero_energy_kwh": 0.2}
    effective = thresholds_of_stored(stored)
    assert effective == DEFAULT_THRESHOLDS._replace(pit_depth=0.4, zero_energy_kwh=0.2)


# --- the command line and the page ------------------------------------------------------------------------


def test_the_page_has_every_limit_once_with_its_figures() -> None:
    page = markdown()
    for name, limit in LIMITS.items():
        (row,) = [line for line in page.splitlines() if line.startswith(f"| `{name}` ")]
        cells = [cell.strip() for cell in row.strip("|").split("|")]
        assert len(cells) == 6
        assert float(cells[1]) == default_of(name)
        assert {float(cells[2].split(" ")[0]), float(cells[2].split(" ")[-1])} == {limit.least, limit.most}
        assert cells[3:] == [limit.unit, limit.relaxed_by.value, limit.meaning]
    sections = [line[3:] for line in page.splitlines() if line.startswith("## ")]
    assert sections == [*[category.value for category in Category], "Shared"]
    assert max(map(len, page.splitlines())) < 200


def test_what_set_and_reset_ask_for() -> None:
    assert changes_of([], []) == {}
    assert changes_of(["pit_depth=0.2", " pit_level_kw =2"], ["zero_energy_kwh"]) == {
        "pit_depth": 0.2,
        "pit_level_kw": 2.0,
        "zero_energy_kwh": None,
    }
    everything = changes_of(["pit_depth=0.2"], ["all"])
    assert set(everything) == set(LIMITS)
    assert {name for name, value in everything.items() if value is not None} == {"pit_depth"}


@pytest.mark.parametrize(
    ("settings", "resets", "said"),
    [
        (["pit_depth"], [], "takes LIMIT=VALUE"),
        (["pit_depth=deep"], [], "pit_depth must be a number, 0.05 to 0.4"),
        (["pit_depth=0.5"], [], "pit_depth must be 0.05 to 0.4"),
        (["pit_depht=0.2"], [], "did you mean pit_depth"),
        ([], ["pit_depht"], "did you mean pit_depth"),
        (["pit_depth=0.2", "pit_depth=0.3"], [], "pit_depth is given twice"),
        (["pit_depth=0.2"], ["pit_depth"], "pit_depth is given twice"),
        (["tolerance_kwh=0.02"], [], "tolerance_kwh must be 0.001 to 0.01"),
    ],
)
def test_what_cannot_be_done_is_said(settings: list[str], resets: list[str], said: str) -> None:
    with pytest.raises(ThresholdError, match=said):
        changes_of(settings, resets)


@pytest.mark.parametrize(
    ("name", "text"),
    [
        ("limits.json", '{"pit_depth": 0.2, "pit_shortest_s": 300}'),
        ("limits.TOML", "pit_depth = 0.2\npit_shortest_s = 300\n"),
    ],
)
def test_a_file_of_thresholds(tmp_path: Path, name: str, text: str) -> None:
    path = tmp_path / name
    path.write_text(text)
    assert read_thresholds(path) == DEFAULT_THRESHOLDS._replace(pit_depth=0.2, pit_shortest_s=300.0)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        ("limits.yaml", "pit_depth: 0.2", "read from .json or .toml"),
        ("limits.json", None, "No such file"),
        ("limits.json", "{", "Expecting property name"),
        ("limits.json", "[" * 100_000, "limits.json: "),
        ("limits.json", "[0.2]", "must be an object"),
        ("limits.json", '{"pit_depth": 0.2, "pit_depth": 0.3}', "a name is given twice"),
        ("limits.json", '{"pit_depht": 0.2}', "did you mean pit_depth"),
        ("limits.json", '{"pit_depth": NaN}', "pit_depth must be 0.05 to 0.4"),
        ("limits.json", '{"pit_depth": null}', "pit_depth must be a number"),
        ("limits.toml", "pit_depth = 0.2 0.3", "limits.toml: "),
        ("limits.toml", "[pit]\ndepth = 0.2", "there is no limit 'pit'"),
        ("limits.toml", "tolerance_kwh = 0.02", "tolerance_kwh must be 0.001 to 0.01"),
    ],
)
def test_a_file_that_cannot_be_used(tmp_path: Path, name: str, text: str | None, said: str) -> None:
    path = tmp_path / name
    if text is not None:
        path.write_text(text)
    with pytest.raises(ThresholdFileError) as caught:
        read_thresholds(path)
    assert said in str(caught.value)
    assert "\n" not in str(caught.value)
