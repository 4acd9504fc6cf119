"""The history checker finds what is wrong, accuses nobody else, and agrees with the twin that tries every order."""

import random
from collections.abc import Sequence

import msgspec
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from tests.faults.history import (
    INVARIANTS,
    Call,
    FinalState,
    History,
    Shown,
    Summary,
    Violation,
    check,
    register,
)
from tests.histories import SESSION, TENANT, call, history, spoiled, without_results
from tests.reference.one_session import possible

CANARIES = {TENANT: "canary-north", "south": "canary-south"}
SEEDS = st.randoms(use_true_random=False)


def shown(version: int, **values: str) -> Shown:
    return Shown(version=version, analyzed_version=version, readings=tuple(values.items()))


def told(version: int) -> Shown:
    return Shown(version=version, analyzed_version=version)


def found(calls: Sequence[Call], final: Shown | None, *summaries: Summary) -> list[Violation]:
    return check(
        History(calls=tuple(calls), canaries=CANARIES),
        FinalState(sessions={(TENANT, SESSION): final}, summaries=summaries),
    )


def names(violations: Sequence[Violation]) -> set[str]:
    return {violation.invariant for violation in violations}


POST = call(0, "POST", 0, 1, sent=[("a", "1")], shown=told(1))
PATCH = call(1, "PATCH", 2, 3, sent=[("b", "2"), ("c", "3")], shown=told(2))
PUT = call(2, "PUT", 4, 5, sent=[("a", "4"), ("d", "5")], shown=told(3))
SILENT = call(3, "PATCH", 4, 5, sent=[("e", "6"), ("f", "7")], status=None)


@pytest.mark.parametrize(
    ("calls", "final"),
    [
        ([POST], shown(1, a="1")),
        ([POST, PATCH], shown(2, a="1", b="2", c="3")),
        ([POST, PATCH, PUT], shown(3, a="4", d="5")),
        ([POST, PATCH, SILENT], shown(2, a="1", b="2", c="3")),
        ([POST, PATCH, SILENT], shown(3, a="1", b="2", c="3", e="6", f="7")),
    ],
)
def test_what_happened_is_not_accused(calls: list[Call], final: Shown) -> None:
    assert found(calls, final) == []


@pytest.mark.parametrize(
    ("broken", "calls", "final"),
    [
        pytest.param("I1", [POST, PATCH], shown(2, a="1", b="2"), id="a reading is lost"),
        pytest.param("I1", [POST], None, id="a session is lost"),
        pytest.param(
            "I1", [POST], Shown(version=1, readings=(("a", "1"), ("a", "1"))), id="a reading is there twice"
        ),
        pytest.param("I1", [POST, PATCH], shown(2, a="1", b="2", c="9"), id="a reading that nobody sent"),
        pytest.param("I1", [POST, PATCH, PUT], shown(3, a="4", b="2", d="5"), id="a replaced reading"),
        pytest.param(
            "I1",
            [
                POST,
                PATCH,
                call(4, "GET", 4, 5, shown=Shown(version=2, analyzed_version=2, readings=(("a", "1"),))),
            ],
            shown(2, a="1", b="2", c="3"),
            id="a reader misses a reading",
        ),
        pytest.param("I2", [POST, PATCH], shown(3, a="1", b="2", c="3"), id="a version without a call"),
        pytest.param("I2", [POST, PATCH], shown(1, a="1"), id="an acknowledged version is gone"),
        pytest.param(
            "I2",
            [POST, PATCH, call(4, "PATCH", 2, 3, sent=[("g", "8")], shown=told(2))],
            shown(2, a="1", b="2", c="3", g="8"),
            id="two changes at one version",
        ),
        pytest.param(
            "I2",
            [POST, PATCH, call(4, "GET", 4, 5, shown=told(1))],
            shown(2, a="1", b="2", c="3"),
            id="an older version after a newer one",
        ),
        pytest.param(
            "I2",
            [POST],
            Shown(version=1, analyzed_version=0, readings=(("a", "1"),)),
            id="the result of another version",
        ),
        pytest.param(
            "I2",
            [msgspec.structs.replace(POST, shown=Shown(version=1, analyzed_version=1, verdict=(True,)))],
            shown(1, a="1"),
            id="two results of one version",
        ),
        pytest.param(
            "I7", [POST, PATCH, SILENT], shown(3, a="1", b="2", c="3", e="6"), id="half of a silent PATCH"
        ),
        pytest.param(
            "I7",
            [POST, msgspec.structs.replace(PUT, status=None, shown=None)],
            shown(2, d="5"),
            id="half of a silent PUT",
        ),
        pytest.param(
            "I7",
            [POST, msgspec.structs.replace(SILENT, status=422)],
            shown(1, a="1", e="6", f="7"),
            id="a refused call is stored",
        ),
        pytest.param(
            "I5",
            [msgspec.structs.replace(POST, canaries=frozenset(CANARIES.values()))],
            shown(1, a="1"),
            id="another tenant's canary",
        ),
        pytest.param("I8", [POST, call(4, "GET", 4, 5, status=500)], shown(1, a="1"), id="a 500"),
        pytest.param(
            "I8", [POST, call(4, "GET", 4, 5, status=503)], shown(1, a="1"), id="a 503 without Retry-After"
        ),
    ],
)
def test_each_violation_is_found(broken: str, calls: list[Call], final: Shown | None) -> None:
    assert broken in names(found(calls, final))


def test_a_summary_that_recomputation_contradicts_is_found() -> None:
    assert found([POST], shown(1, a="1"), Summary("north total", 3, 3)) == []
    (violation,) = found([POST], shown(1, a="1"), Summary("north total", 3, 2))
    assert str(violation) == "I3: north total is 3, recomputed 2"


def test_own_canaries_and_announced_failures_are_fine() -> None:
    own = msgspec.structs.replace(POST, canaries=frozenset({CANARIES[TENANT]}))
    busy = [call(n, "GET", 4, 5, status=status, retry_after="1") for n, status in ((4, 503), (5, 504))]
    assert found([own, *busy], shown(1, a="1")) == []


def test_only_what_has_a_check_is_checked() -> None:
    assert list(INVARIANTS) == ["I1", "I2", "I3", "I5", "I7", "I8"]
    with pytest.raises(ValueError, match="I1"):
        register("I1")(lambda history, final: [])
    more = {"I4": lambda history, final: [Violation("I4", "an event was lost")]}
    assert check(History(calls=()), FinalState(sessions={}), more) == [Violation("I4", "an event was lost")]


def test_a_violation_says_where() -> None:
    (violation,) = found([POST], None)
    assert str(violation) == f"I1 {TENANT}/{SESSION}: an acknowledged session is gone"


@given(SEEDS, st.integers(1, 12))
@settings(max_examples=150, deadline=None)
def test_a_correct_server_is_never_accused(rng: random.Random, length: int) -> None:
    calls, final = history(rng, length, silence=0.3, repeats=0.15)
    assert found(calls, final) == []


@given(SEEDS, st.integers(2, 7))
@settings(max_examples=200, deadline=None)
def test_no_history_is_accused_that_some_order_explains(rng: random.Random, length: int) -> None:
    calls, final = spoiled(rng, *without_results(*history(rng, length, silence=0.3, repeats=0.15)))
    if possible(calls, final):
        assert found(calls, final) == []


@given(SEEDS, st.integers(2, 7))
@settings(max_examples=200, deadline=None)
def test_with_all_answers_the_checker_finds_whatever_the_twin_finds(rng: random.Random, length: int) -> None:
    calls, final = spoiled(rng, *without_results(*history(rng, length, silence=0, repeats=0)))
    assert bool(found(calls, final)) == (not possible(calls, final))


def test_without_some_answers_nearly_everything_is_found() -> None:
    """What may escape needs two silent repeats of one reading, or a version that a silent call may have made."""
    rng = random.Random(5)
    impossible = missed = 0
    for _ in range(1500):
        calls, final = spoiled(
            rng, *without_results(*history(rng, rng.randint(2, 7), silence=0.3, repeats=0.15))
        )
        if not possible(calls, final):
            impossible += 1
            missed += not found(calls, final)
    assert impossible > 500
    assert missed < 0.04 * impossible
