"""Whether a state of one session can come from its calls: the reasoning under I1, I2 and I7.

A session's state is a version and one value per instant. A call that replaces sets the whole of it, a PATCH some
instants. An acknowledged call names the version at which what it sent holds, so acknowledged calls are ordered by
version; a call without an answer may have made any version that no acknowledged change made, or none. To explain a
state, one looks for the last replacement before it: the acknowledged one with the highest version, or one without an
answer at each free version above that. For each of them every acknowledged reading must be there or overwritten,
every stored one must come from somebody, and every call that shows must show wholly.
"""

from bisect import bisect_left, bisect_right
from collections import Counter, defaultdict
from collections.abc import Iterable, Iterator, Sequence
from typing import TYPE_CHECKING, NamedTuple

if TYPE_CHECKING:
    from tests.faults.history import Call, Shown

NEVER = float("inf")


class Fault(NamedTuple):
    """Why a state cannot be: the invariant that is broken, and how."""

    invariant: str
    text: str


class _Last(NamedTuple):
    """A replacement that may be the last one; ``call`` is None for the session's empty beginning."""

    version: int
    call: "Call | None"


def version_of(call: "Call") -> int:
    """The version that an answer told."""
    assert call.shown is not None
    return call.shown.version


def certain_changes(writes: Iterable["Call"]) -> list["Call"]:
    """The calls that changed something if they were applied: they sent a value that no other call sent."""
    calls = [call for call in writes if call.outcome != "refused"]
    senders = Counter(pair for call in calls for pair in call.sent)
    return [call for call in calls if any(senders[pair] == 1 for pair in call.sent)]


class Writes:
    """The calls that may have changed one session."""

    def __init__(self, writes: Sequence["Call"]) -> None:
        told = [call for call in writes if call.outcome == "acknowledged"]
        self._told = sorted(told, key=version_of)
        self._versions = [version_of(call) for call in self._told]
        self._replacing = [call for call in self._told if call.replaces]
        silent = [call for call in writes if call.outcome == "unknown"]
        self._unknown = sorted((call for call in silent if call.sent), key=lambda call: call.started)
        self._first_posts = sorted(call.started for call in silent if call.method == "POST")
        self._refused = {pair for call in writes if call.outcome == "refused" for pair in call.sent}
        self._certain = {version_of(c) for c in certain_changes(writes) if c.outcome == "acknowledged"}
        self._told_by: dict[tuple[str, str], list[Call]] = defaultdict(list)
        self._unknown_by: dict[tuple[str, str], list[Call]] = defaultdict(list)
        for call in self._told:
            for pair in call.sent:
                self._told_by[pair].append(call)
        for call in self._unknown:
            for pair in call.sent:
                self._unknown_by[pair].append(call)
        # The answer that told a version or a later one first: what made it had begun by then.
        self._deadlines: list[float] = []
        earliest = NEVER
        for call in reversed(self._told):
            earliest = min(earliest, call.finished)
            self._deadlines.append(earliest)
        self._deadlines.reverse()

    def unexplained(self, shown: "Shown", by: float) -> list[Fault]:
        """Returns why no order of the calls gives a state that was read at ``by``; empty when one does.

        Of several explanations that fail the one with the fewest faults is told.
        """
        assert shown.readings is not None
        instants = Counter(instant for instant, _ in shown.readings)
        twice = [Fault("I1", f"{i} is there {n} times") for i, n in instants.items() if n > 1]
        if twice:
            return twice
        state = _State(self, dict(shown.readings), shown.version, by)
        best: list[Fault] | None = None
        for last in state.candidates():
            faults = list(state.faults(last))
            if not faults:
                return []
            if best is None or len(faults) < len(best):
                best = faults
        assert best is not None
        return best

    def deadline(self, version: int) -> float:
        """When at the latest a call had begun that made a version."""
        place = bisect_left(self._versions, version)
        return self._deadlines[place] if place < len(self._deadlines) else NEVER


class _State:
    """One state that is to be explained."""

    def __init__(self, writes: Writes, values: dict[str, str], version: int, by: float) -> None:
        self._writes = writes
        self._values = values
        self._version = version
        self._by = by
        known = set(writes._versions)
        self._free = [v for v in range(1, version + 1) if v not in writes._certain]
        self._made_by_unknown = [v for v in range(1, version + 1) if v not in known]
        self._unknown = [call for call in writes._unknown if call.started < by]

    def candidates(self) -> Iterator[_Last]:
        """The replacements that may be the last one, the acknowledged one first."""
        told = [call for call in self._writes._replacing if version_of(call) <= self._version]
        first = _Last(version_of(told[-1]), told[-1]) if told else _Last(0, None)
        yield first
        for call in self._unknown:
            if call.replaces and self._resembles(call):
                for version in self._free:
                    if version > first.version and call.started < self._writes.deadline(version):
                        yield _Last(version, call)

    def _resembles(self, call: "Call") -> bool:
        """Whether a replacement left something: its values, or at least its instants (overwritten)."""
        shows = any(self._values.get(instant) == value for instant, value in call.sent)
        return shows or all(instant in self._values for instant, _ in call.sent)

    def faults(self, last: _Last) -> Iterator[Fault]:
        """What speaks against a replacement as the last one."""
        yield from self._unsent(last)
        yield from self._lost(last)
        yield from self._torn(last)
        yield from self._miscounted(last)

    def _told_since(self, last: _Last) -> Sequence["Call"]:
        versions = self._writes._versions
        # A call that told the very version of the last replacement says that what it sent holds then.
        return self._writes._told[bisect_left(versions, last.version) : bisect_right(versions, self._version)]

    def _may_write(self, call: "Call", last: _Last, after: int) -> bool:
        """Whether a call may have written after a version and after the last replacement."""
        if call is last.call:
            return last.version > after
        if call.replaces:
            return call.outcome == "acknowledged" and version_of(call) == last.version > after
        if call.outcome == "acknowledged":
            return max(after + 1, last.version) <= version_of(call) <= self._version
        return call.started < self._by and any(
            version > max(after, last.version) and call.started < self._writes.deadline(version)
            for version in reversed(self._free)
        )

    def _writers(self, instant: str, last: _Last, after: int = -1) -> list["Call"]:
        """The calls that may have written what is stored at an instant."""
        value = self._values.get(instant)
        if value is None:
            return []
        pair = instant, value
        calls = [*self._writes._told_by.get(pair, ()), *self._writes._unknown_by.get(pair, ())]
        return [call for call in calls if self._may_write(call, last, after)]

    def _unsent(self, last: _Last) -> Iterator[Fault]:
        for instant, value in self._values.items():
            if not self._writers(instant, last):
                pair = instant, value
                if pair in self._writes._refused:
                    yield Fault("I7", f"{instant} = {value} is of a refused call")
                elif pair in self._writes._told_by:
                    yield Fault("I1", f"{instant} = {value} had been replaced")
                elif pair in self._writes._unknown_by:
                    yield Fault(
                        "I7", f"{instant} = {value} is of a call without an answer that does not show"
                    )
                else:
                    yield Fault("I1", f"{instant} = {value} was sent by nobody")

    def _lost(self, last: _Last) -> Iterator[Fault]:
        """Acknowledged readings that are neither there nor overwritten."""
        for call in self._told_since(last):
            for instant, value in call.sent:
                stored = self._values.get(instant)
                if stored != value and not self._writers(instant, last, version_of(call)):
                    yield Fault(
                        "I1", f"{instant} = {value} of acknowledged call {call.id} is lost ({stored})"
                    )
            if call.replaces:
                sent = dict(last.call.sent) if last.call else {}
                if sent != dict(call.sent):
                    yield Fault("I2", f"calls at version {last.version} replaced by different readings")

    def _whole(self, call: "Call", last: _Last) -> bool:
        """Whether everything that a call sent is there or overwritten."""
        return all(
            self._values.get(instant) == value
            or any(writer is not call for writer in self._writers(instant, last, last.version))
            for instant, value in call.sent
        )

    def _torn(self, last: _Last) -> Iterator[Fault]:
        """Calls without an answer of which a part is there."""
        if last.call is not None and last.call.outcome == "unknown" and not self._whole(last.call, last):
            yield Fault("I7", f"call {last.call.id} had no answer and is applied in part")
        told: dict[int, None] = {}
        for instant in self._values:
            writers = self._writers(instant, last)
            silent = writers and all(writer.outcome == "unknown" for writer in writers)
            if silent and not any(self._whole(writer, last) for writer in writers):
                told.setdefault(writers[0].id)
        for number in told:
            yield Fault("I7", f"call {number} had no answer and is applied in part")

    def _miscounted(self, last: _Last) -> Iterator[Fault]:
        """Versions that no call can have made, and changes without a version."""
        starts = [call.started for call in self._unknown if call is not last.call]
        gaps = [v for v in self._made_by_unknown if v != last.version]
        missing = _unfilled([self._writes.deadline(version) for version in gaps if version > 1], starts)
        if 1 in gaps:  # any POST makes a session
            missing += _unfilled([self._writes.deadline(1)], self._writes._first_posts)
        if missing:
            yield Fault(
                "I2", f"version {self._version}: {missing} more changes than calls that can have made them"
            )
        after = [version for version in gaps if version > max(last.version, 1)]
        patches = [c for c in self._unknown if c is not last.call and not c.replaces and self._whole(c, last)]
        missing_after = _unfilled([self._writes.deadline(v) for v in after], [c.started for c in patches])
        if missing_after and not missing:
            yield Fault(
                "I2", f"version {self._version}: {missing_after} changes since {last.version} do not show"
            )
        free = sum(version > last.version for version in self._free)
        showing = self._showing(last)
        if showing > free:
            yield Fault("I2", f"version {self._version}: {showing - free} changes did not count")

    def _showing(self, last: _Last) -> int:
        """How many calls without an answer must have been applied after the last replacement."""
        sole = set()
        for instant in self._values:
            writers = self._writers(instant, last)
            if len(writers) == 1 and writers[0].outcome == "unknown" and writers[0] is not last.call:
                sole.add(writers[0].id)
        return len(sole)


def _unfilled(deadlines: Sequence[float], starts: Sequence[float]) -> int:
    """How many versions are left when each is given a call that had begun in time (deadlines ascending)."""
    waiting = sorted(starts)
    used = missing = 0
    for deadline in sorted(deadlines):
        if used < len(waiting) and waiting[used] < deadline:
            used += 1
        else:
            missing += 1
    return missing
