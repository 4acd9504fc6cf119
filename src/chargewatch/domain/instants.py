"""Instants: RFC 3339 text to microseconds since 1970-01-01T00:00:00Z and back.

A text without an offset is UTC (contract, section 1). Fractions are cut after the microsecond. A leap second
(``23:59:60`` UTC) becomes the last microsecond of its minute, so that the order of readings is kept.
"""

import re
from datetime import UTC, datetime, timedelta
from typing import Final

MICROSECONDS: Final = 1_000_000
#: 0001-01-01T00:00:00Z and 9999-12-31T23:59:59.999999Z, the first and the last instant with a text.
EARLIEST_US: Final = -62_135_596_800_000_000
LATEST_US: Final = 253_402_300_799_999_999

#: What an error says about the texts that are instants.
EXPECTED: Final = "expected a time as in RFC 3339, like 2026-02-27T10:00:00Z"

_EPOCH: Final = datetime(1970, 1, 1, tzinfo=UTC)
_EPOCH_DAY: Final = _EPOCH.toordinal()
_MINUTE_US: Final = 60 * MICROSECONDS
_DAY_US: Final = 24 * 60 * _MINUTE_US
_US_BEFORE_MIDNIGHT: Final = _DAY_US - 1

_RFC3339: Final = re.compile(
    r"[0-9]{4}-[0-9]{2}-[0-9]{2}[Tt ]"
    r"([01][0-9]|2[0-3]):[0-5][0-9]:([0-5][0-9]|60)(?:\.[0-9]+)?"
    r"([Zz]|[+-](?:[01][0-9]|2[0-3]):[0-5][0-9])?"
)


def parse_instant(text: str) -> int:
    """Returns the microseconds since 1970 that ``text`` names.

    Raises:
        ValueError: ``text`` is no instant: no time of day, a number, 24:00, a day that does not exist.
    """
    match = _RFC3339.fullmatch(text)
    if match is None:
        raise ValueError(EXPECTED)
    leap = match[2] == "60"
    try:
        moment = datetime.fromisoformat(_with_second_59(text) if leap else text.upper())
    except ValueError:
        raise ValueError(f"{EXPECTED}; there is no such day") from None
    at_us = _since_1970(moment)
    if leap:
        at_us = _clamped(at_us)
    if not EARLIEST_US <= at_us <= LATEST_US:
        raise ValueError(f"{EXPECTED}, in the years 0001 to 9999")
    return at_us


def _since_1970(moment: datetime) -> int:
    days = moment.toordinal() - _EPOCH_DAY
    seconds = days * 86400 + moment.hour * 3600 + moment.minute * 60 + moment.second
    offset = moment.utcoffset() if moment.tzinfo is not None and moment.tzinfo is not UTC else None
    if offset:
        seconds -= offset.days * 86400 + offset.seconds
    return seconds * MICROSECONDS + moment.microsecond


def _with_second_59(text: str) -> str:
    """Returns the text of the second before a leap second, without its fraction."""
    zone = re.search(r"[Zz]$|[+-][0-9:]+$", text[19:])
    return f"{text[:17]}59{zone[0].upper() if zone else ''}"


def _clamped(at_us: int) -> int:
    """Returns the last microsecond of the day whose last whole second ``at_us`` is.

    Leap seconds stand at the end of a UTC day (ITU-R TF.460); any other second 60 is a mistake.
    """
    last_us = at_us + MICROSECONDS - 1
    if last_us % _DAY_US != _US_BEFORE_MIDNIGHT:
        raise ValueError(f"{EXPECTED}; a second 60 can only follow 23:59:59 UTC")
    return last_us


def instant_text(at_us: int) -> str:
    """Returns an instant as RFC 3339 in UTC, with a fraction of six digits where it is not a whole second.

    Raises:
        ValueError: outside the years 0001 to 9999.
    """
    if not EARLIEST_US <= at_us <= LATEST_US:
        raise ValueError("no instant in the years 0001 to 9999")
    moment = _EPOCH + timedelta(microseconds=at_us)
    return moment.replace(tzinfo=None).isoformat() + "Z"
