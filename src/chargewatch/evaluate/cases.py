"""A case of the benchmark: one session with its stratum, and the seeds that keep sets apart."""

from dataclasses import replace
from enum import IntEnum, StrEnum
from typing import NamedTuple

import numpy as np

from chargewatch.simulate import SimulatedSession


class Purpose(IntEnum):
    """What sessions are drawn for."""

    SUITE = 0
    TRAINING = 1
    CALIBRATION = 2


class Split(StrEnum):
    """Whether a method may have learnt from sessions like this one."""

    TRAINING = "training"
    HELD_OUT = "held-out"


class Case(NamedTuple):
    """One session of the suite. ``stratum`` names its kind.

    Of normal sessions what they are; of faulty ones the category, or what makes them hard (``FaultStratum``).
    """

    session: SimulatedSession
    stratum: str
    split: Split


def seed_of(*key: int) -> int:
    """Returns a seed for a key; keys that begin with another purpose give other seeds."""
    return int(np.random.SeedSequence(key).generate_state(1, np.uint64)[0])


def named(session: SimulatedSession, letter: str, *key: int) -> SimulatedSession:
    """Gives a session a name of its own; it does not say what is wrong with it."""
    name = f"{seed_of(*key, ord(letter)):016x}"
    return replace(session, session_id=f"session-{name}", station_id=f"station-{name}")
