"""A batch as it waits: its sessions as they were sent, in parts that a worker takes one at a time."""

import zlib
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

#: A part ends at so many sessions,
LARGEST_PART: Final = 200
#: or at so many bytes of JSON.
LARGEST_PART_BYTES: Final = 1024 * 1024
#: Most of the time that a call takes; JSON shrinks to a tenth with it.
_LEVEL: Final = 1

_list_of_raw = msgspec.json.Decoder(list[msgspec.Raw]).decode


class Part(NamedTuple):
    """Some sessions that follow each other, compressed; ``first`` is the place of the first one in the batch."""

    first: int
    session_count: int
    payload: bytes


def divide(sessions: Sequence[msgspec.Raw]) -> list[Part]:
    """Returns the parts of a batch, in order."""
    return [
        Part(first, len(some), zlib.compress(b"[" + b",".join(some) + b"]", _LEVEL))
        for first, some in _divided(sessions)
    ]


def _divided(sessions: Sequence[msgspec.Raw]) -> Iterator[tuple[int, list[msgspec.Raw]]]:
    first, size = 0, 0
    some: list[msgspec.Raw] = []
    for place, session in enumerate(sessions):
        length = len(memoryview(session))
        if some and (len(some) == LARGEST_PART or size + length > LARGEST_PART_BYTES):
            yield first, some
            first, some, size = place, [], 0
        some.append(session)
        size += length
    if some:
        yield first, some


def sessions_of(payload: bytes) -> list[msgspec.Raw]:
    """Returns the sessions of a part, as they were sent."""
    return _list_of_raw(zlib.decompress(payload))
