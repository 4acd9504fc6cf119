"""The file that ``score --thresholds`` takes: a JSON or TOML table of limits with the values that they shall have."""

import json
import tomllib
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

from chargewatch.domain.limits import ThresholdError, thresholds_with
from chargewatch.domain.thresholds import Thresholds


class ThresholdFileError(ValueError):
    """The file cannot be read, or holds what no limit can be; the text is one line."""


def read_thresholds(path: Path) -> Thresholds:
    """Returns the defaults with the values of a file in place of theirs; names and bounds are those of a tenant.

    Raises:
        ThresholdFileError: the text says what is wrong and, of a value out of bounds, what they are.
    """
    read = _READERS.get(path.suffix.lower())
    if read is None:
        raise ThresholdFileError(f"{path}: thresholds are read from .json or .toml")
    try:
        values = read(path.read_text(encoding="utf-8"))
    except OSError as problem:
        raise ThresholdFileError(f"{path}: {problem.strerror}") from None
    except (ValueError, RecursionError) as problem:
        raise ThresholdFileError(f"{path}: {problem}") from None
    if not isinstance(values, Mapping):
        raise ThresholdFileError(f'{path}: must be an object such as {{"pit_depth": 0.2}}')
    try:
        return thresholds_with(values)
    except ThresholdError as problem:
        raise ThresholdFileError(f"{path}: {problem}") from None


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    found = dict(pairs)
    if len(found) != len(pairs):
        raise ValueError("a name is given twice")
    return found


def _json(text: str) -> object:
    return json.loads(text, object_pairs_hook=_unique)


_READERS: Final[Mapping[str, Callable[[str], object]]] = {".json": _json, ".toml": tomllib.loads}
