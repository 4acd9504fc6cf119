"""Logs of OCPP frames and files of CDRs: every form, bad lines by number and reason."""

import gzip
import json
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import pytest

from chargewatch.ingest.ocpi_cdrs import read_cdrs
from chargewatch.ingest.ocpp_log import read_log
from chargewatch.ingest.session_push import PassedOver, SessionPush
from tests.ocpp_border import Seen, seen
from tests.ocpp_frames import answer16, event201, meter_value, register201, session16, start16, values16


def split(items: Iterable[SessionPush | PassedOver]) -> tuple[dict[str, SessionPush], list[PassedOver]]:
    listed = list(items)
    pushes = {item.session: item for item in listed if isinstance(item, SessionPush)}
    return pushes, [item for item in listed if isinstance(item, PassedOver)]


def text_line(frame: object, station: str = "CP-1") -> str:
    return f"2025-03-04 10:15:30 {station} -> {json.dumps(frame)}"


FORMS: dict[str, Any] = {
    "text": lambda frames: "\n".join(map(text_line, frames)),
    "envelopes": lambda frames: "\n".join(
        json.dumps({"timestamp": "2025-03-04T10:15:30Z", "charge_point_id": "CP-1", "message": f})
        for f in frames
    ),
    "texts in envelopes": lambda frames: "\n".join(
        json.dumps({"chargePointId": "CP-1", "direction": "in", "msg": json.dumps(f)}) for f in frames
    ),
    "array of envelopes": lambda frames: json.dumps(
        [{"station": "CP-1", "frame": f} for f in frames], indent=2
    ),
    "ocpp's own logger": lambda frames: "\n".join(
        f"INFO:ocpp:CP-1: receive message {json.dumps(f)}" for f in frames
    ),
    "brackets": lambda frames: "\n".join(
        f"[2025-03-04T10:15:30.123Z] [INFO] [CP-1] Received: {json.dumps(f)} (12 ms)" for f in frames
    ),
    "key=value": lambda frames: "\n".join(
        f"ts=2025-03-04T10:15:30Z level=info charge_point=CP-1 dir=in {json.dumps(f)}" for f in frames
    ),
    "windows lines, blank ones": lambda frames: "\r\n\r\n".join(map(text_line, frames)),
}


@pytest.mark.parametrize("form", FORMS)
def test_forms_of_a_log(tmp_path: Path, form: str) -> None:
    path = tmp_path / "ocpp.log"
    path.write_text(FORMS[form](session16(17)))
    pushes, passed_over = split(read_log(path))
    assert passed_over == []
    (push,) = pushes.values()
    assert (push.session, push.station, push.connector_id, push.stop_reason) == (
        "CP-1:17",
        "CP-1",
        "1",
        "Local",
    )
    assert [r.text for r in push.readings] == ["1000", "2000", "3000", "4000", "5000"]


@pytest.mark.parametrize("form", ["lines", "array", "array.gz"])
def test_bare_frames_of_one_station(tmp_path: Path, form: str) -> None:
    frames = session16(17)
    text = "\n".join(map(json.dumps, frames)) if form == "lines" else json.dumps(frames)
    path = tmp_path / f"log.{form}"
    path.write_bytes(gzip.compress(text.encode()) if form.endswith("gz") else text.encode())
    pushes, passed_over = split(read_log(path, station="CP-9"))
    assert (list(pushes), passed_over) == (["CP-9:17"], [])
    pushes, passed_over = split(read_log(path))
    assert pushes == {}
    assert {(bad.reason[:33], bad.refused) for bad in passed_over} == {
        ("the line does not name its statio", True)
    }


def test_actions_with_payloads_and_both_versions_in_one_log(tmp_path: Path) -> None:
    bare = values16("m", 0, 1000, 3)[3]
    event = event201("Ended", 5, "tx-1", meter_value(5, register201(7)), evse={"id": 1, "connectorId": 2})
    lines = [
        json.dumps({"station": "A", "action": "MeterValues", "payload": bare}),
        text_line(event, "B"),
    ]
    path = tmp_path / "log"
    path.write_text("\n".join(lines))
    pushes, passed_over = split(read_log(path))
    assert passed_over == []
    assert {name: (p.station, p.evse_id, p.connector_id) for name, p in pushes.items()} == {
        "A:3": ("A", None, "1"),
        "B:tx-1": ("B", "1", "2"),
    }


def test_bad_lines_are_named(tmp_path: Path) -> None:
    lines = [
        text_line(values16("a", 0, 1000, 3)),
        "2025-03-04 10:15:31 CP-1 connected",
        text_line(values16("b", 1, "1,5", 3)),
        '2025-03-04 10:15:32 CP-1 -> [2,"c","MeterValues",{"connectorId":',
        text_line([2, "d", "Heartbeat", {}]),
        '{"message": [2,"e","Heartbeat",{}]}',
        "2025-03-04 10:15:33 -> " + json.dumps([2, "f", "Heartbeat", {}]),
        '{"station": "CP-1"}',
        text_line(values16("g", 2, 1100, 3)),
    ]
    path = tmp_path / "log"
    path.write_bytes("\n".join(lines).encode() + b"\n\xff\xfe\n")
    pushes, passed_over = split(read_log(path))
    assert [r.text for r in pushes["CP-1:3"].readings] == ["1000", "1100"]
    assert [(bad.line, bad.refused) for bad in passed_over] == [
        (2, True),
        (3, True),
        (4, True),
        (5, False),
        (6, True),
        (7, True),
        (8, True),
        (10, True),
    ]
    assert passed_over[1].reason.startswith("/3/meterValue/0/sampledValue/0/value: expected a number")
    assert "no OCPP frame" in passed_over[0].reason


def test_books_tell_ids_apart_that_begin_anew_in_the_next_file(tmp_path: Path) -> None:
    first, second = tmp_path / "1.log", tmp_path / "2.log"
    first.write_text("\n".join(map(text_line, session16(1, prefix="a"))))
    second.write_text("\n".join(map(text_line, session16(1, begins=120, prefix="b"))))
    books: dict[str, Any] = {}
    names = [list(split(read_log(path, books=books))[0]) for path in (first, second, first)]
    assert names == [["CP-1:1"], ["CP-1:1:20250304T120000Z"], ["CP-1:1"]]


def test_a_start_without_answer_in_the_log_gives_nothing_alone(tmp_path: Path) -> None:
    path = tmp_path / "log"
    path.write_text(text_line(start16("a")))
    assert list(read_log(path)) == []
    path.write_text("\n".join(map(text_line, [start16("a"), answer16("a", 3)])))
    assert list(split(read_log(path))[0]) == ["CP-1:3"]


def cdr(**changes: object) -> dict[str, Any]:
    return {
        "country_code": "NL",
        "party_id": "TNM",
        "id": "CDR-1",
        "session_id": "101",
        "start_date_time": "2025-03-04T10:00:00Z",
        "end_date_time": "2025-03-04T10:40:00Z",
        "cdr_location": {"id": "LOC1", "evse_uid": "3256", "evse_id": "NL*TNM*E1", "connector_id": "1"},
        "charging_periods": [
            {"start_date_time": "2025-03-04T10:00:00Z", "dimensions": [{"type": "ENERGY", "volume": 3.5}]},
            {
                "start_date_time": "2025-03-04T10:20:00Z",
                "dimensions": [{"type": "ENERGY", "volume": 2}, {"type": "TIME", "volume": 0.3}],
            },
        ],
        "total_energy": 5.5,
        "last_updated": "2025-03-05T00:00:00Z",
    } | changes


@pytest.mark.parametrize("form", ["array", "lines", "envelope", "one"])
def test_forms_of_a_file_of_cdrs(tmp_path: Path, form: str) -> None:
    text = {
        "array": json.dumps([cdr()]),
        "lines": json.dumps(cdr()) + "\n\n",
        "envelope": json.dumps({"data": [cdr()], "status_code": 1000}, indent=1),
        "one": json.dumps(cdr(), indent=1),
    }[form]
    path = tmp_path / "cdrs.json"
    path.write_text(text)
    (push,) = read_cdrs(path)
    assert isinstance(push, SessionPush)
    assert (push.session, push.station, push.connector_id) == ("NL*TNM*101", "3256", "1")
    register, interval = "Energy.Active.Import.Register", "Energy.Active.Import.Interval"
    assert seen(push.readings) == [
        Seen("10:00:00", register, "0", "kWh", context="Transaction.Begin"),
        Seen("10:40:00", register, "5.5", "kWh", context="Transaction.End"),
        Seen("10:20:00", interval, "3.5", "kWh"),
        Seen("10:40:00", interval, "2", "kWh"),
    ]
    assert json.loads(push.metadata or "")["ocpi"]["cdr_id"] == "CDR-1"


def test_faulty_cdrs_are_named(tmp_path: Path) -> None:
    session = {**cdr(), "kwh": 4, "evse_uid": "3256", "status": "COMPLETED", "id": "102"}
    del session["cdr_location"]
    items = [
        cdr(credit=True),
        cdr(total_energy="1,5"),
        {"hello": 1},
        session,
        cdr(end_date_time=None),
        cdr(session_id=None),
        7,
    ]
    path = tmp_path / "cdrs.ndjson"
    path.write_text("\n".join(map(json.dumps, items)))
    pushes, passed_over = split(read_cdrs(path))
    assert list(pushes) == ["NL*TNM*102", "NL*TNM*CDR-1"]
    assert [(bad.line, bad.refused) for bad in passed_over] == [
        (1, False),
        (2, True),
        (3, True),
        (5, True),
        (7, True),
    ]
    assert passed_over[1].reason.startswith("/total_energy: expected a number")


@pytest.mark.parametrize("text", ["", "\n\n", "\ufeff"])
def test_empty_files(tmp_path: Path, text: str) -> None:
    path = tmp_path / "empty"
    path.write_text(text)
    assert list(read_log(path, station="A")) == []
    assert list(read_cdrs(path)) == []
