"""The book of a station's transactions: which messages belong to which session, whatever comes when."""

import functools
import json
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from chargewatch.ingest.foreign_json import Unreadable
from chargewatch.ingest.ocpp_frames import read_frame, read_message
from chargewatch.ingest.readings import ReadingSet
from chargewatch.ingest.session_push import SessionPush, transaction_session
from chargewatch.ingest.transactions import Outcome, TransactionBook
from tests.ocpp_border import outcome, taken
from tests.ocpp_frames import (
    answer16,
    clock,
    event201,
    meter_value,
    register201,
    session16,
    start16,
    stop16,
    values16,
)


class Store:
    """What a service keeps: the rows of a book, and the sessions; it may die at any step and is then sent all again."""

    def __init__(self) -> None:
        self.rows: dict[tuple[str, int], Any] = {}
        self.sessions: dict[str, tuple[SessionPush, ReadingSet]] = {}

    def post(self, frames: Sequence[object], dies_after: int = 99) -> None:
        """Takes one post; ``dies_after`` counts the steps that are still done."""
        book = TransactionBook("CP-1", self.rows.values())
        outcomes = [book.apply(read_message(read_frame(json.dumps(frame).encode()))) for frame in frames]
        if dies_after < 1:
            return
        self.rows |= {(row.key, row.generation): row for row in book.changes()}
        pushes = [o.push for o in outcomes if o.push is not None]
        for done, push in enumerate(pushes, 2):
            if dies_after < done:
                return
            self._keep(push)
        if dies_after > len(pushes) + 1:
            for key in book.settled():
                self.rows.pop((key, 0), None)

    def _keep(self, push: SessionPush) -> None:
        before, readings = self.sessions.get(push.session, (push, ReadingSet()))
        readings.apply(push.readings)
        said = {name: value for name, value in push._asdict().items() if value is not None}
        self.sessions[push.session] = (before._replace(**said), readings)

    def state(self) -> dict[str, Any]:
        """Every session with all that is stored of it."""
        return {
            name: (push._replace(readings=()), readings.ordered())
            for name, (push, readings) in sorted(self.sessions.items())
        }


DAY: list[Any] = [
    *session16(1, prefix="a"),
    start16("r0", 60, 2),
    start16("r1", 60, 2),
    answer16("r1", 5),
    values16("r2", 65, 1500, 5, 2),
    values16("r3", 70, 1800, None, 2),
    values16("r4", 70, 99, None, 0),
    start16("n0", 100),
    values16("n1", 110, 2000, 6),
    answer16("n0", 6),
    stop16("n2", 120, 6, 2500),
    values16("n3", 125, 2501),
    *session16(1, begins=200, prefix="b"),
    [2, "h", "Heartbeat", {}],
    event201("Updated", 210, "tx-9", meter_value(210, register201(700))),
    event201("Started", 205, "tx-9", meter_value(205, register201(0)), evse={"id": 7, "connectorId": 1}),
    event201("Ended", 220, "tx-9", meter_value(220, register201(900)), stoppedReason="Local"),
    stop16("r5", 230, 5, 3000, "Remote"),
]


@functools.cache
def whole() -> dict[str, Any]:
    store = Store()
    store.post(DAY)
    return store.state()


def test_a_day_of_a_station() -> None:
    state = whole()
    assert sorted(state) == ["CP-1:1", "CP-1:1:20250304T132000Z", "CP-1:5", "CP-1:6", "CP-1:tx-9"]
    push, readings = state["CP-1:5"]
    assert (push.connector_id, push.stop_reason) == ("2", "Remote")
    assert [r.text for r in readings] == ["1000", "1500", "1800", "3000"]
    push, readings = state["CP-1:6"]
    assert [r.text for r in readings] == ["1000", "2000", "2500", "2501"]
    assert push.started_us is not None
    push, readings = state["CP-1:tx-9"]
    assert (push.evse_id, push.connector_id, push.stop_reason) == ("7", "1", "Local")
    assert [r.text for r in readings] == ["0", "700", "900"]


@settings(max_examples=60, deadline=None)
@given(cuts=st.lists(st.integers(0, len(DAY)), max_size=8))
def test_splitting_frames_over_posts_changes_nothing(cuts: list[int]) -> None:
    store = Store()
    bounds = sorted({0, len(DAY), *cuts})
    for first, last in zip(bounds, bounds[1:], strict=False):
        store.post(DAY[first:last])
    assert store.state() == whole()


@settings(max_examples=60, deadline=None)
@given(spans=st.lists(st.tuples(st.integers(0, len(DAY)), st.integers(0, len(DAY))), max_size=5))
def test_repeating_frames_changes_nothing(spans: list[tuple[int, int]]) -> None:
    store = Store()
    store.post(DAY)
    for first, last in spans:
        store.post(DAY[first:last])
    assert store.state() == whole()


@settings(max_examples=100, deadline=None)
@given(
    cuts=st.lists(st.integers(0, len(DAY)), max_size=6),
    deaths=st.lists(st.integers(0, 12), min_size=1, max_size=8),
)
def test_a_post_that_dies_half_way_and_is_sent_again_ends_the_same(
    cuts: list[int], deaths: list[int]
) -> None:
    store = Store()
    bounds = sorted({0, len(DAY), *cuts})
    for i, (first, last) in enumerate(zip(bounds, bounds[1:], strict=False)):
        store.post(DAY[first:last], dies_after=deaths[i % len(deaths)])
        store.post(DAY[first:last])
    assert store.state() == whole()


JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text(),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(st.text(max_size=12), inner, max_size=4),
    max_leaves=12,
)
WORDS = st.sampled_from(
    [
        "StartTransaction",
        "StopTransaction",
        "MeterValues",
        "TransactionEvent",
        "StatusNotification",
        "Heartbeat",
    ]
)
FIELDS = st.sampled_from(
    [
        "connectorId",
        "transactionId",
        "meterValue",
        "timestamp",
        "sampledValue",
        "value",
        "meterStart",
        "meterStop",
        "reason",
        "eventType",
        "evse",
        "id",
        "transactionInfo",
        "evseId",
        "unitOfMeasure",
        "multiplier",
        "unit",
        "signedMeterValue",
        "transactionData",
        "action",
        "payload",
    ]
)
NEAR = st.recursive(
    JSON | st.sampled_from([0, 1, -1, 2**63, "1", "", "2025-03-04T10:00:00Z", "Started", "Ended", 1e300]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(FIELDS, inner, max_size=6),
    max_leaves=20,
)
FRAMES = (
    JSON
    | st.tuples(st.just(2), st.text(max_size=5), WORDS, NEAR)
    | st.tuples(st.just(3), st.text(max_size=5), NEAR)
    | st.fixed_dictionaries({"action": WORDS, "payload": NEAR})
)


def tried(book: TransactionBook, frame: object) -> Outcome | Unreadable:
    try:
        return outcome(book, frame)
    except Unreadable as fault:
        return fault


@settings(max_examples=100, deadline=None)
@given(frames=st.lists(FRAMES, max_size=5))
def test_any_json_is_taken_or_refused_with_its_place(frames: list[Any]) -> None:
    book = TransactionBook("CP-1")
    for frame in frames:
        result = tried(book, frame)
        if isinstance(result, Unreadable):
            assert result.message
            assert result.code
            assert result.pointer == "" or result.pointer.startswith("/")
        else:
            assert (result.push or result.ignored or result.note) is not None


def test_a_stop_finds_its_transaction_however_long_it_was_silent() -> None:
    stop = [
        2,
        "s",
        "StopTransaction",
        {"transactionId": 4, "meterStop": 9, "timestamp": "2025-03-07T10:00:00Z"},
    ]
    assert list(taken([values16("m", 0, 1, 4), stop])) == ["CP-1:4"]


def test_an_id_that_is_read_a_day_after_its_last_reading_begins_anew() -> None:
    payload = values16("n", 0, 2, 4)[3]
    payload["meterValue"][0]["timestamp"] = "2025-03-05T10:00:01Z"
    later = [2, "n", "MeterValues", payload]
    assert list(taken([values16("m", 0, 1, 4), later])) == ["CP-1:4", "CP-1:4:20250305T100001Z"]


def test_a_stop_without_connector_adopts_the_only_start_that_waits() -> None:
    push = taken([start16("a", 0, 3), stop16("b", 30, 8, 4000)])["CP-1:8"]
    assert (push.connector_id, [r.text for r in push.readings]) == ("3", ["1000", "4000"])
    two = taken([start16("a", 0, 3), start16("c", 1, 4), stop16("b", 30, 8, 4000)])["CP-1:8"]
    assert (two.connector_id, two.started_us) == (None, None)


def test_a_start_that_the_backend_refused_is_forgotten() -> None:
    book = TransactionBook("CP-1")
    outcome(book, start16("a"))
    assert outcome(book, [4, "a", "InternalError", "", {}]).ignored == "the backend refused the start"
    outcome(book, start16("b"))
    assert (
        outcome(book, [3, "b", {"transactionId": -1}]).ignored == "the answer gives the start no transaction"
    )
    push = outcome(book, values16("c", 5, 1, 9)).push
    assert push is not None
    assert push.started_us is None


def test_zero_is_a_transaction_only_where_one_began_with_it() -> None:
    assert taken([values16("m", 0, 1, 0)]) == {}
    assert list(taken([start16("a"), answer16("a", 0), values16("m", 5, 1, 0)])) == ["CP-1:0"]
    rejected = [3, "a", {"transactionId": 0, "idTagInfo": {"status": "Invalid"}}]
    assert taken([start16("a"), rejected, values16("m", 5, 1, 0)]) == {}


def test_the_end_of_a_reset_clock_is_its_last_reading() -> None:
    payload = {"transactionId": 4, "meterStop": 9, "timestamp": "2000-01-01T00:00:09Z"}
    push = taken([values16("m", 0, 1, 4), [2, "s", "StopTransaction", payload]])["CP-1:4"]
    assert push.ended_us == push.readings[0].at_us


def test_a_connector_at_rest_gives_its_readings_to_nobody() -> None:
    frames = [*session16(4), values16("x", 54, 5001), values16("y", 56, 5002)]
    assert [r.text for r in taken(frames)["CP-1:4"].readings][-2:] == ["5000", "5001"]


def test_available_ends_nothing() -> None:
    status = [2, "x", "StatusNotification", {"connectorId": 1, "status": "Available", "timestamp": clock(5)}]
    push = taken([start16("a"), answer16("a", 2), status, values16("m", 10, 2000, 2)])["CP-1:2"]
    assert (push.ended_us, len(push.readings)) == (None, 2)


def test_names_of_sessions() -> None:
    assert transaction_session("CP-1", "a/b:c%d e") == "CP-1:a%2Fb%3Ac%25d%20e"
    long = transaction_session("S" * 250, "1234567890")
    assert len(long) <= 255
    assert long != transaction_session("S" * 250, "1234567891")
    assert long.endswith(":1234567890")


@pytest.mark.parametrize(
    "frame",
    [
        [],
        [2, "a", "MeterValues"],
        [3, "a"],
        [5, "a", "b", {}],
        [True, "a", "b", {}],
        {"a": 1},
        "x",
        7,
        None,
        [2, "a", "", {}],
        [2, "a", "MeterValues", []],
    ],
)
def test_what_is_no_frame(frame: object) -> None:
    with pytest.raises(Unreadable):
        read_message(read_frame(json.dumps(frame).encode()))


@pytest.mark.parametrize(
    "form",
    [
        lambda frame: frame,
        lambda frame: {"action": frame[2], "payload": frame[3], "message_id": frame[1]},
        lambda frame: {"messageTypeId": 2, "uniqueId": frame[1], "action": frame[2], "payload": frame[3]},
        lambda frame: {"station": "CP-1", "message": frame},
        lambda frame: {"data": {"frame": json.dumps(frame)}},
        lambda frame: json.dumps(frame),
        lambda frame: [6, *frame[1:]],
    ],
)
def test_forms_of_a_frame(form: Any) -> None:
    frame = values16("m1", 0, 1, 4)
    read = read_frame(json.dumps(form(frame)).encode())
    assert (read.message_id, read.action) == ("m1", "MeterValues")
    assert read_message(read) == read_message(read_frame(json.dumps(frame).encode()))
