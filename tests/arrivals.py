"""How the readings of a session may arrive: in any order, repeated, in any number of calls."""

import random
from collections.abc import Sequence

import msgspec
from hypothesis import strategies as st

from chargewatch.domain.data_quality import DataQualityNote
from chargewatch.domain.verdict import Anomaly
from chargewatch.ingest.readings import Key, Reading, key_of, source_of

T0_US = 1_772_186_400_000_000
MINUTE_US = 60_000_000
SOURCES = (
    source_of(None, "kWh", None, None, None, None),
    source_of(None, None, None, None, "Transaction.Begin", None),
    source_of("Power.Active.Import", "kW", None, None, None, None),
    source_of("Power.Active.Import", "W", "L1", None, None, None),
    source_of("SoC", "Percent", None, "EV", None, None),
    source_of("My.Own", None, None, None, None, None),
)
#: For information: they tell how readings arrived and never touch the verdict.
INFORMATIONAL = {"duplicate", "out_of_order", "unit_assumed"}

readings = st.builds(
    lambda minute, source, value: Reading(T0_US + minute * MINUTE_US, value, source),
    st.integers(0, 40),
    st.sampled_from(SOURCES),
    st.sampled_from(["0", "1.5", "2", "2.50", "4", "7", "11", "30", "61.2", "1e2"]),
)
sessions = st.lists(readings, min_size=1, max_size=40)


def distinct(sent: Sequence[Reading]) -> list[Reading]:
    """The readings without conflicting values: one of each key."""
    return list({key_of(reading): reading for reading in sent}.values())


def arrival(rng: random.Random, sent: Sequence[Reading]) -> list[list[Reading]]:
    """The readings in calls: in another order, some of them more than once."""
    left = [*sent, *rng.choices(sent, k=rng.randint(0, len(sent)))]
    rng.shuffle(left)
    calls = []
    while left:
        size = rng.randint(1, len(left))
        calls.append(left[:size])
        left = left[size:]
    return calls


def last_values(calls: Sequence[Sequence[Reading]]) -> dict[Key, float]:
    """What counts for each key: the value of the later call, within a call of the later reading."""
    return {key_of(reading): float(reading.text) for call in calls for reading in call}


def values(stored: Sequence[Reading]) -> dict[Key, float]:
    """The value of each stored key; numbers, since of equal values either text may be kept."""
    return {key_of(reading): float(reading.text) for reading in stored}


def essence(notes: Sequence[DataQualityNote], anomalies: Sequence[Anomaly], *figures: object) -> bytes:
    """A result without the notes for information, in a form that compares."""
    kept = [note for note in notes if note.code not in INFORMATIONAL]
    return msgspec.json.encode([kept, anomalies, figures])
