"""The calls in the words of OCPP and OCPI: frames and Session objects go out as a backend has them."""

from collections.abc import Mapping, Sequence
from typing import Any

import msgspec

from chargewatch.client.calls import Call, encoded, reader, segment
from chargewatch.client.native_answers import OcpiSessionFound, OcpiSessionStored, OcppAnswer

#: One OCPP-J message: a list, an object of a log, or its text as received, whose digits are kept.
Frame = Sequence[Any] | Mapping[str, Any] | str | bytes

_ocpp = reader(OcppAnswer)
_stored = reader(OcpiSessionStored)
_found = reader(OcpiSessionFound)


def push_ocpp(
    charging_station_id: str, messages: Sequence[Frame], *, protocol: str | None = None
) -> Call[OcppAnswer]:
    """Stores what OCPP frames of a station say. Sending them again changes nothing.

    A frame that cannot be read does not refuse its neighbours; the answer says what became of each.

    Args:
        charging_station_id: your own id of the station, or the internal one.
        messages: frames of both directions, in order of arrival, 1 to 10,000; text goes out as it was received.
        protocol: ``ocpp1.6``, ``ocpp2.0.1`` or ``ocpp2.1``; found from each message when not given.
    """
    body = {"messages": [_frame(message) for message in messages]} | (
        {} if protocol is None else {"protocol": protocol}
    )
    station = segment("charging_station_id", charging_station_id)
    return Call(method="POST", path=f"/v1/ocpp/{station}", read=_ocpp, body=encoded(body))


def _frame(message: Frame) -> object:
    """Returns a frame as it is to be encoded; a text that is no JSON as text, for the service to refuse it alone."""
    if not isinstance(message, str | bytes):
        return message
    text = message.decode(errors="replace") if isinstance(message, bytes) else message
    try:
        return msgspec.json.decode(text, type=msgspec.Raw)
    except msgspec.DecodeError:
        return text


def put_ocpi_session(
    country_code: str,
    party_id: str,
    session_id: str,
    session: Mapping[str, Any],
    *,
    correlation_id: str | None = None,
) -> Call[OcpiSessionStored]:
    """Stores a Session object of OCPI 2.2.1 and judges the session ``COUNTRY*PARTY*id``.

    Args:
        country_code: the CPO's country, two letters.
        party_id: the CPO's id, three letters or digits.
        session_id: the id of the Session object.
        session: the object, in OCPI's names; Decimals keep their digits.
        correlation_id: ``X-Correlation-ID``.
    """
    return _store("PUT", (country_code, party_id, session_id), session, correlation_id)


def patch_ocpi_session(
    country_code: str,
    party_id: str,
    session_id: str,
    session: Mapping[str, Any],
    *,
    correlation_id: str | None = None,
) -> Call[OcpiSessionStored]:
    """Stores the fields of a Session object that changed. Arguments as `put_ocpi_session`."""
    return _store("PATCH", (country_code, party_id, session_id), session, correlation_id)


def get_ocpi_session(
    country_code: str, party_id: str, session_id: str, *, correlation_id: str | None = None
) -> Call[OcpiSessionFound]:
    """Returns a Session object with what is kept of it."""
    return Call(
        method="GET",
        path=_path(country_code, party_id, session_id),
        read=_found,
        headers=_correlation(correlation_id),
        authorization="Token",
    )


def _store(
    method: str, names: tuple[str, str, str], session: Mapping[str, Any], correlation_id: str | None
) -> Call[OcpiSessionStored]:
    return Call(
        method=method,
        path=_path(*names),
        read=_stored,
        body=encoded(session),
        headers=_correlation(correlation_id),
        authorization="Token",
    )


def _path(country_code: str, party_id: str, session_id: str) -> str:
    names = {"country_code": country_code, "party_id": party_id, "session_id": session_id}
    return "/ocpi/2.2.1/sessions/" + "/".join(segment(name, text) for name, text in names.items())


def _correlation(correlation_id: str | None) -> Mapping[str, str]:
    return {} if correlation_id is None else {"X-Correlation-ID": correlation_id}
