"""The buckets of many sessions, and the tensors while they are made: what the rows of the tensor record share."""

from typing import Final, NamedTuple

import numpy as np
import numpy.typing as npt

from chargewatch.features.channel_table import BUCKETS, CHANNELS, Place
from chargewatch.ingest.columns import Flags, Floats, Integers

Singles = npt.NDArray[np.float32]
SESSION_BITS: Final = 42  # of milliseconds within a session, in a key over all sessions


class Grid(NamedTuple):
    """The buckets of all sessions: their ``edges_ms`` have shape (S, buckets + 1).

    ``sessions`` (S, 1) is each session's part of a key, ``begun`` marks buckets that end after the first reading.
    """

    width_ms: Integers
    end_ms: Integers
    edges_ms: Integers
    sessions: Integers
    begun: Flags


class Made:
    """The tensors while they are made: what is not put stays 0 and masked."""

    def __init__(self, sessions: int) -> None:
        self.values = np.zeros((sessions, len(CHANNELS), BUCKETS), np.float32)
        self.masks = np.zeros((sessions, len(CHANNELS), BUCKETS), np.bool_)

    def put(self, place: Place, value: Floats, known: Flags) -> None:
        """Puts one channel, once."""
        np.copyto(self.values[:, place], value, where=known, casting="same_kind")
        self.masks[:, place] = known


def owners(counts: Integers) -> Integers:
    """The session of each row, by how many rows each session has."""
    if len(counts) == 1:
        return np.zeros(int(counts[0]), np.int64)
    return np.repeat(np.arange(len(counts)), counts)


def in_ms(at_s: Floats) -> Integers:
    """Returns times in seconds as whole milliseconds."""
    at_ms: Integers = np.rint(at_s * 1000.0).astype(np.int64)
    return at_ms
