"""Local days: on which day of a time zone an instant lies, and which days are holidays of a country.

A day is a number of days since 1970-01-01. On the days when clocks change it has 23 or 25 hours, and is still one day.
"""

from datetime import UTC, date, datetime, timedelta
from functools import lru_cache
from typing import Final
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

import numpy as np

from chargewatch.shade.arrays import Flags, Floats, Integers

DAY_S: Final = 86_400
_QUARTER_S: Final = 900  # zones change their offset on quarter hours of UTC only
_EPOCH: Final = date(1970, 1, 1)


def zone_of(name: str) -> ZoneInfo:
    """Returns a time zone of the IANA database; UTC for an empty name.

    Raises:
        ValueError: there is no such zone.
    """
    try:
        return ZoneInfo(name or "UTC")
    except (ZoneInfoNotFoundError, ValueError, OSError):
        raise ValueError(f"{name}: no time zone of the IANA database") from None


def local_seconds(utc_s: Floats, zone: ZoneInfo) -> Integers:
    """Returns instants (seconds since 1970, UTC) as seconds of the local clock since its 1970-01-01."""
    seconds = np.floor(utc_s).astype(np.int64)
    quarters, place = np.unique(seconds // _QUARTER_S, return_inverse=True)
    offsets = [_offset_s(int(quarter) * _QUARTER_S, zone) for quarter in quarters]
    local: Integers = seconds + np.array(offsets, np.int64)[place]
    return local


def _offset_s(utc_s: int, zone: ZoneInfo) -> int:
    offset = datetime.fromtimestamp(utc_s, UTC).astimezone(zone).utcoffset()
    assert offset is not None
    return int(offset.total_seconds())


def day_number(day: date) -> int:
    """Returns a date as days since 1970-01-01."""
    return (day - _EPOCH).days


def date_of(day: int) -> date:
    """Returns the date of a day number."""
    return _EPOCH + timedelta(days=day)


def weekday_of(day: int) -> int:
    """Returns 0 for a Monday to 6 for a Sunday."""
    return (day + 3) % 7


@lru_cache(maxsize=512)
def _holidays_in(country: str, year: int) -> frozenset[int]:
    from holidays import country_holidays

    return frozenset(day_number(day) for day in country_holidays(country, years=year))


def holidays_between(country: str, first: int, last: int) -> Flags:
    """Marks the public holidays of a country from one day to another, both included.

    A country that is empty or not known has none; so do its regions, whose own holidays are not looked at.
    """
    marked = np.zeros(last - first + 1, np.bool_)
    if not country:
        return marked
    for year in range(date_of(first).year, date_of(last).year + 1):
        try:
            days = _holidays_in(country.upper(), year)
        except NotImplementedError:
            return marked
        for day in days:
            if first <= day <= last:
                marked[day - first] = True
    return marked
