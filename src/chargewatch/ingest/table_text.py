"""What CSV and NDJSON files share: opening, gzip, and cutting into pieces at ends of lines."""

import gzip
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, Final, NamedTuple, cast

from chargewatch.ingest.table_blocks import TableError

_PIECE: Final = 4 << 20
_LONGEST: Final = 64 << 20
_BOM: Final = b"\xef\xbb\xbf"


class Piece(NamedTuple):
    """Whole lines of a file; the first is line ``first_line`` (from 1)."""

    data: bytes
    first_line: int


def _open(path: Path) -> BinaryIO:
    return cast("BinaryIO", gzip.open(path)) if path.suffix.lower() == ".gz" else path.open("rb")


def pieces(path: Path, name: str, *, quoted: bool) -> Iterator[Piece]:
    """Yields a text file in pieces of whole lines, without its byte-order mark.

    With ``quoted`` no piece ends within double quotes, as far as the quotes of the file match.

    Raises:
        TableError: damaged gzip data, or a line without end.
    """
    rest = b""
    line = 1
    try:
        with _open(path) as file:
            while chunk := file.read(_PIECE):
                data = rest + chunk if rest else chunk
                if line == 1 and not rest:
                    data = data.removeprefix(_BOM)
                end = _end(data, quoted)
                if end == 0 and len(data) > _LONGEST:
                    raise TableError(f"{name}: line {line} is longer than {_LONGEST >> 20} MiB")
                if end:
                    yield Piece(data[:end], line)
                    line += data.count(b"\n", 0, end)
                rest = data[end:]
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise TableError(f"{name}: damaged gzip data in line {line} or later ({error})") from None
    if rest:
        yield Piece(rest, line)


def _end(data: bytes, quoted: bool) -> int:
    """Returns where the last whole line ends, 0 where none does."""
    last = data.rfind(b"\n") + 1
    if not quoted or data.count(b'"', 0, last) % 2 == 0:
        return last
    odd = True
    end = last
    while odd and end > 0:  # back to a line break outside quotes
        before = data.rfind(b"\n", 0, end - 1) + 1
        odd ^= data.count(b'"', before, end) % 2 == 1
        end = before
    return end if not odd and end > 0 else last
