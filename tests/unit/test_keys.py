"""The text of an API key (S1): what one looks like, and what is refused without asking the database."""

import hashlib
import re
import zlib

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.server.tenants.keys import (
    ALPHABET,
    DEFAULT_SCOPES,
    LONGEST,
    Scope,
    checksum,
    is_plausible,
    key_hash,
    key_hint,
    new_key,
    parse_scopes,
)

BODY = "4fjKzkB9ZrUqoTcFxXN3mPCh1J2dVe"
KEY = "cw_" + BODY + "09iFvt"


def slow_checksum(body: str) -> str:
    """The same by another way: the number's digits, most significant first."""
    number = zlib.crc32(body.encode())
    return "".join(ALPHABET[number // 62**place % 62] for place in range(5, -1, -1))


def test_a_new_key_is_prefix_chance_and_checksum() -> None:
    key = new_key()
    assert re.fullmatch(r"cw_[0-9A-Za-z]{30}[0-9A-Za-z]{6}", key)
    assert key[-6:] == checksum(key[3:33])
    assert is_plausible(key)
    assert len({new_key() for _ in range(100)}) == 100


@given(st.text(ALPHABET, min_size=30, max_size=30))
def test_the_checksum_is_the_crc_in_base_62(body: str) -> None:
    assert checksum(body) == slow_checksum(body)
    assert is_plausible("cw_" + body + slow_checksum(body))


def test_the_format_is_frozen() -> None:
    """Keys that are out there must stay keys."""
    assert checksum(BODY) == KEY[-6:]
    assert is_plausible(KEY)


@given(st.integers(0, 38), st.sampled_from(ALPHABET))
def test_every_single_typing_error_is_found(place: int, character: str) -> None:
    """But one in the prefix, which makes it look like an operator's own key."""
    mistyped = KEY[:place] + character + KEY[place + 1 :]
    assert is_plausible(mistyped) == (mistyped == KEY or not mistyped.startswith("cw_"))


@pytest.mark.parametrize("text", ["", "cw_", KEY[:-1], KEY + "0", KEY + "\n", " " + KEY, "cw_" + "0" * 36])
def test_near_misses_are_refused(text: str) -> None:
    assert not is_plausible(text)


def test_an_operators_own_key_needs_length_and_url_safe_characters() -> None:
    assert is_plausible("A-z_9" * 7)
    assert is_plausible("x" * 32)
    assert is_plausible("x" * LONGEST)
    for wrong in (
        "x" * 31,
        "x" * (LONGEST + 1),
        "x" * 31 + " ",
        "x" * 31 + "=",
        "ü" * 40,
        "x" * 40 + "\n",
        "٣" * 40,
    ):
        assert not is_plausible(wrong)


@given(st.text())
def test_any_text_has_an_answer_and_a_hash(text: str) -> None:
    is_plausible(text)
    assert len(key_hash(text)) == 32


def test_hash_and_hint() -> None:
    assert key_hash(KEY) == hashlib.sha256(KEY.encode()).digest()
    assert key_hint(KEY) == "cw_4fjK…"


def test_scopes() -> None:
    assert parse_scopes([]) == DEFAULT_SCOPES == {"read", "write", "models"}
    assert parse_scopes(["admin", "read", "read"]) == {Scope.ADMIN, Scope.READ}
    with pytest.raises(ValueError, match="unknown scope 'raed'; there are read, write, models, admin"):
        parse_scopes(["read", "raed"])
