"""The body of a call with OCPP frames: its messages, each read or refused with its place."""

from collections.abc import Sequence
from typing import Final, NamedTuple

import msgspec

from chargewatch.ingest.foreign_json import Place, Unreadable
from chargewatch.ingest.ocpp_frames import PROTOCOLS, Frame, read_frame, read_message
from chargewatch.ingest.transaction_messages import Message
from chargewatch.server.platform.problems import Problem, invalid_field

MOST_MESSAGES: Final = 10_000
_LIST: Final = msgspec.json.Decoder(list[msgspec.Raw])
_OBJECT: Final = msgspec.json.Decoder(dict[str, msgspec.Raw])
_TEXT: Final = msgspec.json.Decoder(str | None)


class Read(NamedTuple):
    """One message of a body: what it says, or why it cannot be read (with its place in the body)."""

    place: Place
    frame: Frame | None
    message: Message | None
    fault: Unreadable | None


class Body(NamedTuple):
    """The messages of a body; ``alone``: it was one bare message, whose fault is the call's."""

    messages: Sequence[Read]
    alone: bool


def read_body(raw: msgspec.Raw) -> Body:
    """Reads the messages of a body that is JSON.

    Raises:
        Problem: 422 for another outer shape or one bare message that cannot be read, 413 for too many messages.
    """
    text = bytes(raw).strip()
    if text[:1] == b"[":
        return _from_list(text)
    if text[:1] == b"{":
        return _from_object(text)
    raise invalid_field(
        (), "The body must be an OCPP frame, a list of frames, or an object with messages.", "type_error"
    )


def _from_list(text: bytes) -> Body:
    items = _LIST.decode(text)
    if items and bytes(items[0])[:1] not in (b"[", b"{", b'"'):
        return _alone(text)
    return Body(_read_all(items, (), None), alone=False)


def _from_object(text: bytes) -> Body:
    fields = _OBJECT.decode(text)
    if "messages" not in fields:
        return _alone(text)
    unknown = set(fields) - {"messages", "protocol"}
    if unknown:
        raise invalid_field(
            (), "There is an unknown field; the body takes protocol, messages.", "unknown_field"
        )
    if bytes(fields["messages"])[:1] != b"[":
        raise invalid_field(("messages",), "must be a list of frames", "type_error")
    items = _LIST.decode(fields["messages"])
    return Body(_read_all(items, ("messages",), _protocol(fields.get("protocol"))), alone=False)


def _protocol(raw: msgspec.Raw | None) -> str | None:
    try:
        protocol = None if raw is None else _TEXT.decode(raw)
    except msgspec.ValidationError:
        protocol = ""
    if protocol is not None and protocol not in PROTOCOLS:
        raise invalid_field(("protocol",), f"must be one of {', '.join(PROTOCOLS)}", "unknown_value")
    return protocol


def _alone(text: bytes) -> Body:
    read = _read(text, (), None)
    if read.fault is not None:
        raise invalid_field(read.fault.place, read.fault.message, read.fault.code)
    return Body([read], alone=True)


def _read_all(items: Sequence[msgspec.Raw], place: Place, protocol: str | None) -> list[Read]:
    if not items:
        raise invalid_field(place, "There must be at least one message.", "too_short")
    if len(items) > MOST_MESSAGES:
        detail = f"One call takes at most {MOST_MESSAGES} messages; nothing of this one was stored."
        raise Problem(413, "too_many_messages", detail)
    return [_read(bytes(item), (*place, i), protocol) for i, item in enumerate(items)]


def _read(text: bytes, place: Place, protocol: str | None) -> Read:
    frame = None
    try:
        frame = read_frame(text)
        return Read(place, frame, read_message(frame, protocol), None)
    except Unreadable as fault:
        return Read(place, frame, None, fault.within(place))
