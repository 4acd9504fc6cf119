"""``chargewatch import`` as processes: kinds of files, reports, tenants, being stopped and being killed."""

import asyncio
import json
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any, NamedTuple

import msgspec
import pyarrow.parquet as pq
import pytest

from chargewatch.cli.import_progress import Progress
from chargewatch.server.db.access import database_for_command, prepare_database
from chargewatch.server.db.connection import connected
from chargewatch.server.db.engine import Database
from chargewatch.server.settings import load_settings
from chargewatch.server.tenants.service import TenantService
from tests.acceptance.test_serve import Service
from tests.imported_state import state_of
from tests.made_database import put_into
from tests.reading_tables import charging, falling, reading, write

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

PATIENCE_S = 120.0
PLACE = {"station_id": "CP-1", "connector_id": "1"}
ROWS = [
    *[row | PLACE for row in charging("normal", 8, managed=True)],
    *[row | PLACE | {"connector_id": "2"} for row in falling("falls")],
    *[row | PLACE | {"connector_id": "3"} for row in charging("short", 2)],
]


def start(folder: Path, *arguments: str | Path) -> subprocess.Popen[str]:
    """A command in a folder, in a process group of its own as a shell would have it."""
    environment = {name: text for name, text in os.environ.items() if not name.startswith("CHARGEWATCH_")}
    program = [sys.executable, "-c", "from chargewatch.cli.app import main; main()"]
    return subprocess.Popen(
        [*program, *map(str, arguments)],
        cwd=folder,
        env=environment,
        text=True,
        start_new_session=True,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
    )


def finish(process: subprocess.Popen[str]) -> tuple[int, str, str]:
    out, err = process.communicate(timeout=PATIENCE_S)
    assert "Traceback" not in err
    return process.returncode, out, err


def begin(folder: Path, kind: str, file: Path | str, *more: str | Path) -> subprocess.Popen[str]:
    return start(folder, "import", kind, file, "--tenant", "north", "--data-dir", folder / "data", *more)


def imported(folder: Path, kind: str, file: Path | str, *more: str | Path) -> tuple[dict[str, Any], str]:
    """The summary and the messages of an import that came to its end."""
    status, out, err = finish(begin(folder, kind, file, "--json", *more))
    assert status == 0, err
    return json.loads(out), err


def failure(folder: Path, kind: str, file: Path | str, *more: str | Path) -> tuple[int, str]:
    status, out, err = finish(begin(folder, kind, file, *more))
    assert out == ""
    assert err.startswith("chargewatch: ")
    assert err.count("\n") == 1
    return status, err.removeprefix("chargewatch: ").rstrip("\n")


def stored(folder: Path, tenant: str = "north") -> dict[str, dict[str, Any]]:
    """Everything that a data folder has of a tenant's sessions."""
    settings = load_settings({"data_dir": folder / "data"}, environ={}, dotenv=None)

    async def read() -> dict[str, dict[str, Any]]:
        await prepare_database(settings, address, may_migrate=False)
        async with connected(address.owner) as owner:
            tenant_id = await TenantService(owner, address.roles).find_tenant(tenant)
        database = await Database.open(settings, address)
        try:
            return await state_of(database, tenant_id)
        finally:
            await database.close()

    with database_for_command(settings) as address:
        return asyncio.run(read())


def make_tenants(folder: Path) -> Path:
    put_into(folder / "data")
    settings = load_settings({"data_dir": folder / "data"}, environ={}, dotenv=None)

    async def make() -> None:
        await prepare_database(settings, address, may_migrate=False)
        async with connected(address.owner) as owner:
            for name in ("north", "south"):
                await TenantService(owner, address.roles).create_tenant(name)

    with database_for_command(settings) as address:
        asyncio.run(make())
    return folder


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with a data folder of two tenants, for the tests of this module that need no fresh one."""
    return make_tenants(tmp_path_factory.mktemp("import"))


def verified(folder: Path) -> None:
    status, out, err = finish(start(folder, "verify", "--data-dir", folder / "data"))
    assert (status, err) == (0, ""), out


# What is stored


@pytest.mark.parametrize("ending", [".csv", ".parquet", ".ndjson.gz"])
def test_a_table_twice(folder: Path, ending: str) -> None:
    rows = [row | {"session_id": f"{ending}-{row['session_id']}"} for row in ROWS]
    file = write(folder / f"table{ending}", rows)
    kind = "parquet" if ending == ".parquet" else "csv"
    first, err = imported(folder, kind, file)
    assert first["sessions"] == {"created": 3, "changed": 0, "unchanged": 0, "refused": 0}
    assert first["readings"] == {"added": 17, "repeated": 0}
    assert (first["rows_refused"], first["report"], err) == (0, None, "")
    state = stored(folder)
    again, _ = imported(folder, kind, file)
    assert again["sessions"] == {"created": 0, "changed": 0, "unchanged": 3, "refused": 0}
    assert again["readings"] == {"added": 0, "repeated": 17}
    assert stored(folder) == state
    assert stored(folder, "south") == {}
    falls, normal = state[f"{ending}-falls"], state[f"{ending}-normal"]
    assert (falls["categories"], falls["station"], falls["connector_id"]) == (["KWH_DECREASE"], "CP-1", "2")
    assert (normal["managed"], normal["version"], len(normal["readings"])) == (True, 1, 8)
    assert state[f"{ending}-short"]["status"] == "pending"


def test_the_verdicts_are_those_of_score(tmp_path: Path) -> None:
    make_tenants(tmp_path)
    simulated = ("simulate", "--stations", "2", "--days", "3", "--seed", "5", "--output", "fleet")
    assert finish(start(tmp_path, *simulated))[0] == 0
    summary, err = imported(tmp_path, "parquet", "fleet")
    assert [line.partition(":")[0] for line in err.splitlines()] == ["passed over"] * 2 + ["not imported"]
    readings = pq.read_table(tmp_path / "fleet" / "readings.parquet").drop_columns(["rated_power_kw"])
    pq.write_table(readings, tmp_path / "readings.parquet")
    assert finish(start(tmp_path, "score", "readings.parquet", "--output", "scores.parquet"))[0] == 0
    scores = pq.read_table(tmp_path / "scores.parquet").to_pylist()
    state = stored(tmp_path)
    assert summary["sessions"]["created"] == len(scores) == len(state)
    assert any(row["is_anomaly"] for row in scores)
    for row in scores:
        found = state[row["session_id"]]
        for name in ("is_anomaly", "anomaly_score", "anomaly_confidence"):
            assert found[name] == row[name], (row["session_id"], name)
        assert sorted(found["categories"]) == sorted(row["categories"])
    verified(tmp_path)


def test_a_log_and_cdrs(folder: Path) -> None:
    def frame(minute: int, action: str, **payload: object) -> str:
        return f'CP-7 [2,"{minute}","{action}",{json.dumps(payload)}]'

    def at(minute: int) -> str:
        return f"2026-03-04T10:{minute:02}:00Z"

    lines = [
        frame(0, "StartTransaction", connectorId=1, idTag="x", meterStart=100, timestamp=at(0)),
        'CP-7 [3,"0",{"transactionId":17,"idTagInfo":{"status":"Accepted"}}]',
        frame(1, "Heartbeat"),
        *(
            frame(
                minute,
                "MeterValues",
                connectorId=1,
                transactionId=17,
                meterValue=[{"timestamp": at(minute), "sampledValue": [{"value": str(100 * minute)}]}],
            )
            for minute in range(5, 30, 5)
        ),
        'CP-7 [2,"40","MeterValues",{"connec',
        frame(31, "StopTransaction", transactionId=17, meterStop=3000, timestamp=at(31)),
    ]
    (folder / "ocpp.log").write_text("\n".join(lines))
    summary, err = imported(folder, "ocpp-log", "ocpp.log", "--report", "log.csv")
    assert summary["sessions"] == {"created": 1, "changed": 0, "unchanged": 0, "refused": 0}
    assert summary["readings"] == {"added": 7, "repeated": 0}
    assert (summary["rows_refused"], summary["report"]) == (1, str(folder / "log.csv"))
    assert err == "ocpp.log: line 9: is not JSON\n"
    assert (folder / "log.csv").read_text().splitlines()[1] == "ocpp.log,,9,,is not JSON"
    before = stored(folder)
    assert imported(folder, "ocpp-log", "ocpp.log")[0]["sessions"]["unchanged"] == 1
    assert stored(folder) == before
    assert before["CP-7:17"]["station"] == "CP-7"
    assert failure(folder, "ocpi-cdrs", "ocpp.log", "--station", "x") == (
        1,
        "--station is not for ocpi-cdrs: each CDR names its own",
    )
    status, line = failure_with_lines(folder, "ocpi-cdrs", "ocpp.log")
    assert status == 1
    assert line.startswith("chargewatch: ocpp.log: nothing to import: all was refused, see ")


def failure_with_lines(folder: Path, kind: str, file: str) -> tuple[int, str]:
    status, out, err = finish(begin(folder, kind, file))
    assert out == ""
    return status, err.splitlines()[-1]


# What is refused


def test_what_is_refused_is_reported_and_costs_no_other(folder: Path) -> None:
    rows = [
        *[row | PLACE | {"connector_id": "9"} for row in charging("good", 4)],
        reading("good", 99, "x", **PLACE),
        *charging("nowhere", 2),
        *[row | PLACE for row in charging("a/b", 2)],
        reading("only-bad", 0, "", **PLACE),
    ]
    write(folder / "mixed.csv", rows)
    status, out, err = finish(begin(folder, "csv", "mixed.csv"))
    report = folder / "mixed.import-report.ndjson"
    assert status == 0
    assert out.splitlines() == [
        "sessions  1 created, 0 changed, 0 unchanged, 2 refused",
        "readings  4 added, 0 repeated",
        "refused   2 rows or lines",
        f"report    {report}",
    ]
    assert len(err.splitlines()) == 4
    refused = [json.loads(line) for line in report.read_text().splitlines()]
    assert {(r["row"], r["line"], r["session_id"]) for r in refused} == {
        (5, 6, None), (10, 11, None), (6, None, "nowhere"), (8, None, "a/b"),
    }  # fmt: skip
    summary, _ = imported(folder, "csv", "mixed.csv", "--station", "CP-5", "--report", "again.jsonl")
    assert summary["sessions"] == {"created": 1, "changed": 0, "unchanged": 1, "refused": 1}
    assert stored(folder)["nowhere"]["station"] == "CP-5"
    assert len((folder / "again.jsonl").read_text().splitlines()) == 3


def test_one_line_for_what_cannot_be_done(folder: Path) -> None:
    write(folder / "no-station.csv", charging("a", 3))
    write(folder / "labels.csv", [{"session_id": "a"}])
    write(folder / "bad.csv", [reading("a", 0, "x", **PLACE)])
    assert failure(folder, "csv", "no-station.csv") == (
        1,
        "no-station.csv: there is no column station_id; --station names the station of all sessions",
    )
    assert failure(folder, "csv", "labels.csv")[1].startswith("labels.csv: no column timestamp, value")
    assert failure(folder, "csv", "none.csv") == (1, "none.csv: no such file or folder")
    assert failure(folder, "csv", "no-station.csv", "--station", "a/b")[0] == 2
    assert failure(folder, "csv", "bad.csv", "--report", "r.txt")[0] == 2
    status, line = failure_with_lines(folder, "csv", "bad.csv")
    assert (status, line.partition(", see ")[0]) == (
        1,
        "chargewatch: bad.csv: nothing to import: all was refused",
    )
    status, _, err = finish(
        start(folder, "import", "csv", "bad.csv", "--tenant", "nobody", "--data-dir", folder / "data")
    )
    assert (status, err) == (
        1,
        "chargewatch: there is no tenant 'nobody'; `chargewatch tenant create NAME` makes one\n",
    )


# Beside a running service


def test_beside_a_running_service(tmp_path: Path) -> None:
    service = Service(tmp_path / "data")
    try:
        write(tmp_path / "r.csv", ROWS)
        status, out, err = finish(
            start(tmp_path, "import", "csv", "r.csv", "--tenant", "default", "--data-dir", tmp_path / "data")
        )
        assert (status, err) == (0, "")
        assert out.startswith("sessions  3 created")
        found = service.client.get("/v1/sessions/falls").json()
        assert [anomaly["category"] for anomaly in found["anomalies"]] == ["KWH_DECREASE"]
        assert service.client.get("/v1/sessions", params={"status": "all"}).json()["total"] == 3
    finally:
        assert service.stop() == 0


# Being stopped and being killed

SESSIONS = 360
REFUSED = 4
BAD_ROWS = 8


class Case(NamedTuple):
    """How rows stand in the file, and what happens to imports of it."""

    scattered: bool
    seed: int
    signal: signal.Signals
    status: int


CASES = (Case(False, 1, signal.SIGINT, 130), Case(True, 2, signal.SIGTERM, 143))


class Whole(NamedTuple):
    """What an import leaves that nobody stopped."""

    case: Case
    file: Path
    state: dict[str, dict[str, Any]]
    report: str


def _history(path: Path, *, scattered: bool) -> Path:
    """A file with sessions of four connectors, normal and anomalous ones, and with what is refused."""
    rng = random.Random(20260301)
    rows: list[dict[str, object]] = []
    for number in range(SESSIONS):
        place = {"station_id": f"CP-{number % 2}", "connector_id": str(number % 3)}
        name, shift = f"s-{number}", 60 * (number // 4) + rng.randint(0, 20)
        values = [1000 + 500 * i for i in range(8)]
        if rng.random() < 0.2:
            values[4:] = [value - 1900 for value in values[4:]]
        rows += [reading(name, shift + 5 * i, float(value), **place) for i, value in enumerate(values)]
        if number % 50 == 7:
            rows.append(reading(name, shift + 99, "x", **place))
        if number % 90 == 8:
            rows.append(reading(name, shift + 98, 1.0, **place | {"connector_id": "elsewhere"}))
    if scattered:
        rng.shuffle(rows)
    return write(path, rows)


@pytest.fixture(scope="module", params=CASES, ids=["in one piece", "scattered"])
def whole(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Whole:
    folder = make_tenants(tmp_path_factory.mktemp("whole"))
    file = _history(folder / "history.csv", scattered=request.param.scattered)
    summary, _ = imported(folder, "csv", file, "--concurrency", "5")
    assert summary["sessions"]["created"] == SESSIONS - REFUSED
    assert summary["sessions"]["refused"] == REFUSED
    assert summary["rows_refused"] == BAD_ROWS
    state = stored(folder)
    assert sum(row["is_recurring"] is True for row in state.values()) > 10
    return Whole(request.param, file, state, (folder / "history.import-report.ndjson").read_text())


def progress_of(folder: Path) -> Progress | None:
    for path in (folder / "data" / "imports").glob("*/progress.json"):
        return msgspec.json.decode(path.read_bytes(), type=Progress)
    return None


def wait_for(folder: Path, process: subprocess.Popen[str], done: int) -> bool:
    """Waits until an import has come so far; False when it has ended."""
    deadline = time.monotonic() + PATIENCE_S
    while process.poll() is None:
        assert time.monotonic() < deadline
        progress = progress_of(folder)
        if progress is not None and progress.done >= done:
            return True
        time.sleep(0.01)
    return False


@pytest.fixture
def fresh(tmp_path: Path) -> Path:
    return make_tenants(tmp_path)


def killed(process: subprocess.Popen[str]) -> None:
    """Kills an import, and with it the database that it started."""
    os.killpg(process.pid, signal.SIGKILL)
    process.communicate()


def test_a_killed_import_goes_on_to_the_same_end(fresh: Path, whole: Whole) -> None:
    rng = random.Random(whole.case.seed)
    kills = done = 0
    while kills < 3:
        process = begin(fresh, "csv", whole.file, "--concurrency", str(rng.randint(2, 16)))
        done = rng.randint(done, SESSIONS * (kills + 1) // 4)
        if not wait_for(fresh, process, done):
            process.communicate()
            break
        time.sleep(rng.uniform(0, 0.1))
        killed(process)
        kills += 1
    assert kills, "the rounds were too short to say anything"
    progress = progress_of(fresh)
    assert progress is not None
    assert progress.done >= done
    summary, err = imported(fresh, "csv", whole.file)
    if progress.done:
        assert f"goes on after {progress.sessions} sessions; --restart begins anew" in err.splitlines()
    expected = {"created": SESSIONS - REFUSED, "changed": 0, "unchanged": 0, "refused": REFUSED}
    assert summary["sessions"] == expected
    assert summary["rows_refused"] == BAD_ROWS
    assert stored(fresh) == whole.state
    assert (fresh / "history.import-report.ndjson").read_text() == whole.report
    assert stored(fresh, "south") == {}
    assert [path.name for path in (fresh / "data" / "imports").rglob("*") if path.is_file()] == ["lock"]
    verified(fresh)


def test_a_stopped_import_says_how_to_go_on_and_can_begin_anew(fresh: Path, whole: Whole) -> None:
    process = begin(fresh, "csv", whole.file, "--concurrency", "2")
    assert wait_for(fresh, process, 20)
    os.killpg(process.pid, whole.case.signal)
    status, out, err = finish(process)
    assert (status, out) == (whole.case.status, "")
    progress = progress_of(fresh)
    assert progress is not None
    assert err.splitlines()[-1] == (
        f"chargewatch: interrupted after {progress.sessions} of {SESSIONS} sessions;"
        " the same command goes on from there"
    )
    assert len(stored(fresh)) == progress.sessions
    assert not (fresh / "history.import-report.ndjson").exists()
    summary, err = imported(fresh, "csv", whole.file, "--restart")
    assert "goes on after" not in err
    assert summary["sessions"]["unchanged"] == progress.sessions
    assert summary["sessions"]["created"] == SESSIONS - REFUSED - progress.sessions
    assert stored(fresh) == whole.state
