"""Files of foreign systems as numbered records: JSON lines, a JSON array, an envelope around one, or lines of text."""

import gzip
import io
from collections.abc import Iterator
from pathlib import Path
from typing import IO, Final

import msgspec

_BYTE_ORDER_MARK: Final = b"\xef\xbb\xbf"
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_PROBED: Final = 64 * 1024


def records(path: Path, envelope: str | None = None) -> Iterator[tuple[int, bytes]]:
    """Yields the records of a file with their numbers from 1: lines, or the items of a JSON array.

    Args:
        path: the file; ``.gz`` is unpacked.
        envelope: the field of one object around everything in which the array stands, such as OCPI's ``data``.

    Raises:
        OSError: the file cannot be read.
    """
    with _open(path) as file:
        whole = _whole(file, envelope)
    if whole is not None:
        yield from enumerate(whole, 1)
        return
    with _open(path) as file:
        for number, line in enumerate(file, 1):
            text = (line.removeprefix(_BYTE_ORDER_MARK) if number == 1 else line).strip()
            if text:
                yield number, text


def _open(path: Path) -> IO[bytes]:
    if path.suffix == ".gz":
        return io.BufferedReader(gzip.open(path, "rb"))
    return path.open("rb")


def _whole(file: IO[bytes], envelope: str | None) -> list[bytes] | None:
    """Returns the items of a file that is one JSON document; None where it is lines."""
    head = file.read(_PROBED).removeprefix(_BYTE_ORDER_MARK).lstrip()
    if head[:1] not in (b"[", b"{") or _is_line_of_json(head):
        line_is_all = b"\n" not in head.strip() and len(head) < _PROBED
        if not (line_is_all and head[:1] in (b"[", b"{")):
            return None
    try:
        return _items(head + file.read(), envelope)
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return None


def _is_line_of_json(head: bytes) -> bool:
    """Tells whether the first line is a JSON document of its own."""
    try:
        msgspec.json.decode(head.split(b"\n", 1)[0])
    except (msgspec.MsgspecError, UnicodeDecodeError, RecursionError):
        return False
    return True


def _items(text: bytes, envelope: str | None) -> list[bytes] | None:
    """Returns the items of an array of records; one record alone is a list of one."""
    if text[:1] == b"{":
        fields = _OBJECT.decode(text)
        inner = None if envelope is None else fields.get(envelope)
        if inner is None:
            return [text]
        return [bytes(inner)] if bytes(inner)[:1] == b"{" else [bytes(item) for item in _LIST.decode(inner)]
    items = [bytes(item) for item in _LIST.decode(text)]
    return items if all(item[:1] in (b"[", b"{", b'"') for item in items) else [text]
