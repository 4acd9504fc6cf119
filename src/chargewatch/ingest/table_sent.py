"""Rows of a file of readings as they were sent: the text of each number, the names as written, the place.

Whether a row is a reading is decided where ``score`` decides it (``table_rows``), and by what the API refuses beyond
that: names with control characters or of more than 255 characters.
"""

from collections.abc import Sequence
from typing import Final, Generic, NamedTuple, TypeVar

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from chargewatch.domain.decimals import LONGEST
from chargewatch.ingest.columns import Flags, Integers
from chargewatch.ingest.readings import Source, source_of
from chargewatch.ingest.table_blocks import NAMES, PLACES, BadRow, Block, Column
from chargewatch.ingest.table_rows import Report, decode
from chargewatch.ingest.table_values import Indices, Words, plain, words

LONGEST_NAME: Final = 255
#: Rows that are readings of numbered sessions. ``source`` and ``place`` are numbers in `SentRows`; ``managed`` is -1
#: where the row does not say.
_COLUMNS: Final[dict[str, pa.DataType]] = {
    "session": pa.int64(),
    "id": pa.string(),
    "file": pa.int32(),
    "row": pa.int64(),
    "at_us": pa.int64(),
    "text": pa.string(),
    "source": pa.int32(),
    "place": pa.int32(),
    "managed": pa.int8(),
}
SENT: Final = pa.schema(_COLUMNS)

T = TypeVar("T")


class Place(NamedTuple):
    """Where a row says that its session takes place; the texts as they stand there."""

    station: str | None
    evse_id: str | None
    connector_id: str | None


class Register(Generic[T]):
    """Numbers things in the order in which they are met."""

    def __init__(self) -> None:
        self.things: list[T] = []
        self._numbers: dict[T, int] = {}

    def number(self, thing: T) -> int:
        """Returns the number of a thing."""
        number = self._numbers.setdefault(thing, len(self.things))
        if number == len(self.things):
            self.things.append(thing)
        return number


class DecodedBlock(NamedTuple):
    """The sessions of a block's rows; of those rows that have one, ``good`` marks the readings.

    ``rows`` are the places of these rows in the block.
    """

    sessions: Words
    rows: Integers
    good: Flags
    at_us: Integers
    managed: Integers


class SentRows:
    """Makes rows of blocks; what a row is a reading of and where are numbers in ``sources`` and ``places``."""

    def __init__(self, report: Report) -> None:
        self.sources: Register[Source] = Register()
        self.places: Register[Place] = Register()
        self._report = report

    def decode(self, file: str, block: Block) -> DecodedBlock:
        """Reports every row that is no reading, in order."""
        bad: list[BadRow] = []
        sessions, rows = decode(file, block, bad.append)
        index = np.flatnonzero(sessions.number >= 0)
        good = rows.good.copy()
        for name in NAMES:
            wrong = _bad_names(block.columns.get(name))
            if wrong is None:
                continue
            reason = f"{name} has more than {LONGEST_NAME} characters or control characters"
            fresh = index[wrong[index] & good]
            bad += [BadRow(file, block.first_row + i, block.line_of(i), reason) for i in fresh.tolist()]
            good &= ~wrong[index]
        for row in sorted(bad, key=lambda row: row.row):
            self._report(row)
        return DecodedBlock(sessions, index, good, rows.at_us, rows.managed.astype(np.int64))

    def batch(
        self, file: int, block: Block, decoded: DecodedBlock, numbers: Integers, keep: Flags
    ) -> pa.RecordBatch:
        """Returns rows of the schema `SENT`.

        Args:
            file: the file's number.
            block: where the rows stand.
            decoded: what ``decode`` returned for it.
            numbers: the number of each row's session, for the rows of ``decoded.rows``.
            keep: which of these rows to return.
        """
        index = decoded.rows[keep]
        ids = pa.array(decoded.sessions.words, pa.string())
        columns = [
            pa.array(numbers[keep]),
            ids.take(decoded.sessions.number[index]),
            pa.array(np.full(len(index), file, np.int32)),
            pa.array(block.first_row + index),
            pa.array(decoded.at_us[keep]),
            _number_texts(block.columns["value"].take(index)),
            pa.array(self._sources(block, index)),
            pa.array(self._places(block, index)),
            pa.array(decoded.managed[keep].astype(np.int8)),
        ]
        return pa.record_batch(columns, schema=SENT)

    def _sources(self, block: Block, index: Integers) -> Indices:
        code, texts = _combined([block.columns.get(name) for name in NAMES], index)
        measurand_to_context = [self.sources.number(source_of(*names, None)) for names in texts]
        return np.array(measurand_to_context, np.int32)[code]

    def _places(self, block: Block, index: Integers) -> Indices:
        code, texts = _combined([block.columns.get(name) for name in PLACES], index)
        return np.array([self.places.number(Place(*names)) for names in texts], np.int32)[code]


def _bad_names(column: "Column | None") -> Flags | None:
    """Marks names that the API refuses; None where there are none."""
    if column is None:
        return None
    number, texts = words(column)
    bad = [text is not None and _is_bad(text) for text in texts]
    if not any(bad):
        return None
    marked: Flags = np.array([*bad, False])[number]
    return marked


def _is_bad(name: str) -> bool:
    return len(name) > LONGEST_NAME or any(letter < " " for letter in name)


def _number_texts(values: Column) -> pa.StringArray:
    """Returns numbers as texts: texts as they were sent, numbers with as many digits as tell them apart."""
    kind = values.type
    if pa.types.is_floating(kind):
        return plain(values.cast(pa.float64()))
    texts = plain(values)
    if pa.types.is_integer(kind) or pa.types.is_decimal(kind):
        too_long = pc.binary_length(texts).to_numpy() > LONGEST
        if too_long.any():
            rounded = plain(values.cast(pa.float64(), safe=False))
            shorter: pa.StringArray = pc.if_else(pa.array(too_long), rounded, texts)
            return shorter
    return texts


def _combined(
    columns: "Sequence[Column | None]", index: Integers
) -> tuple[Integers, list[tuple[str | None, ...]]]:
    """Returns which distinct combination of texts stands in each of the rows, and the combinations."""
    found = [None if column is None else words(column) for column in columns]
    code = np.zeros(len(index), np.int64)
    for column in found:
        if column is not None:
            mixed = code * (len(column.words) + 1) + column.number[index] + 1
            code = np.unique(mixed, return_inverse=True)[1].astype(np.int64)
    _, first, code = np.unique(code, return_index=True, return_inverse=True)
    rows = index[first].tolist()
    return code, [tuple(None if column is None else _text(column, row) for column in found) for row in rows]


def _text(column: Words, row: int) -> str | None:
    number = column.number[row]
    return None if number < 0 else column.words[number]
