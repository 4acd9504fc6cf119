"""API keys as text: how one is made, what it may do, and which ones are wrong without asking the database.

A key is ``cw_`` + 30 base62 characters (178 bits of chance) + 6 base62 characters of their CRC-32. The
checksum lets a mistyped or made-up key be refused without a query, and secret scanners recognise a real
one. Only its SHA-256 is stored: a digest without salt or stretching is enough for 178 random bits.
"""

import hashlib
import re
import secrets
import zlib
from enum import StrEnum
from typing import Final

PREFIX: Final = "cw_"
ALPHABET: Final = "0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz"
RANDOM_LENGTH: Final = 30
CHECKSUM_LENGTH: Final = 6
#: Longer texts are no keys; also what an operator's own (bootstrap) key is held to.
LONGEST: Final = 128

_OWN_KEY: Final = re.compile(rf"[A-Za-z0-9_-]{{32,{LONGEST}}}", re.ASCII)
_BODY: Final = re.compile(rf"[0-9A-Za-z]{{{RANDOM_LENGTH + CHECKSUM_LENGTH}}}", re.ASCII)


class Scope(StrEnum):
    """What a key may do. Each is granted by itself; none includes another."""

    READ = "read"
    WRITE = "write"
    MODELS = "models"
    ADMIN = "admin"


DEFAULT_SCOPES: Final = frozenset({Scope.READ, Scope.WRITE, Scope.MODELS})


def new_key() -> str:
    """A fresh key of this product."""
    body = "".join(secrets.choice(ALPHABET) for _ in range(RANDOM_LENGTH))
    return PREFIX + body + checksum(body)


def checksum(body: str) -> str:
    """The CRC-32 of a key's random characters, as six base62 digits."""
    rest = zlib.crc32(body.encode("ascii"))
    digits = []
    for _ in range(CHECKSUM_LENGTH):
        rest, digit = divmod(rest, len(ALPHABET))
        digits.append(ALPHABET[digit])
    return "".join(reversed(digits))


def is_plausible(key: str) -> bool:
    """Whether this could be a key at all; what is not is refused without a query.

    >>> is_plausible("cw_" + "x" * 30 + "000000")
    False
    """
    if not key.startswith(PREFIX):
        return _OWN_KEY.fullmatch(key) is not None
    body = key.removeprefix(PREFIX)
    return _BODY.fullmatch(body) is not None and checksum(body[:RANDOM_LENGTH]) == body[RANDOM_LENGTH:]


def key_hash(key: str) -> bytes:
    """What is stored and looked up instead of the key (32 bytes)."""
    return hashlib.sha256(key.encode("utf-8", "surrogatepass")).digest()


def key_hint(key: str) -> str:
    """Enough of the key for its owner to tell two apart, too little to be of use to anyone else."""
    return key[: len(PREFIX) + 4] + "…"


def parse_scopes(words: tuple[str, ...] | list[str]) -> frozenset[Scope]:
    """The scopes that these words name; none means the default ones.

    Raises:
        ValueError: a word is no scope; the message lists the scopes.
    """
    try:
        return frozenset(Scope(word) for word in words) or DEFAULT_SCOPES
    except ValueError:
        unknown = next(word for word in words if word not in set(Scope))
        raise ValueError(f"unknown scope {unknown!r}; there are {', '.join(Scope)}") from None
