"""One session as an obvious sequential server, and whether a history can be its: by trying every order."""

from collections.abc import Sequence

from tests.faults.history import Call, Readings, Shown


class SequentialSession:
    """A session that takes one call after another."""

    def __init__(self) -> None:
        self.version = 0
        self.values: dict[str, str] = {}

    def copy(self) -> "SequentialSession":
        """The same state, to go on from separately."""
        other = SequentialSession()
        other.version, other.values = self.version, dict(self.values)
        return other

    def apply(self, method: str, sent: Readings) -> bool:
        """Applies a call; False where the session is unknown and the call does not make it."""
        if self.version == 0 and method != "POST":
            return False
        replaces = method in {"POST", "PUT"} and bool(sent)
        after = dict(sent) if replaces else self.values | dict(sent)
        if method != "GET" and (self.version == 0 or after != self.values):
            self.version += 1
            self.values = after
        return True

    def shown(self, *, readings: bool) -> Shown:
        """What an answer says."""
        return Shown(
            version=self.version,
            analyzed_version=self.version if len(self.values) >= 3 else None,
            verdict=tuple(sorted(self.values.values())),
            readings=tuple(sorted(self.values.items())) if readings else None,
        )


def possible(calls: Sequence[Call], final: Shown) -> bool:
    """Whether some order of the calls, in agreement with real time, gives every answer and the final state.

    Calls without an answer may have happened at any time since they began, or not at all; refused ones did not.
    """
    return _search(SequentialSession(), [call for call in calls if call.outcome != "refused"], final)


def _search(state: SequentialSession, left: list[Call], final: Shown) -> bool:
    ended = (state.version, state.values) == (final.version, dict(final.readings or ()))
    if ended and all(call.outcome == "unknown" for call in left):
        return True
    # Whoever was answered first among those left has begun before any that may come before it ended.
    latest = min((c.finished for c in left if c.outcome == "acknowledged"), default=float("inf"))
    for call in left:
        if call.started <= latest:
            after = state.copy()
            fits = after.apply(call.method, call.sent) and (call.shown is None or _agrees(call, after))
            if fits and _search(after, [other for other in left if other is not call], final):
                return True
    return False


def _agrees(call: Call, state: SequentialSession) -> bool:
    """Whether the answer's version and readings are the state's."""
    assert call.shown is not None
    readings = None if call.shown.readings is None else dict(call.shown.readings)
    return call.shown.version == state.version and readings in (None, state.values)
