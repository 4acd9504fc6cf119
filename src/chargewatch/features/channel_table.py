"""The table of what the network sees: channels of each bucket, context of each session, and their hash.

A model is made for one table. `FEATURE_HASH` changes with any row here and with `TENSOR_VERSION`, which must be
raised whenever `features.tensor` computes a row differently; a model made for another hash is refused.
"""

from enum import IntEnum
from hashlib import sha256
from typing import Final, NamedTuple

#: Raised with every change of what `features.tensor` computes.
TENSOR_VERSION: Final = 2
#: Buckets of a session, the last one ending at its last reading.
BUCKETS: Final = 72
#: A bucket is as short as these allow the analysed window to fit; in milliseconds.
WIDTHS_MS: Final = (30_000, 60_000, 120_000, 300_000)


class Row(NamedTuple):
    """One channel or figure of context: its name, the unit before scaling, and how it is scaled."""

    name: str
    unit: str
    scaling: str


CHANNELS: Final = (
    Row("register_power", "W", "share of the session's peak, at most 3"),
    Row("measured_power", "W", "share of the session's peak, at most 3"),
    Row("measured_range", "W", "highest less lowest reading of the bucket, share of the peak, at most 3"),
    Row("measured_travel", "W", "sum of the moves between readings, share of the peak, log(1+x), at most 3"),
    Row("soc", "Percent", "the highest so far, read in the last 20 min, divided by 100"),
    Row("offered", "W", "share of the session's peak, at most 4"),
    Row("voltage", "V", "share of the session's highest"),
    Row("current", "A", "share of the session's highest"),
    Row("phases", "count", "divided by 3"),
    Row("register_gap", "s", "between the readings around the bucket's end, log(1 + share of the width)"),
    Row("measured_gap", "s", "between the readings around the bucket's end, log(1 + share of the width)"),
    Row("readings", "count", "log(1 + x) / 3"),
    Row("elapsed", "h", "since the first reading, log(1 + x)"),
    Row("energy", "kWh", "since the first reading, log(1 + x) / 4"),
    Row("divergence", "W", "register less measured power, share of the peak, from -3 to 3"),
    Row("first_phase", "A", "share of L1 in the currents of all phases"),
)


class Place(IntEnum):
    """The positions of the channels."""

    REGISTER_POWER = 0
    MEASURED_POWER = 1
    MEASURED_RANGE = 2
    MEASURED_TRAVEL = 3
    SOC = 4
    OFFERED = 5
    VOLTAGE = 6
    CURRENT = 7
    PHASES = 8
    REGISTER_GAP = 9
    MEASURED_GAP = 10
    READINGS = 11
    ELAPSED = 12
    ENERGY = 13
    DIVERGENCE = 14
    FIRST_PHASE = 15


#: What the autoencoder reconstructs: delivery, and what accompanies it.
DELIVERY: Final = (Place.REGISTER_POWER, Place.MEASURED_POWER, Place.MEASURED_TRAVEL)
COMPANIONS: Final = (Place.SOC, Place.OFFERED, Place.VOLTAGE, Place.DIVERGENCE, Place.FIRST_PHASE)
RECONSTRUCTED: Final = (*DELIVERY, *COMPANIONS)

CONTEXT: Final = (
    Row("is_dc", "flag", "0 or 1"),
    Row("managed", "flag", "0 or 1"),
    Row("resolution", "Wh", "share of what the peak delivers in a bucket, log(1+x)"),
    Row("width", "s", "log2(x / 30) / 4"),
    Row("spacing", "s", "mean time between instants, share of the width, log(1+x)"),
    Row("peak", "kW", "log(1+x) / 5"),
    Row("rated_known", "flag", "0 or 1"),
    Row("rated_share", "W", "peak as a share of the rated power, at most 2; 0 where that is not known"),
    Row("before_window", "h", "time before the analysed window, log(1+x)"),
)


def hash_of(version: int) -> str:
    """Returns the hash of the table under a version of the code."""
    return sha256(repr((version, BUCKETS, WIDTHS_MS, CHANNELS, CONTEXT)).encode()).hexdigest()


FEATURE_HASH: Final = hash_of(TENSOR_VERSION)
