"""The calls on sessions (API reference, ``/v1/sessions``)."""

from collections.abc import Mapping, Sequence
from typing import Any

import httpx

from chargewatch.client.answers import SessionDetail, SessionPage, SessionState
from chargewatch.client.bodies import MeterValue, ReadingsBody, SessionBody, SessionQuery, Time
from chargewatch.client.calls import Call, conditions, encoded, listing, nothing, reader, repeat_of, segment

_state = reader(SessionState)
_detail = reader(SessionDetail)


def create_session(
    session_id: str,
    charging_station_id: str,
    meter_values: Sequence[MeterValue] | None = None,
    *,
    connector_id: str | int | None = None,
    evse_id: str | int | None = None,
    metadata: Mapping[str, Any] | None = None,
    started_at: Time | None = None,
    ended_at: Time | None = None,
    stop_reason: str | None = None,
    managed: bool | None = None,
    if_match: int | str | None = None,
    idempotency_key: str | None = None,
) -> Call[SessionState]:
    """Creates a session, or changes the one with this id (POST).

    Meter values replace the stored ones; without them (None or empty) the stored ones stay. None leaves an attribute
    as it is; ``metadata`` is replaced as a whole, ``{}`` clears it.

    A repeat after a lost answer replaces the readings once more: where several writers push to one session, give an
    ``idempotency_key``, with which a repeat never has a second effect. With ``if_match`` alone a call whose answer
    was lost is not repeated (`ConnectionFailed`).

    Args:
        session_id: your own id.
        charging_station_id: your own id of the station; it is created with its first session.
        meter_values: the readings, in any order.
        connector_id: the connector of the station, or of the EVSE.
        evse_id: the EVSE of the station.
        metadata: any JSON object, at most 16 KiB and 8 levels deep.
        started_at: when the session began.
        ended_at: when it ended; it is over then.
        stop_reason: why it ended, as OCPP has it.
        managed: whether pauses and limits are the operator's own.
        if_match: change the session only when it is at this version, else `PreconditionFailed`.
        idempotency_key: the same text for every attempt at this one change.

    Raises:
        CallFailed: one of its subclasses says what went wrong.
    """
    body = SessionBody(
        session_id=session_id,
        charging_station_id=charging_station_id,
        meter_values=meter_values,
        connector_id=connector_id,
        evse_id=evse_id,
        metadata=metadata,
        started_at=started_at,
        ended_at=ended_at,
        stop_reason=stop_reason,
        managed=managed,
    )
    headers = conditions(if_match=if_match, idempotency_key=idempotency_key)
    return Call(
        method="POST",
        path="/v1/sessions",
        read=_state,
        body=encoded(body),
        headers=headers,
        repeat=repeat_of(headers),
    )


def replace_session(
    session_id: str,
    meter_values: Sequence[MeterValue],
    *,
    metadata: Mapping[str, Any] | None = None,
    started_at: Time | None = None,
    ended_at: Time | None = None,
    stop_reason: str | None = None,
    managed: bool | None = None,
    if_match: int | str | None = None,
    idempotency_key: str | None = None,
) -> Call[SessionState]:
    """Replaces all readings of a session, at least one (PUT). Arguments and repeats as `create_session`."""
    body = ReadingsBody(
        meter_values=meter_values,
        metadata=metadata,
        started_at=started_at,
        ended_at=ended_at,
        stop_reason=stop_reason,
        managed=managed,
    )
    headers = conditions(if_match=if_match, idempotency_key=idempotency_key)
    return _change("PUT", session_id, body, headers)


def update_session(
    session_id: str,
    meter_values: Sequence[MeterValue] = (),
    *,
    metadata: Mapping[str, Any] | None = None,
    started_at: Time | None = None,
    ended_at: Time | None = None,
    stop_reason: str | None = None,
    managed: bool | None = None,
    if_match: int | str | None = None,
    idempotency_key: str | None = None,
) -> Call[SessionState]:
    """Adds readings to a session, in any order (PATCH). Arguments as `create_session`.

    Without readings and attributes it returns the current state. A repeat after a lost answer has no second effect,
    because the same reading again changes nothing; with ``if_match`` and no ``idempotency_key`` it is not made.
    """
    body = ReadingsBody(
        meter_values=meter_values,
        metadata=metadata,
        started_at=started_at,
        ended_at=ended_at,
        stop_reason=stop_reason,
        managed=managed,
    )
    headers = conditions(if_match=if_match, idempotency_key=idempotency_key)
    return _change("PATCH", session_id, body, headers)


def _change(
    method: str, session_id: str, body: ReadingsBody, headers: Mapping[str, str]
) -> Call[SessionState]:
    return Call(
        method=method,
        path=_path(session_id),
        read=_state,
        body=encoded(body),
        headers=headers,
        repeat=repeat_of(headers),
    )


def get_session(session_id: str, *, raw: bool = False) -> Call[SessionDetail]:
    """Returns a session with its verdict and its readings in order of time.

    Args:
        session_id: your own id, or the internal one of the list.
        raw: adds each value's text as sent (``raw_value``).
    """
    return Call(method="GET", path=_path(session_id), read=_detail, parameters=_raw(raw))


def get_session_if_changed(
    session_id: str, if_none_match: int | str, *, raw: bool = False
) -> Call[SessionDetail | None]:
    """Returns a session as `get_session` does, or None while it is still at the version ``if_none_match``."""

    def read(response: httpx.Response) -> SessionDetail | None:
        return None if response.status_code == httpx.codes.NOT_MODIFIED else _detail(response)

    return Call(
        method="GET",
        path=_path(session_id),
        read=read,
        parameters=_raw(raw),
        headers=conditions(if_none_match=if_none_match),
    )


def delete_session(session_id: str, *, if_match: int | str | None = None) -> Call[None]:
    """Erases a session with its readings and verdicts; there is no way back.

    When an answer was lost and the repeat finds nothing, the session is taken to be erased.
    """
    headers = conditions(if_match=if_match)
    return Call(
        method="DELETE",
        path=_path(session_id),
        read=nothing,
        headers=headers,
        repeat=repeat_of(headers),
        gone_is_done=True,
    )


list_sessions = listing("/v1/sessions", SessionQuery, SessionPage)


def _path(session_id: str) -> str:
    return f"/v1/sessions/{segment('session_id', session_id)}"


def _raw(raw: bool) -> Mapping[str, str]:
    return {"raw": "true"} if raw else {}
