"""Columns of a file to columns of readings: text and numbers of any type, as Arrow reads them.

Every function returns the values, and which rows have none (missing) or none that can be read (wrong).
"""

from collections.abc import Mapping
from typing import Final, NamedTuple, TypeAlias, cast

import numpy as np
import numpy.typing as npt
import pyarrow as pa
import pyarrow.compute as pc

from chargewatch.domain.decimals import GRAMMAR, LONGEST
from chargewatch.domain.instants import EARLIEST_US, LATEST_US, MICROSECONDS, parse_instant
from chargewatch.domain.vocabulary import UNKNOWN
from chargewatch.ingest.columns import Codes, Flags, Floats, Integers
from chargewatch.ingest.table_blocks import Column

Indices: TypeAlias = npt.NDArray[np.int32]

_DECIMAL: Final = rf"\A(?:{GRAMMAR})\z"
_ZONE: Final = "(?:Z|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])"
_CLOCK: Final = r"\A[0-9]{4}-[0-9]{2}-[0-9]{2}[T ](?:[01][0-9]|2[0-3]):[0-5][0-9]:[0-5][0-9](?:\.[0-9]{1,6})?"
_WITH_ZONE: Final = rf"{_CLOCK}{_ZONE}\z"
_WITHOUT_ZONE: Final = rf"{_CLOCK}\z"
_PER_SECOND: Final = {"s": 1, "ms": 1_000, "us": MICROSECONDS, "ns": 1_000_000_000}
_TRUE: Final = ("true", "1")
_FALSE: Final = ("false", "0")


class Times(NamedTuple):
    """Microseconds since 1970, 0 where missing or wrong."""

    at_us: Integers
    missing: Flags
    wrong: Flags


class Numbers(NamedTuple):
    """Numbers, NaN where missing or wrong."""

    value: Floats
    missing: Flags
    wrong: Flags


class Choices(NamedTuple):
    """1 for true, 0 for false, -1 where missing or wrong."""

    value: Codes
    wrong: Flags


class Names(NamedTuple):
    """Positions in a table of the vocabulary.

    Missing names are -2, unknown ones -1; ``other`` tells unknown names apart (0 for all the rest) and is
    None where there are none.
    """

    code: Codes
    other: Integers | None


class Words(NamedTuple):
    """Texts by their number: row i has ``words[number[i]]``, none where ``number[i]`` is -1."""

    number: Indices
    words: list[str | None]


def plain(column: Column) -> pa.StringArray:
    """Returns texts or integers as plain strings, without dictionary."""
    return cast("pa.StringArray", column.cast(pa.string(), safe=False))


def _texts(strings: pa.StringArray) -> list[str | None]:
    """Returns strings; bytes that are no UTF-8 show as escapes."""
    try:
        return strings.to_pylist()
    except UnicodeDecodeError:
        raw = strings.cast(pa.binary()).to_pylist()
        return [None if text is None else text.decode("utf-8", "backslashreplace") for text in raw]


def _flags(mask: Column) -> Flags:
    flags: Flags = mask.fill_null(False).to_numpy(zero_copy_only=False).astype(np.bool_, copy=False)
    return flags


def _lengths(text: pa.StringArray) -> Indices:
    """Returns the length of each text in bytes, 0 for none."""
    lengths: Indices = pc.binary_length(text).fill_null(0).to_numpy(zero_copy_only=False)
    return lengths


def _only(text: pa.StringArray, rows: Flags) -> pa.StringArray:
    """Returns the texts of the marked rows, null for the others."""
    return text if rows.all() else pc.if_else(pa.array(rows), text, pa.scalar(None, pa.string()))


def _nulls(column: Column) -> Flags:
    return _flags(column.is_null()) if column.null_count else np.zeros(len(column), np.bool_)


def words(column: Column) -> Words:
    """Returns the distinct texts of a column of texts or integers; empty text counts as missing."""
    encoded = column if isinstance(column, pa.DictionaryArray) else plain(column).dictionary_encode()
    indices = encoded.indices.fill_null(-1) if encoded.null_count else encoded.indices
    number: Indices = indices.to_numpy(zero_copy_only=False).astype(np.int32, copy=False)
    strings = plain(encoded.dictionary)
    texts = _texts(strings)
    empty = np.flatnonzero(_lengths(strings) == 0)
    if len(empty):
        number = np.where(np.isin(number, empty), np.int32(-1), number)
    return Words(number, texts)


def names(column: Column, codes: Mapping[str, int], salt: str) -> Names:
    """Returns the codes of a column of names, whatever their case; ``salt`` keeps columns apart."""
    number, texts = words(column)
    table = np.array([codes.get((text or "").casefold(), UNKNOWN) for text in texts] + [-2], np.int8)
    code: Codes = table[number]
    unknown = [i for i, text in enumerate(texts) if text and table[i] == UNKNOWN]
    if not unknown:
        return Names(code, None)
    others = np.zeros(len(texts) + 1, np.int64)
    others[unknown] = [hash((salt, texts[i])) for i in unknown]
    return Names(code, others[number])


def numbers(column: Column) -> Numbers:
    """Returns a column of numbers of any type, or of texts that are numbers (``domain.decimals``)."""
    if pa.types.is_null(column.type):
        return _no_numbers(len(column))
    missing = _nulls(column)
    if (
        pa.types.is_floating(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_decimal(column.type)
    ):
        value = _floats(column)
    else:
        text = plain(column)
        length = _lengths(text)
        missing = length == 0
        fits = _flags(pc.match_substring_regex(text, _DECIMAL)) & (length <= LONGEST)
        value = _floats(_only(text, fits).cast(pa.float64()))
    bad = ~np.isfinite(value)
    value[bad] = np.nan
    return Numbers(value, missing, bad & ~missing)


def _no_numbers(rows: int) -> Numbers:
    return Numbers(np.full(rows, np.nan), np.ones(rows, np.bool_), np.zeros(rows, np.bool_))


def _floats(column: Column) -> Floats:
    safe = not pa.types.is_integer(column.type)
    array = column if pa.types.is_float64(column.type) else column.cast(pa.float64(), safe=safe)
    floats: Floats = np.array(array.to_numpy(zero_copy_only=False), np.float64)
    return floats


def choices(column: Column) -> Choices:
    """Returns a column of booleans, of 0 and 1, or of the texts true, false, 1 and 0."""
    value = np.full(len(column), -1, np.int8)
    if pa.types.is_null(column.type):
        return Choices(value, np.zeros(len(column), np.bool_))
    missing = _nulls(column)
    if pa.types.is_boolean(column.type):
        value[~missing] = _flags(column)[~missing]
        return Choices(value, np.zeros(len(column), np.bool_))
    if (
        pa.types.is_floating(column.type)
        or pa.types.is_integer(column.type)
        or pa.types.is_decimal(column.type)
    ):
        floats = _floats(column)
        value[floats == 1.0], value[floats == 0.0] = 1, 0
        return Choices(value, (value < 0) & ~missing & ~np.isnan(floats))
    number, texts = words(column)
    read = [1 if (t or "").lower() in _TRUE else 0 if (t or "").lower() in _FALSE else -1 for t in texts]
    value = np.array([*read, -1], np.int8)[number]
    return Choices(value, (value < 0) & (number >= 0))


def times(column: Column) -> Times:
    """Returns a column of timestamps of any unit and zone (none: UTC), or of texts as in RFC 3339."""
    if pa.types.is_null(column.type):
        rows = len(column)
        return Times(np.zeros(rows, np.int64), np.ones(rows, np.bool_), np.zeros(rows, np.bool_))
    missing = _nulls(column)
    if isinstance(column.type, pa.TimestampType):
        at_us, wrong = _from_timestamps(column, column.type.unit)
    else:
        text = plain(column)
        missing = _lengths(text) == 0
        at_us, wrong = _from_texts(text, missing)
    wrong |= (at_us < EARLIEST_US) | (at_us > LATEST_US)
    wrong &= ~missing
    at_us[missing | wrong] = 0
    return Times(at_us, missing, wrong)


def _from_timestamps(column: Column, unit: str) -> tuple[Integers, Flags]:
    """Returns timestamps in microseconds, cut, not rounded; marks those that int64 cannot hold."""
    ticks = column.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)
    per_second = _PER_SECOND[unit]
    if per_second >= MICROSECONDS:
        return ticks // (per_second // MICROSECONDS), np.zeros(len(ticks), np.bool_)
    factor = MICROSECONDS // per_second
    wrong = np.abs(ticks) > LATEST_US // factor
    return np.where(wrong, 0, ticks) * factor, wrong


def _from_texts(text: pa.StringArray, missing: Flags) -> tuple[Integers, Flags]:
    """Returns the instants of texts: those of the common forms by Arrow, the rest one by one."""
    at_us = np.zeros(len(text), np.int64)
    left = ~missing
    for pattern, zone in ((_WITH_ZONE, "UTC"), (_WITHOUT_ZONE, None)):
        fits = _flags(pc.match_substring_regex(text, pattern)) & left if left.any() else left
        if not fits.any():
            continue
        try:
            instants = _only(text, fits).cast(pa.timestamp("us", zone))
        except pa.ArrowInvalid:  # a day that does not exist: the slow way says which
            continue
        at_us[fits] = instants.view(pa.int64()).fill_null(0).to_numpy(zero_copy_only=False)[fits]
        left &= ~fits
    wrong = np.zeros(len(text), np.bool_)
    rows = np.flatnonzero(left)
    for row, value in zip(rows.tolist(), _texts(text.take(rows)), strict=True):
        try:
            at_us[row] = parse_instant(value or "")
        except ValueError:
            wrong[row] = True
    return at_us, wrong
