"""The files beside an import: how far it has come, and the report of what was refused."""

import csv
import json
import os
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path

import pytest

from chargewatch.cli.import_progress import ImportBusy, Progress, fingerprint_of, import_folder, key_of
from chargewatch.cli.import_report import ImportReport, ReportError, check_report
from chargewatch.ingest.sent_sessions import Refusal

ROW = Refusal("r.csv", 3, 4, None, "no value")
SESSION = Refusal("r.csv", 7, None, "a", 'is "reserved", says, who')


# Progress


def test_progress_comes_back(tmp_path: Path) -> None:
    progress = Progress("f", began=datetime(2026, 3, 1, tzinfo=UTC), done=7, refused=[SESSION])
    progress.fates["created"] = 5
    with import_folder(tmp_path / "imports", "k") as folder:
        assert folder.load("f") == (Progress("f"), None)
        folder.save(progress, now=True)
        assert folder.load("f") == (progress, None)
        folder.forget()
        assert folder.load("f") == (Progress("f"), None)


def test_progress_is_written_from_time_to_time(tmp_path: Path) -> None:
    with import_folder(tmp_path, "k", every_s=3600) as folder:
        for done in (1, 2):
            folder.save(Progress("f", done=done))
        assert folder.load("f")[0].done == 1
        folder.save(Progress("f", done=3), now=True)
        assert folder.load("f")[0].done == 3


@pytest.mark.parametrize("damage", [b"", b"\xff", b"{", b'{"fingerprint": 1}'])
def test_progress_that_cannot_be_read_counts_for_nothing(tmp_path: Path, damage: bytes) -> None:
    with import_folder(tmp_path, "k") as folder:
        (tmp_path / "k" / "progress.json").write_bytes(damage)
        progress, notice = folder.load("f")
    assert progress == Progress("f")
    assert notice is not None
    assert "begins anew" in notice


def test_progress_of_a_changed_file_counts_for_nothing(tmp_path: Path) -> None:
    with import_folder(tmp_path, "k") as folder:
        folder.save(Progress("f", done=9), now=True)
        assert folder.load("g") == (
            Progress("g"),
            "the file was changed since it was imported in part: the import begins anew",
        )


def test_one_process_at_a_time(tmp_path: Path) -> None:
    with import_folder(tmp_path, "k") as folder:
        left = folder.path / "rows-of-a-killed-process"
        left.mkdir()
        with pytest.raises(ImportBusy), import_folder(tmp_path, "k"):
            pass
        assert left.exists()
        with import_folder(tmp_path, "other"):
            pass
    with import_folder(tmp_path, "k"):
        assert not left.exists()


def _grown(path: Path) -> None:
    path.write_bytes(path.read_bytes() + b"x")


def _other_begin(path: Path) -> None:
    path.write_bytes(b"y" + path.read_bytes()[1:])


def _other_end(path: Path) -> None:
    path.write_bytes(path.read_bytes()[:-1] + b"y")


def _touched(path: Path) -> None:
    os.utime(path, ns=(0, 0))


@pytest.mark.parametrize("change", [_grown, _other_begin, _other_end, _touched])
def test_a_changed_file_has_another_fingerprint(tmp_path: Path, change: Callable[[Path], None]) -> None:
    path = tmp_path / "r.csv"
    path.write_bytes(b"x" * 200_000)
    state = path.stat()
    before = fingerprint_of([path])
    assert fingerprint_of([path]) == before
    change(path)
    if change is not _touched:
        os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert fingerprint_of([path]) != before


def test_keys_tell_imports_apart() -> None:
    keys = [key_of(*parts) for parts in (("a", "b"), ("ab", ""), ("a", "b", ""), ("b", "a"))]
    assert len(set(keys)) == len(keys)


# Report


def reported(path: Path, refusals: list[Refusal], *, asked_for: bool = False) -> list[str]:
    shown: list[str] = []
    with ImportReport(path, "token", shown.append, asked_for=asked_for) as report:
        for refusal in refusals:
            report.add(refusal)
        assert report.count == len(refusals)
        assert report.sessions == sum(r.session_id is not None for r in refusals)
        report.commit()
    return shown


def test_a_report_as_json_lines(tmp_path: Path) -> None:
    path = tmp_path / "report.ndjson"
    assert reported(path, [ROW, SESSION]) == [
        "r.csv: row 3 (line 4): no value",
        'r.csv: session a (row 7): is "reserved", says, who',
    ]
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    assert lines == [ROW._asdict(), SESSION._asdict()]
    assert list(tmp_path.iterdir()) == [path]


def test_a_report_as_csv(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    reported(path, [ROW, SESSION])
    with path.open(newline="") as file:
        rows = list(csv.DictReader(file))
    assert rows == [
        {"file": "r.csv", "row": "3", "line": "4", "session_id": "", "reason": "no value"},
        {"file": "r.csv", "row": "7", "line": "", "session_id": "a", "reason": SESSION.reason},
    ]


def test_only_the_first_ones_are_shown(tmp_path: Path) -> None:
    path = tmp_path / "report.jsonl"
    shown = reported(path, [ROW] * 30)
    assert shown[20:] == [f"... more was refused: all of it in {path}"]
    assert len(path.read_text().splitlines()) == 30


def test_without_refusals_there_is_no_report_unless_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    reported(path, [ROW])
    reported(path, [])
    assert list(tmp_path.iterdir()) == []
    reported(path, [], asked_for=True)
    assert path.read_text() == "file,row,line,session_id,reason\n"


def test_what_is_not_committed_leaves_the_earlier_report(tmp_path: Path) -> None:
    path = tmp_path / "report.csv"
    path.write_text("earlier")
    with ImportReport(path, "token", lambda _: None, asked_for=True) as report:
        report.add(ROW)
    assert path.read_text() == "earlier"
    assert list(tmp_path.iterdir()) == [path]


def test_what_a_killed_import_left_is_written_over(tmp_path: Path) -> None:
    path = tmp_path / "report.ndjson"
    (tmp_path / ".report.ndjson.token.part").write_text("half a line of the killed one")
    reported(path, [SESSION])
    assert json.loads(path.read_text()) == SESSION._asdict()
    assert list(tmp_path.iterdir()) == [path]


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("r.txt", "unknown ending of a report; known are .ndjson, .jsonl, .csv"),
        ("none/r.csv", "no such folder"),
        ("folder.csv", "there is something else than a file"),
    ],
)
def test_where_a_report_cannot_be(tmp_path: Path, name: str, message: str) -> None:
    (tmp_path / "folder.csv").mkdir()
    with pytest.raises(ReportError, match=message):
        check_report(tmp_path / name)
