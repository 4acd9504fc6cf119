"""OCPP-J frames (OCPP 1.6 J section 4, OCPP 2.0.1 part 4 section 4), also as backends' logs write them.

A frame is ``[2, id, action, payload]`` (CALL), ``[3, id, payload]`` (CALLRESULT), ``[4, id, code, text, details]``
(CALLERROR) or OCPP 2.1's ``[6, id, action, payload]`` (SEND). Logs also have it as an object with ``action`` and
``payload``, or inside another object (``message``, ``frame``, …), or as text in such a field.
"""

from typing import Any, Final, NamedTuple

import msgspec

from chargewatch.ingest import ocpp16, ocpp201
from chargewatch.ingest.foreign_json import Place, Unreadable, decode
from chargewatch.ingest.transaction_messages import Message, NothingReported, StartFailed

CALL: Final = 2
CALLRESULT: Final = 3
CALLERROR: Final = 4
SEND: Final = 6
_KINDS: Final = {
    "2": CALL,
    "call": CALL,
    "request": CALL,
    "3": CALLRESULT,
    "callresult": CALLRESULT,
    "response": CALLRESULT,
    "result": CALLRESULT,
    "4": CALLERROR,
    "callerror": CALLERROR,
    "error": CALLERROR,
    "6": SEND,
    "send": SEND,
}
#: What an envelope's fields are called, compared in lower case without ``_`` and ``-``.
_FRAME_NAMES: Final = (
    "frame",
    "message",
    "msg",
    "ocppmessage",
    "ocpp",
    "raw",
    "rawmessage",
    "body",
    "data",
    "payload",
)
_ID_NAMES: Final = ("messageid", "uniqueid", "msgid", "id")
_KIND_NAMES: Final = ("messagetypeid", "messagetype", "type")
_DEEPEST: Final = 3
_NAMED_IN: Final = {CALL: 4, CALLRESULT: 3, CALLERROR: 3, SEND: 4}

PROTOCOLS: Final = ("ocpp1.6", "ocpp2.0.1", "ocpp2.1")
Object = dict[str, msgspec.Raw]


class Frame(NamedTuple):
    """One frame; ``payload`` is its JSON as sent, ``place`` where that stands in what was read."""

    kind: int
    message_id: str | None
    action: str | None
    payload: bytes
    place: Place


def read_frame(raw: bytes | msgspec.Raw) -> Frame:
    """Reads a frame in any of the forms above.

    Raises:
        Unreadable: it is none.
    """
    return _read(bytes(raw).strip(), (), _DEEPEST)


def _read(raw: bytes, place: Place, depth: int) -> Frame:
    if raw[:1] == b"[":
        return _from_array(decode(raw, _ARRAY, place), place)
    if raw[:1] == b"{":
        return _from_object(decode(raw, _OBJECT, place), place, depth)
    if raw[:1] == b'"' and depth:
        return _read(decode(raw, _TEXT, place).strip().encode(errors="replace"), place, depth - 1)
    raise Unreadable(place, "must be a frame: [2, id, action, payload]", "not_a_frame")


def _from_array(parts: list[msgspec.Raw], place: Place) -> Frame:
    kind = _KINDS.get(_text(parts[0]) or "") if parts else None
    if kind is None or len(parts) < _NAMED_IN[kind]:
        message = "must be [2, id, action, payload], [3, id, payload] or [4, id, code, text, details]"
        raise Unreadable(place, message, "not_a_frame")
    message_id = _text(parts[1])
    if kind in (CALLRESULT, CALLERROR):
        at = 2 if kind == CALLRESULT else len(parts) - 1
        return Frame(kind, message_id, None, bytes(parts[at]), (*place, at))
    action = _text(parts[2])
    if not action:
        raise Unreadable((*place, 2), "must be the name of an action", "type_error")
    return Frame(kind, message_id, action, bytes(parts[3]), (*place, 3))


def _from_object(fields: Object, place: Place, depth: int) -> Frame:
    names = {_plain(name): name for name in fields}
    action = _text(fields[names["action"]]) if "action" in names else None
    payload = names.get("payload")
    if payload is not None and bytes(fields[payload])[:1] == b"{":
        message_id = next((_text(fields[names[n]]) for n in _ID_NAMES if n in names), None)
        if action:
            kind = (
                next((_KINDS.get(_word(fields[names[n]])) for n in _KIND_NAMES if n in names), None) or CALL
            )
            return Frame(kind, message_id, action, bytes(fields[payload]), (*place, payload))
        if any(_KINDS.get(_word(fields[names[n]])) == CALLRESULT for n in _KIND_NAMES if n in names):
            return Frame(CALLRESULT, message_id, None, bytes(fields[payload]), (*place, payload))
    for wanted in _FRAME_NAMES if depth else ():
        name = names.get(wanted)
        if name is not None and bytes(fields[name])[:1] in (b"[", b"{", b'"'):
            return _read(bytes(fields[name]), (*place, name), depth - 1)
    raise Unreadable(place, "must hold a frame, or an action and its payload", "not_a_frame")


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")


def _word(raw: msgspec.Raw) -> str:
    return _plain(_text(raw) or "")


def _text(raw: msgspec.Raw) -> str | None:
    """Returns a text or an integer as text, None for all else."""
    sent = bytes(raw)
    if sent[:1] == b'"':
        return decode(sent, _TEXT)
    return sent.decode() if sent[:1] in b"-0123456789" else None


def read_message(frame: Frame, protocol: str | None = None) -> Message:
    """Returns what a frame says, with places as in what the frame was read from.

    Args:
        frame: the frame.
        protocol: one of `PROTOCOLS`; found from the message itself when None.

    Raises:
        Unreadable: it says something about a session that cannot be read.
    """
    try:
        return _message(frame, protocol)
    except Unreadable as fault:
        raise fault.within(frame.place) from None


def _message(frame: Frame, protocol: str | None) -> Message:
    if frame.kind == CALLERROR:
        if frame.message_id is None:
            return NothingReported("an error without a message id")
        return StartFailed(frame.message_id)
    if frame.kind == CALLRESULT:
        return ocpp16.read_result(frame.message_id, frame.payload)
    action = frame.action or ""
    if is_ocpp2(action, frame.payload, protocol):
        return ocpp201.read_call(action, frame.message_id, frame.payload)
    return ocpp16.read_call(action, frame.message_id, frame.payload)


def is_ocpp2(action: str, payload: bytes, protocol: str | None) -> bool:
    """Tells whether a call is of OCPP 2; MeterValues and StatusNotification exist in both, with other fields."""
    if protocol is not None:
        return protocol != PROTOCOLS[0]
    if action in ocpp16.OWN_ACTIONS:
        return False
    if action in ocpp201.OWN_ACTIONS:
        return True
    if action not in ("MeterValues", "StatusNotification"):
        return False
    fields: dict[str, Any] = decode(payload, _OBJECT)
    return "evseId" in fields


_ARRAY: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(Object)
_TEXT: Final = msgspec.json.Decoder(str)
