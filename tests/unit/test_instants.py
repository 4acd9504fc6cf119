"""RFC 3339 to microseconds and back."""

from datetime import UTC, datetime, timedelta, timezone

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.domain.instants import EARLIEST_US, LATEST_US, instant_text, parse_instant

_TEN: int = 1_772_186_400_000_000  # 2026-02-27T10:00:00Z


@pytest.mark.parametrize(
    ("text", "at_us"),
    [
        ("1970-01-01T00:00:00Z", 0),
        ("2026-02-27T10:00:00Z", _TEN),
        ("2026-02-27T10:00:00", _TEN),
        ("2026-02-27 10:00:00", _TEN),
        ("2026-02-27 10:00:00Z", _TEN),
        ("2026-02-27t10:00:00z", _TEN),
        ("2026-02-27T12:30:00+02:30", _TEN),
        ("2026-02-27T04:30:00.000-05:30", _TEN),
        ("2026-02-27T10:00:00-00:00", _TEN),
        ("2026-02-28T09:59:00+23:59", _TEN),
        ("2026-02-27T10:00:00.1Z", _TEN + 100_000),
        ("2026-02-27T10:00:00.123456Z", _TEN + 123_456),
        ("2026-02-27T10:00:00.1234569Z", _TEN + 123_456),
        ("2026-02-27T10:00:00.999999999999+00:00", _TEN + 999_999),
        ("2026-02-27T10:00:00." + "0" * 500 + "1Z", _TEN),
        ("1969-12-31T23:59:59.9999999Z", -1),
        ("2024-02-29T00:00:00Z", 1_709_164_800_000_000),
        ("0001-01-01T00:00:00Z", EARLIEST_US),
        ("9999-12-31T23:59:59.999999Z", LATEST_US),
        ("2016-12-31T23:59:60Z", 1_483_228_799_999_999),
        ("2016-12-31T23:59:60.25z", 1_483_228_799_999_999),
        ("2016-12-31T18:29:60.25-05:30", 1_483_228_799_999_999),
    ],
)
def test_instants(text: str, at_us: int) -> None:
    assert parse_instant(text) == at_us


@pytest.mark.parametrize(
    "text",
    [
        "",
        "now",
        "2026-02-27",
        "1772186400",
        "1772186400.5",
        "2026-02-27T10:00",
        "2026-02-27T10Z",
        "20260227T100000Z",
        "2026-02-27T24:00:00Z",
        "2026-02-30T10:00:00Z",
        "2025-02-29T10:00:00Z",
        "2026-13-01T10:00:00Z",
        "2026-02-27T10:60:00Z",
        "2026-02-27T10:00:61Z",
        "2026-02-27T10:00:60Z",
        "2026-00-01T10:00:00Z",
        "2026-02-27T10:00:00+24:00",
        "2026-02-27T10:00:00+0100",
        "2026-02-27T10:00:00+01",
        "2026-02-27T10:00:00 Z",
        "2026-02-27T10:00:00,5Z",
        "2026-02-27T10:00:00.Z",
        " 2026-02-27T10:00:00Z",
        "2026-02-27T10:00:00Z\n",
        "2026-02-27_10:00:00Z",
        "2026-W09-5T10:00:00Z",
        "２０２６-02-27T10:00:00Z",
        "0000-01-01T00:00:00Z",
        "0001-01-01T00:00:00+01:00",
        "9999-12-31T23:59:59-01:00",
        "2026-02-27T10:00:00Zulu",
    ],
)
def test_no_instants(text: str) -> None:
    with pytest.raises(ValueError, match="expected a time as in RFC 3339, like 2026-02-27T10:00:00Z"):
        parse_instant(text)


@pytest.mark.parametrize(
    ("at_us", "text"),
    [
        (0, "1970-01-01T00:00:00Z"),
        (_TEN, "2026-02-27T10:00:00Z"),
        (_TEN + 120_000, "2026-02-27T10:00:00.120000Z"),
        (-1, "1969-12-31T23:59:59.999999Z"),
        (EARLIEST_US, "0001-01-01T00:00:00Z"),
    ],
)
def test_texts(at_us: int, text: str) -> None:
    assert instant_text(at_us) == text


@pytest.mark.parametrize("at_us", [EARLIEST_US - 1, LATEST_US + 1, 2**63])
def test_no_text_outside_the_calendar(at_us: int) -> None:
    with pytest.raises(ValueError, match="years 0001 to 9999"):
        instant_text(at_us)


@given(st.integers(EARLIEST_US, LATEST_US))
def test_there_and_back(at_us: int) -> None:
    assert parse_instant(instant_text(at_us)) == at_us


_FIRST, _LAST = datetime(2, 1, 1), datetime(9998, 1, 1)  # noqa: DTZ001 (hypothesis adds the zone)
_ZONES = st.integers(-1439, 1439).map(lambda minutes: timezone(timedelta(minutes=minutes)))


@given(st.datetimes(_FIRST, _LAST, timezones=_ZONES), st.sampled_from("T t"))
def test_every_offset(moment: datetime, separator: str) -> None:
    since = moment - datetime(1970, 1, 1, tzinfo=UTC)
    assert parse_instant(moment.isoformat(sep=separator)) == since // timedelta(microseconds=1)
