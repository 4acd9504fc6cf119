"""Numbers as text, as OCPP 1.6 sends the value of a reading: digits with a decimal point, ASCII only."""

import math
import re
from typing import Final

#: Longest number that is taken; float64 has 17 significant digits.
LONGEST: Final = 64
#: The grammar of a number, for engines of regular expressions other than Python's, too.
GRAMMAR: Final = r"[+-]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)(?:[eE][+-]?[0-9]+)?"
#: What an error says about the texts that are numbers.
EXPECTED: Final = "expected a number with a decimal point, like 11.1"

_DECIMAL: Final = re.compile(GRAMMAR)


def parse_decimal(text: str) -> float:
    """Returns the number that ``text`` is.

    Raises:
        ValueError: not a number, longer than 64 characters, or beyond float64.
    """
    if len(text) > LONGEST or _DECIMAL.fullmatch(text) is None:
        raise ValueError(EXPECTED)
    value = float(text)
    if not math.isfinite(value):
        raise ValueError(f"{EXPECTED}; the number is too large")
    return value


def json_number(text: str) -> str:
    """Returns the same number as JSON spells it (RFC 8259, section 6), with the digits that were sent.

    Raises:
        ValueError: as ``parse_decimal``.

    >>> json_number("+.50")
    '0.50'
    """
    parse_decimal(text)
    mantissa, _, exponent = text.lstrip("+-").lower().partition("e")
    whole, _, fraction = mantissa.partition(".")
    number = f"{whole.lstrip('0') or '0'}.{fraction}".rstrip(".")
    sign = "-" if text[0] == "-" else ""
    return f"{sign}{number}e{exponent}" if exponent else f"{sign}{number}"
