"""The one form in which files of every format hand over their rows: blocks of Arrow columns."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any, Final, NamedTuple, Protocol, TypeAlias

import pyarrow as pa

Column: TypeAlias = "pa.Array[Any]"

REQUIRED: Final = ("session_id", "timestamp", "value")
#: The columns that say what a reading is a reading of.
NAMES: Final = ("measurand", "unit", "phase", "location", "context")
#: The columns that declare something about the session.
DECLARED: Final = ("rated_power_kw", "managed")
#: The columns that say where the session takes place; they change no verdict.
PLACES: Final = ("station_id", "evse_id", "connector_id")
#: The columns that are looked at for a verdict.
READ: Final = REQUIRED + NAMES + DECLARED
#: The columns that are looked at for storing sessions; the power of a station is no part of them.
STORED: Final = (*REQUIRED, *NAMES, "managed", *PLACES)
KNOWN: Final = frozenset((*READ, *PLACES))


class TableError(Exception):
    """A file or folder cannot be read as readings; the text is one line for whoever named it."""


class MissingColumns(TableError):
    """A file lacks columns that readings need: it is a table of something else."""


class BadRow(NamedTuple):
    """A row that was left out: ``row`` counts data rows from 1, ``line`` the lines of a text file."""

    file: str
    row: int
    line: int | None
    reason: str


class Block(NamedTuple):
    """N consecutive data rows of a file; the first is data row ``first_row`` (from 1).

    ``columns`` holds those of the wanted columns that the file has, N values each. ``faults`` says what is
    wrong with rows that have no readable shape; their values are null. ``line_of`` returns the line of the
    i-th row of the block in a text file.
    """

    first_row: int
    rows: int
    columns: Mapping[str, Column]
    faults: Mapping[int, str]
    line_of: Callable[[int], int | None]


class TableFile(Protocol):
    """A file of readings."""

    @property
    def name(self) -> str:
        """What the file is called in messages."""

    @property
    def columns(self) -> Sequence[str]:
        """The names of its columns, as far as they can be known before all rows are read."""

    def blocks(self, wanted: Sequence[str]) -> Iterator[Block]:
        """Yields the file's rows in order, in blocks that fit into memory, with the wanted columns.

        Raises:
            TableError: the file is damaged.
        """


def no_line(_: int) -> None:
    """Returns the line of a row in a file that has no lines."""


def check_required(name: str, columns: Sequence[str]) -> None:
    """Checks that a file has the columns that readings need.

    Raises:
        MissingColumns: it has not.
    """
    missing = [column for column in REQUIRED if column not in columns]
    if missing:
        found = ", ".join(columns) if columns else "none"
        raise MissingColumns(f"{name}: no column {', '.join(missing)} (columns found: {found})")


def check_columns(name: str, columns: Sequence[str], read: Sequence[str]) -> None:
    """Checks that a file has the columns that readings need, and each of those to be ``read`` once.

    Raises:
        TableError: it has not.
    """
    check_required(name, columns)
    twice = [column for column in read if list(columns).count(column) > 1]
    if twice:
        raise TableError(f"{name}: more than one column {', '.join(twice)}")
