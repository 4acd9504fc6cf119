"""What goes in and out of the call with OCPP frames."""

from typing import Annotated, Any, Final, Literal

import msgspec
from msgspec import Meta

from chargewatch.server.sessions.schemas import SessionState

_FRAME: Final[dict[str, Any]] = {
    "description": "[2, id, action, payload], [3, id, payload] or [4, id, code, text, details]; or an object with "
    "action and payload, as logs have it.",
    "type": ["array", "object"],
}
OcppBody = Annotated[
    msgspec.Raw,
    Meta(
        description=(
            "One frame, a list of frames in order of arrival (at most 10,000), or an object with `messages` (such a "
            "list) and `protocol` (`ocpp1.6`, `ocpp2.0.1` or `ocpp2.1`; found from each message when absent)."
        ),
        extra_json_schema={
            "anyOf": [
                {"type": "array", "minItems": 1},
                {
                    "type": "object",
                    "required": ["messages"],
                    "properties": {
                        "protocol": {"enum": ["ocpp1.6", "ocpp2.0.1", "ocpp2.1", None]},
                        "messages": {"type": "array", "items": _FRAME, "minItems": 1, "maxItems": 10_000},
                    },
                    "additionalProperties": False,
                },
                {
                    "type": "object",
                    "required": ["action", "payload"],
                    "properties": {
                        "action": {"type": "string"},
                        "payload": {"type": "object"},
                        "message_id": {"type": "string"},
                        "timestamp": {"type": "string"},
                    },
                },
            ]
        },
    ),
]


class OcppMessageResult(msgspec.Struct, kw_only=True):
    """What became of one message.

    ``accepted``: its data are stored (``sessions``), or it was taken note of (``reason``). ``ignored``: it is about no
    session (``reason``). ``refused``: it cannot be read; ``pointer`` is the place in the body, ``code`` a stable word.
    """

    index: int
    message_id: str | None
    action: str | None
    result: Literal["accepted", "ignored", "refused"]
    reason: str | None = None
    code: str | None = None
    pointer: str | None = None
    sessions: list[str] = []


class OcppAnswer(msgspec.Struct, kw_only=True):
    """Answer of POST /v1/ocpp/{charging_station_id}; ``sessions`` are those that the messages touched."""

    accepted: int
    ignored: int
    refused: int
    messages: list[OcppMessageResult]
    sessions: list[SessionState]
