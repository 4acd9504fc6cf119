"""External identifiers: what a client calls its sessions, stations and connectors."""

import unicodedata
from typing import Final

LONGEST_ID: Final = 255
#: The grammar of an id, for readers of other languages (ECMA-262, JSON Schema); the length is not in it.
GRAMMAR: Final = r"(?!\.{1,2}$)[^\s/\x00-\x1f\x7f-\x9f](?:[^/\x00-\x1f\x7f-\x9f]*[^\s/\x00-\x1f\x7f-\x9f])?"
RESERVED_SESSION_IDS: Final = frozenset({"batch"})


def external_id(text: str) -> str:
    """Returns ``text`` in Unicode normal form C.

    Raises:
        ValueError: not 1–255 characters, or control characters, ``/``, ``.``, ``..`` or outer spaces in it.
    """
    normal = unicodedata.normalize("NFC", text)
    if not normal or len(normal) > LONGEST_ID:
        raise ValueError(f"must have 1 to {LONGEST_ID} characters")
    if normal in {".", ".."} or "/" in normal:
        raise ValueError('must not be "." or ".." and must not contain "/"')
    if normal != normal.strip():
        raise ValueError("must not begin or end with a space")
    if not (normal.isascii() and normal.isprintable()) and any(
        unicodedata.category(c) in {"Cc", "Cs"} for c in normal
    ):
        raise ValueError("must not contain control characters")
    return normal


def session_external_id(text: str) -> str:
    """Returns a session's id in normal form; also refuses the reserved ones.

    Raises:
        ValueError: as ``external_id``, or the id is reserved.
    """
    normal = external_id(text)
    if normal in RESERVED_SESSION_IDS:
        raise ValueError(f'"{normal}" is reserved')
    return normal
