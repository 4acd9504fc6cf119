"""How readings lie in the database: one append-only chunk a push (``docs/decisions/0003``).

A chunk's ``encoding`` names its codec; chunks of different encodings lie side by side, so that a denser one
can follow without touching what is stored.
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import msgspec

from chargewatch.ingest.readings import Reading, Source, same_source

#: Sources once, then per reading: its source's position, time as the step from the one before, text.
COLUMNAR: Final = 1


class _Columnar(msgspec.Struct, array_like=True):
    sources: list[Source]
    index: list[int]
    step_us: list[int]
    text: list[str]


_encoder: Final = msgspec.msgpack.Encoder()
_decoder: Final = msgspec.msgpack.Decoder(_Columnar)


def encode(readings: Sequence[Reading]) -> tuple[int, bytes]:
    """Returns (encoding, payload) of a chunk with ``readings``, in the order given."""
    sources: dict[Source, int] = {}
    index = [sources.setdefault(r.source, len(sources)) for r in readings]
    times = [r.at_us for r in readings]
    steps = [b - a for a, b in zip([0, *times], times, strict=False)]
    return COLUMNAR, _encoder.encode(_Columnar(list(sources), index, steps, [r.text for r in readings]))


def _decode_columnar(payload: bytes) -> list[Reading]:
    chunk = _decoder.decode(payload)
    sources = [same_source(source) for source in chunk.sources]
    readings = []
    at_us = 0
    for position, step_us, text in zip(chunk.index, chunk.step_us, chunk.text, strict=True):
        at_us += step_us
        readings.append(Reading(at_us, text, sources[position]))
    return readings


_DECODERS: Final[Mapping[int, Callable[[bytes], list[Reading]]]] = {COLUMNAR: _decode_columnar}


def decode(encoding: int, payload: bytes) -> list[Reading]:
    """Returns the readings of a chunk in the order in which they were stored.

    Raises:
        KeyError: an encoding of a newer version.
    """
    return _DECODERS[encoding](payload)
