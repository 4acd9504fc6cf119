"""The slow twin of the store of sessions: a dict, and the rules of the contract (section 3) one by one."""

import json
from collections.abc import Mapping, Sequence
from copy import deepcopy
from dataclasses import dataclass, field

#: (text of the number, unit as sent or '')
Value = tuple[str, str]
#: (minute, text, unit)
Sent = tuple[int, str, str]


class NotFound(Exception):
    """There is no such session."""


class Mismatch(Exception):
    """The session is at another version."""


@dataclass
class StoredSession:
    """What is stored of a session."""

    station: str = ""
    connector: str | None = None
    metadata: str = "{}"
    ended: int | None = None
    version: int = 0
    readings: dict[int, Value] = field(default_factory=dict)


@dataclass(frozen=True)
class Call:
    """A call as a client makes it. ``expected``: a version as in If-Match."""

    kind: str  # post, append, patch, put, delete
    session: str
    readings: Sequence[Sent] = ()
    station: str = ""
    connector: str | None = None
    metadata: str | None = None
    ended: int | None = None
    expected: int | None = None


class Store:
    """All sessions of one tenant."""

    def __init__(self) -> None:
        self.sessions: dict[str, StoredSession] = {}

    def copy(self) -> "Store":
        """A store of its own with the same sessions."""
        other = Store()
        other.sessions = deepcopy(self.sessions)
        return other

    def carry_out(self, call: Call) -> int:
        """Does what a call asks for and returns the session's version after it (0 when it is erased)."""
        before = self.sessions.get(call.session)
        if before is None and call.kind not in ("post", "append"):
            raise NotFound
        if call.expected is not None and (before is None or before.version != call.expected):
            raise Mismatch
        if call.kind == "delete":
            del self.sessions[call.session]
            return 0
        after = deepcopy(before) if before is not None else StoredSession()
        if call.kind in ("post", "append"):
            after.station = call.station
            after.connector = after.connector if call.connector is None else call.connector
        if call.metadata is not None:
            joined = {**json.loads(after.metadata), **json.loads(call.metadata)}
            metadata = json.dumps(joined) if call.kind == "append" else call.metadata
            if not same_json(metadata, after.metadata):
                after.metadata = metadata
        if call.ended is not None:
            after.ended = call.ended
        after.readings = self._merged(after.readings, call)
        if before is None or after != before:
            after.version += 1
        self.sessions[call.session] = after
        return after.version

    def _merged(self, stored: Mapping[int, Value], call: Call) -> dict[int, Value]:
        sent = {minute: (text, unit) for minute, text, unit in call.readings}
        if call.kind in ("post", "put") and sent:
            alike = sent.keys() == stored.keys() and all(same(sent[m], stored[m]) for m in sent)
            return dict(stored) if alike else sent
        changed = {m: v for m, v in sent.items() if m not in stored or not same(v, stored[m])}
        return {**stored, **changed}


def same(a: Value, b: Value) -> bool:
    """Whether two values of one key say the same; no unit is Wh."""
    return float(a[0]) == float(b[0]) and (a[1] or "Wh") == (b[1] or "Wh")


def same_json(a: str, b: str) -> bool:
    """Whether two documents say the same; the order of names says nothing."""
    return json.dumps(json.loads(a), sort_keys=True) == json.dumps(json.loads(b), sort_keys=True)
