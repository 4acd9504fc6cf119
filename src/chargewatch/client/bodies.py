"""What a call sends: readings and attributes as structs, without what was not given.

Times are aware datetimes, or text, which goes out as it is. A datetime without a time zone is refused here: it
would be read as UTC, which is seldom what its maker meant.
"""

import math
from collections.abc import Mapping, Sequence
from datetime import date, datetime
from decimal import Decimal
from typing import TYPE_CHECKING, Any, Final

import msgspec

if TYPE_CHECKING:
    Time = datetime | str
    Day = date | datetime | str
    Number = int | float | Decimal | str
else:  # several types with a text in JSON, which only a decoder could not tell apart
    Time = Day = Number = Any

_LARGEST_INTEGER: Final = 2**63 - 1


class MeterValue(msgspec.Struct, frozen=True, omit_defaults=True):
    """One reading, in the words of OCPP.

    Without ``measurand`` it is ``Energy.Active.Import.Register``, without ``unit`` in that measurand's OCPP unit
    (Wh for energy). The digits of a `Decimal` or a text go out and come back as they are; those of a float are the
    shortest that name it.

    Raises:
        ValueError: a time without a zone, or a value that is no number.

    >>> msgspec.json.encode(MeterValue("2026-02-27T10:00:00Z", Decimal("11.10"), unit="kWh"))
    b'{"timestamp":"2026-02-27T10:00:00Z","value":"11.10","unit":"kWh"}'
    """

    timestamp: Time
    value: Number
    measurand: str | None = None
    unit: str | None = None
    phase: str | None = None
    location: str | None = None
    context: str | None = None
    format: str | None = None

    def __post_init__(self) -> None:
        """Refuses what would arrive as something else."""
        with_zone("timestamp", self.timestamp)
        plain = _plain(self.value)
        if plain is not self.value:
            msgspec.structs.force_setattr(self, "value", plain)


def _plain(value: Number) -> Number:
    """Returns a value as one that JSON spells without loss."""
    if isinstance(value, str):
        return value
    if isinstance(value, bool) or not isinstance(value, int | float | Decimal) or not math.isfinite(value):
        raise ValueError(f"value must be a finite number, or a number as text, not {value!r}")
    if isinstance(value, int):
        return value if abs(value) <= _LARGEST_INTEGER else str(value)
    return value if type(value) is float or isinstance(value, Decimal) else float(value)


def with_zone(name: str, moment: Day | None) -> None:
    """Refuses a datetime without a time zone.

    Raises:
        ValueError: it has none.
    """
    if isinstance(moment, datetime) and moment.utcoffset() is None:
        raise ValueError(
            f"{name} needs a time zone, as in datetime.now(UTC): without one it would be read as UTC"
        )


class Attributes(msgspec.Struct, frozen=True, kw_only=True, omit_defaults=True):
    """What a call may say of a session beside its readings; None leaves it as it is."""

    metadata: Mapping[str, Any] | None = None
    started_at: Time | None = None
    ended_at: Time | None = None
    stop_reason: str | None = None
    managed: bool | None = None

    def __post_init__(self) -> None:
        """Refuses times without a zone."""
        with_zone("started_at", self.started_at)
        with_zone("ended_at", self.ended_at)


class SessionBody(Attributes, frozen=True, kw_only=True, omit_defaults=True):
    """Body of `create_session`, and one session of `submit_batch`; arguments as there."""

    session_id: str
    charging_station_id: str
    evse_id: str | int | None = None
    connector_id: str | int | None = None
    meter_values: Sequence[MeterValue] | None = None


class BatchBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `submit_batch`."""

    sessions: Sequence[SessionBody]


class ReadingsBody(Attributes, frozen=True, kw_only=True, omit_defaults=True):
    """Body of `replace_session` and `update_session`."""

    meter_values: Sequence[MeterValue]


class ThresholdsBody(msgspec.Struct, frozen=True, kw_only=True):
    """Body of `change_thresholds`; None sets a limit's default again."""

    thresholds: Mapping[str, float | None]


class SessionQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which sessions `list_sessions` returns: analysed ones, newest first, unless ``status`` says otherwise.

    ``date_from`` is inclusive, ``date_to`` exclusive; a date means the begin of its UTC day. Either ``page`` or
    ``cursor``, the ``next_cursor`` of the page before.
    """

    page: int | None = None
    page_size: int | None = None
    cursor: str | None = None
    charging_station_id: str | None = None
    evse_id: str | None = None
    connector_id: str | None = None
    is_anomaly: bool | None = None
    was_anomalous: bool | None = None
    category: str | None = None
    min_score: float | None = None
    min_confidence: float | None = None
    date_from: Day | None = None
    date_to: Day | None = None
    status: str | None = None


class StationQuery(msgspec.Struct, frozen=True, kw_only=True):
    """Which page of the stations `list_stations` returns; from 1, of 1 to 100 (20 without a word)."""

    page: int | None = None
    page_size: int | None = None


def parameters(query: msgspec.Struct) -> dict[str, str]:
    """Returns a query's fields that were given, as text.

    Raises:
        ValueError: a time without a zone.
    """
    given = {name: getattr(query, name) for name in query.__struct_fields__}
    return {name: _parameter(name, value) for name, value in given.items() if value is not None}


def _parameter(name: str, value: object) -> str:
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, date):
        with_zone(name, value)
        return value.isoformat()
    return str(value)
