"""The printed tables tell what the simulator makes, and the page about it names the command that prints them."""

import subprocess
import sys
from importlib import import_module
from pathlib import Path

import pytest

from chargewatch.simulate import FAULTS, HELD_OUT, HELD_OUT_NEAR_MISSES, NEAR_MISSES, UNSEEN, UNSEEN_NORMALS
from chargewatch.simulate.mechanisms import NORMAL_BEHAVIOUR, Behaviour, behaviour_table, mechanism_table

PAGE = Path(__file__).parents[2] / "docs" / "simulator.md"
COMMAND = "python -m chargewatch.simulate.mechanisms"
ITEMS = {behaviour.item: behaviour for behaviour in NORMAL_BEHAVIOUR}


def cells(table: str) -> list[list[str]]:
    """The rows of a Markdown table without its head."""
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in table.splitlines()[2:]]


def test_each_mechanism_has_a_row_with_its_mark() -> None:
    rows = {(of, name.strip("`")): held_out == "yes" for of, name, held_out, _ in cells(mechanism_table())}
    expected = {(str(c), name): name in HELD_OUT[c] for c, names in FAULTS.items() for name in names}
    expected |= {("near-miss", name): name in HELD_OUT_NEAR_MISSES for name in NEAR_MISSES}
    expected |= {("unseen odd shape", name): True for name in UNSEEN}
    expected |= {("unseen normal", name): True for name in UNSEEN_NORMALS}
    assert rows == expected


@pytest.mark.parametrize("item", ITEMS)
def test_what_makes_normal_behaviour_exists(item: str) -> None:
    behaviour = ITEMS[item]
    assert behaviour.made_by
    for path in behaviour.made_by:
        module, name = path.split(".")
        assert callable(getattr(import_module(f"chargewatch.simulate.{module}"), name))
    assert set(behaviour.shown_by) <= set(NEAR_MISSES)


def test_all_of_it_occurs_in_ordinary_visits_or_in_near_misses() -> None:
    rows = {row[0]: row for row in cells(behaviour_table(draws=400))}
    assert set(rows) == set(ITEMS)
    for item, row in rows.items():
        behaviour: Behaviour = ITEMS[item]
        shares = [float(cell.removesuffix(" %")) for cell in row[3:]]
        assert all(0 <= share < 100 for share in shares)
        assert (max(shares) > 0) == (behaviour.ordinary is not None)
        assert behaviour.ordinary is not None or behaviour.shown_by


def test_the_page_says_which_behaviour_only_near_misses_show() -> None:
    text = " ".join(PAGE.read_text(encoding="utf-8").split())
    (sentence,) = (s for s in text.split(". ") if s.startswith("This holds for"))
    for item, behaviour in ITEMS.items():
        assert (item in sentence) == (behaviour.ordinary is None), item


def test_the_command_on_the_page_prints_both_tables() -> None:
    assert COMMAND in PAGE.read_text(encoding="utf-8")
    printed = subprocess.run(
        [sys.executable, *COMMAND.split()[1:]], capture_output=True, text=True, check=True, timeout=120
    )
    assert behaviour_table() in printed.stdout
    assert mechanism_table() in printed.stdout
    assert printed.stderr == ""
