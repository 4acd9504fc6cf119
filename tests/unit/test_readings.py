"""The set of a session's readings: keys, repeats, order of arrival (contract, section 2)."""

import random

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.domain.vocabulary import Measurand
from chargewatch.ingest.readings import Reading, ReadingSet, columns_of, key_of, same_value, source_of
from chargewatch.server.sessions import chunks

REGISTER = source_of(None, "kWh", None, None, None, None)
POWER = source_of("power.active.import", "kw", "l1", "outlet", None, None)
T0 = 1_772_186_400_000_000

sources = st.builds(
    source_of,
    st.sampled_from([None, "SoC", "Power.Active.Import", "My.Own"]),
    st.sampled_from([None, "kWh", "W", "odd"]),
    st.sampled_from([None, "L1", "l2", "L9"]),
    st.sampled_from([None, "EV", "Garage"]),
    st.sampled_from([None, "Transaction.Begin", "sample.clock"]),
    st.none(),
)
texts = st.sampled_from(["0", "5.5", "5.50", "-3", "1e3", "+7", ".5"])
readings = st.builds(Reading, st.integers(T0, T0 + 5).map(lambda s: s * 1), texts, sources)


def test_names_get_the_standards_spelling_and_defaults():
    assert POWER == ("Power.Active.Import", "kW", "L1", "Outlet", "Sample.Periodic", "Raw")
    assert REGISTER.measurand == Measurand.ENERGY_ACTIVE_IMPORT_REGISTER


def test_the_unit_that_was_not_sent_is_the_measurands_own():
    assert source_of("SoC", None, None, None, None, None).known_unit == "Percent"
    assert source_of(None, None, None, None, None, None).known_unit == "Wh"
    assert source_of("My.Own", None, None, None, None, None).known_unit is None


def test_a_repeat_with_the_same_value_changes_nothing():
    stored = ReadingSet([Reading(T0, "5.5", REGISTER)])
    change = stored.change([Reading(T0, "5.50", REGISTER)])
    assert change.added == []
    assert change.duplicates == 1


def test_of_two_values_for_one_key_the_later_one_counts():
    stored = ReadingSet([Reading(T0, "5.5", REGISTER)])
    change = stored.change([Reading(T0, "6", REGISTER), Reading(T0, "7", REGISTER)])
    assert [r.text for r in change.added] == ["7"]
    stored.apply(change.added)
    assert [r.text for r in stored.ordered()] == ["7"]


def test_changing_a_value_and_back_within_one_call_adds_nothing():
    stored = ReadingSet([Reading(T0, "5.5", REGISTER)])
    assert stored.change([Reading(T0, "6", REGISTER), Reading(T0, "5.5", REGISTER)]).added == []


def test_an_older_reading_is_noticed_as_out_of_order():
    stored = ReadingSet([Reading(T0 + 10, "5.5", REGISTER)])
    assert stored.change([Reading(T0, "1", REGISTER), Reading(T0 + 20, "6", REGISTER)]).out_of_order == 1


def test_another_unit_is_another_value():
    assert not same_value(Reading(T0, "5", REGISTER), Reading(T0, "5", REGISTER._replace(unit="Wh")))


def test_signed_data_is_no_number():
    signed = source_of(None, None, None, None, None, "SignedData")
    columns = columns_of([ReadingSet([Reading(T0, "OCMF|{}", signed)])])
    assert columns.value[0] != columns.value[0]
    assert columns.signed[0]


@settings(derandomize=True, max_examples=200)
@given(st.lists(readings, max_size=30), st.integers(0, 2**32))
def test_splitting_and_order_of_distinct_keys_never_matter(sent, seed):
    distinct = list({key_of(r): r for r in sent}.values())
    whole = ReadingSet(distinct)
    shuffled = distinct[:]
    random.Random(seed).shuffle(shuffled)
    pieces = ReadingSet()
    cut = seed % (len(shuffled) + 1)
    for part in (shuffled[:cut], shuffled[cut:], shuffled[: cut // 2]):
        pieces.apply(pieces.change(part).added)
    assert pieces.ordered() == whole.ordered()
    assert pieces.same_as(whole)
    assert whole.same_as(pieces)


@settings(derandomize=True, max_examples=200)
@given(st.lists(readings, max_size=30))
def test_a_change_applied_holds_everything_that_was_sent_last(sent):
    stored = ReadingSet()
    stored.apply(stored.change(sent).added)
    last = {key_of(r): r for r in sent}
    assert len(stored) == len(last)
    assert all(stored.holds(r) for r in last.values())
    assert stored.change(list(last.values())).added == []


@settings(derandomize=True, max_examples=200)
@given(st.lists(st.builds(Reading, st.integers(-(2**62), 2**62), st.text(max_size=20), sources), min_size=1))
def test_a_chunk_gives_back_what_was_stored(sent):
    assert chunks.decode(*chunks.encode(sent)) == sent


def test_a_chunk_of_an_unknown_encoding_is_refused():
    with pytest.raises(KeyError):
        chunks.decode(99, b"")


def test_a_chunk_is_small():
    sent = [Reading(T0 + i * 60_000_000, f"{i * 0.11:.3f}", REGISTER) for i in range(60)]
    assert len(chunks.encode(sent)[1]) < 16 * len(sent)
