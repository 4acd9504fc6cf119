"""Weights as safetensors: written by the library, read only after their header was checked here.

Source: the format's description, https://huggingface.co/docs/safetensors.
"""

import json
import math
from collections.abc import Mapping
from typing import Any, Final

import numpy as np
import numpy.typing as npt

Weights = dict[str, npt.NDArray[np.float32]]

_LARGEST_HEADER: Final = 1 << 20
_LENGTH_BYTES: Final = 8
_FLOAT_BYTES: Final = 4


class ArtefactError(ValueError):
    """A model's folder is not what it should be."""


def encode(weights: Weights) -> bytes:
    """Returns the weights as a safetensors file; the same weights give the same bytes."""
    from safetensors.numpy import save

    return save({name: np.ascontiguousarray(array, np.float32) for name, array in sorted(weights.items())})


def decode(data: bytes, shapes: Mapping[str, tuple[int, ...]], where: str) -> Weights:
    """Returns the weights of exactly these names and shapes.

    Raises:
        ArtefactError: the header does not hold, names or shapes differ, or a weight is not finite.
    """
    header, body = _header(data, where)
    if set(header) != set(shapes):
        raise ArtefactError(
            f"{where}: names differ from the manifest's: {sorted(set(header) ^ set(shapes))[:5]}"
        )
    weights: Weights = {}
    for name, shape in shapes.items():
        begin, end = _place(header[name], shape, len(body), f"{where}: {name}")
        array = np.frombuffer(body[begin:end], np.dtype("<f4")).reshape(shape).astype(np.float32)
        if not np.isfinite(array).all():
            raise ArtefactError(f"{where}: {name} holds a weight that is not finite")
        weights[name] = array
    return weights


def _header(data: bytes, where: str) -> tuple[dict[str, Any], bytes]:
    """Returns what the file says of its tensors, and their bytes."""
    length = int.from_bytes(data[:_LENGTH_BYTES], "little")
    if len(data) < _LENGTH_BYTES or length > min(_LARGEST_HEADER, len(data) - _LENGTH_BYTES):
        raise ArtefactError(f"{where}: a header of {length} bytes")
    try:
        header = json.loads(data[_LENGTH_BYTES : _LENGTH_BYTES + length])
    except (ValueError, RecursionError):
        raise ArtefactError(f"{where}: the header is no JSON") from None
    if not isinstance(header, dict):
        raise ArtefactError(f"{where}: the header is no object")
    header.pop("__metadata__", None)
    return header, data[_LENGTH_BYTES + length :]


def _place(entry: object, shape: tuple[int, ...], size: int, where: str) -> tuple[int, int]:
    """Returns where a tensor's bytes stand, when its entry says what is expected."""
    count = math.prod(shape)
    if not isinstance(entry, dict) or entry.get("dtype") != "F32" or entry.get("shape") != list(shape):
        raise ArtefactError(f"{where} is not a tensor of 32-bit floats with shape {list(shape)}")
    offsets = entry.get("data_offsets")
    if not isinstance(offsets, list) or len(offsets) != 2 or not all(type(o) is int for o in offsets):
        raise ArtefactError(f"{where} has no place")
    begin, end = offsets
    if not 0 <= begin <= end <= size or end - begin != _FLOAT_BYTES * count:
        raise ArtefactError(f"{where} lies outside of the file")
    return begin, end
