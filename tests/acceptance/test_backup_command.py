"""``backup`` and ``restore`` as processes: beside a busy service, in all directions, interrupted, and the how-to."""

import asyncio
import json
import os
import re
import resource
import secrets
import shutil
import signal
import stat
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit, urlunsplit

import pytest

from chargewatch.server.db.address import embedded_address, quoted, state_folder
from chargewatch.server.db.connection import Login, connected
from chargewatch.server.db.embedded import running_dsn
from chargewatch.server.db.secret_key import load_secret_key
from chargewatch.server.settings import Secret, load_settings
from tests.acceptance.test_serve import Service, eventually, serving
from tests.acceptance.test_survival import Pusher
from tests.patience import PATIENCE_S

SERVER_URL = "CHARGEWATCH_TEST_DATABASE_URL"
PROGRAM = "from chargewatch.cli.app import main; main()"
HOW_TO = Path(__file__).parents[2] / "docs" / "howto" / "back-up.md"

#: A restore that stops for ever when all rows are there and nothing is committed.
HANGING = """
import time
from chargewatch.server.db.backups import restore
async def hang(*arguments):
    print("hanging", flush=True)
    time.sleep(3600)
restore._set = hang
"""


def plain(**settings: str | Path) -> dict[str, str]:
    """This machine's environment with these settings only."""
    kept = {name: text for name, text in os.environ.items() if not name.startswith("CHARGEWATCH_")}
    return kept | {f"CHARGEWATCH_{name}": str(text) for name, text in settings.items()}


def start(*arguments: str | Path, program: str = PROGRAM, **settings: str | Path) -> "subprocess.Popen[str]":
    return subprocess.Popen(
        [sys.executable, "-c", program, *map(str, arguments)],
        env=plain(**settings),
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


def chargewatch(*arguments: str | Path, said: str = "", **settings: str | Path) -> Any:
    """The one JSON object that a command prints."""
    process = start(*arguments, "--json", **settings)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert process.returncode == 0, err
    assert re.fullmatch(said, err), err
    return json.loads(out)


def refusal(*arguments: str | Path, **settings: str | Path) -> tuple[int, str]:
    """Exit status and the one line of a command that fails."""
    process = start(*arguments, **settings)
    out, err = process.communicate(timeout=PATIENCE_S)
    assert out == ""
    assert re.fullmatch(r"chargewatch: [^\n]+\n", err), err
    return process.returncode, err


OTHER_KEY = r"chargewatch: this installation's secret key is not the one of the backup: .*\n"


def pushed(service: Service, sessions: int) -> dict[str, Any]:
    """The answers of some sessions, pushed now."""
    for n in range(sessions):
        assert service.post(f"s-{n}", readings=3 + n).status_code == 200
    return answers(service)


def answers(service: Service) -> dict[str, Any]:
    """Every session as the service tells it."""
    listed = service.client.get("/v1/sessions", params={"status": "all", "page_size": 100}).json()
    ids = [item["external_session_id"] for item in listed["items"]]
    return {name: service.client.get(f"/v1/sessions/{name}?raw=true").json() for name in ids}


@pytest.fixture(scope="module")
def source(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A data folder with two tenants, at rest."""
    folder = tmp_path_factory.mktemp("source") / "data"
    with serving(folder) as service:
        pushed(service, 5)
        chargewatch("tenant", "create", "south", "--data-dir", folder)
    return folder


@pytest.fixture(scope="module")
def taken(source: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("taken") / "backup"
    chargewatch("backup", path, "--data-dir", source)
    return path


# --- round trips -------------------------------------------------------------------------------------------


def test_beside_a_busy_service(tmp_path: Path) -> None:
    folder, names = tmp_path / "data", [f"busy-{n}" for n in range(4)]
    with serving(folder) as service:
        kept = pushed(service, 3)
        for name in names:
            service.client.post("/v1/sessions", json={"session_id": name, "charging_station_id": "CP-1"})
        pushers = [Pusher(service, name, 0) for name in names]
        for pusher in pushers:
            pusher.start()
        assert eventually(lambda: all(len(pusher.acknowledged) > 5 for pusher in pushers))
        before = [len(pusher.acknowledged) for pusher in pushers]
        made = chargewatch("backup", tmp_path / "busy", "--data-dir", folder)
        for pusher in pushers:
            pusher.over.set()
            pusher.join(PATIENCE_S)
    after = [len(pusher.acknowledged) for pusher in pushers]
    assert all(late > early for early, late in zip(before, after, strict=True)), "nobody was held up"
    assert made["rows"]["sessions"] == 7
    assert stat.S_IMODE((tmp_path / "busy").stat().st_mode) == 0o600
    restored = chargewatch("restore", tmp_path / "busy", "--data-dir", tmp_path / "new", said=OTHER_KEY)
    assert restored["rows"] == made["rows"]
    with serving(tmp_path / "new") as service:  # with the key of the old one
        there = answers(service)
        for name, early, late in zip(names, before, after, strict=True):
            values = [int(value["value"]) for value in there.pop(name)["meter_values"]]
            assert values == list(range(len(values))), "a push is there wholly or not at all, in order"
            assert early <= len(values) <= late
        assert there == kept
        assert service.post("more").status_code == 200


@pytest.fixture(scope="module")
def make_database() -> Iterator[Callable[[], str]]:
    """Makes empty databases of an ordinary user on the server that the tests are given; returns their URLs."""
    url = os.environ.get(SERVER_URL)
    if not url:
        pytest.skip(f"no PostgreSQL server: {SERVER_URL} is not set")
    made: list[str] = []

    async def execute(*statements: str) -> None:
        async with connected(Login(address=Secret(url))) as administrator:
            for statement in statements:
                await administrator.execute(statement)

    def make() -> str:
        name = f"cw_backup_{secrets.token_hex(4)}"
        made.append(name)
        create = f"CREATE ROLE {name}_user LOGIN CREATEROLE PASSWORD 'pw'"
        asyncio.run(execute(create, f"CREATE DATABASE {name} OWNER {name}_user"))
        place = urlsplit(url)
        return urlunsplit(
            place._replace(netloc=f"{name}_user:pw@{place.netloc.rpartition('@')[2]}", path=f"/{name}")
        )

    yield make
    drops = [f"DROP DATABASE {name} WITH (FORCE)" for name in made]
    roles = [quoted(name + suffix) for name in made for suffix in ("_app", "_directory", "_user")]
    asyncio.run(execute(*drops, *(f"DROP ROLE IF EXISTS {role}" for role in roles)))


def test_from_embedded_to_a_server_to_another_and_back(
    source: Path, taken: Path, tmp_path: Path, make_database: Callable[[], str]
) -> None:
    first = {"DATABASE_URL": make_database(), "DATA_DIR": tmp_path / "one"}
    second = {"DATABASE_URL": make_database(), "DATA_DIR": tmp_path / "two"}
    chargewatch("restore", taken, said=OTHER_KEY, **first)
    made = chargewatch("backup", tmp_path / "first", **first)
    chargewatch("migrate", **second)
    chargewatch("restore", tmp_path / "first", said=OTHER_KEY, **second)
    assert chargewatch("backup", tmp_path / "second", **second)["rows"] == made["rows"]
    restored = chargewatch("restore", tmp_path / "second", "--data-dir", tmp_path / "back", said=OTHER_KEY)
    assert restored["rows"] == made["rows"]
    with serving(source) as service:
        before = answers(service)
    with serving(tmp_path / "back") as service:
        assert answers(service) == before
    assert len(before) == 5
    status, said = refusal("restore", taken, **first)
    assert (status, "the database is not empty" in said) == (1, True)


def test_with_the_secret_key(source: Path, tmp_path: Path) -> None:
    chargewatch("backup", tmp_path / "with", "--with-secret-key", "--data-dir", source)
    chargewatch("restore", tmp_path / "with", "--data-dir", tmp_path / "new")
    key = tmp_path / "new" / "secret_key"
    assert key.read_text() == (source / "secret_key").read_text()
    assert stat.S_IMODE(key.stat().st_mode) == 0o600


def test_another_secret_key_is_not_replaced(source: Path, tmp_path: Path) -> None:
    chargewatch("backup", tmp_path / "with", "--with-secret-key", "--data-dir", source)
    (tmp_path / "new").mkdir(mode=0o700)
    key = tmp_path / "new" / "secret_key"
    key.touch(0o600)
    key.write_text("another key of at least 32 characters")
    status, said = refusal("restore", tmp_path / "with", "--data-dir", tmp_path / "new")
    assert (status, "holds another secret key than the backup" in said) == (2, True)
    assert key.read_text() == "another key of at least 32 characters"
    other = {"SECRET_KEY": "yet another key of 32 characters!"}
    status, said = refusal("restore", tmp_path / "with", "--data-dir", tmp_path / "newer", **other)
    assert (status, "CHARGEWATCH_SECRET_KEY holds another secret key" in said) == (2, True)
    assert not (tmp_path / "newer" / "postgres").exists()


# --- what is refused ---------------------------------------------------------------------------------------


def test_nothing_to_back_up(tmp_path: Path) -> None:
    status, said = refusal("backup", tmp_path / "file", "--data-dir", tmp_path / "mistyped")
    assert (status, "mistyped holds no database" in said) == (1, True)
    assert list(tmp_path.iterdir()) == []


def test_a_file_that_is_there(source: Path, taken: Path, tmp_path: Path) -> None:
    path = shutil.copy(taken, tmp_path / "monday")
    status, said = refusal("backup", path, "--data-dir", source)
    assert (status, "monday exists already" in said) == (1, True)
    assert path.read_bytes() == taken.read_bytes()
    chargewatch("backup", path, "--force", "--data-dir", source)


def test_files_that_cannot_be_restored(taken: Path, tmp_path: Path) -> None:
    damaged = tmp_path / "damaged"
    whole = bytearray(taken.read_bytes())
    for content, what in [
        (whole[:-100], "not the whole of one"),
        (b"text", "is no backup"),
        (whole, "is damaged"),
    ]:
        whole[len(whole) // 2] ^= 1
        damaged.write_bytes(content)
        status, said = refusal("restore", damaged, "--data-dir", tmp_path / "new")
        assert (status, what in said) == (1, True), said
    status, said = refusal("restore", tmp_path / "missing", "--data-dir", tmp_path / "new")
    assert (status, "No such file" in said) == (1, True)
    assert not (tmp_path / "new").exists(), "nothing was made for it"


def test_a_folder_in_use(source: Path, taken: Path) -> None:
    with serving(source) as service:
        status, said = refusal("restore", taken, "--data-dir", source)
        assert (status, "in use by another chargewatch" in said) == (1, True)
        assert service.client.get("/v1/sessions/s-1").status_code == 200
    status, said = refusal("restore", taken, "--data-dir", source)
    assert (status, "the database is not empty" in said) == (1, True)


def test_a_full_disk(source: Path, tmp_path: Path) -> None:
    """A limit on the size of files does to a process what a full disk does."""
    with serving(source):  # else the limit would be the database's, too
        process = subprocess.run(
            [sys.executable, "-c", PROGRAM, "backup", tmp_path / "large", "--data-dir", source],
            env=plain(),
            capture_output=True,
            text=True,
            preexec_fn=lambda: resource.setrlimit(resource.RLIMIT_FSIZE, (1000, 1000)),
        )
    assert process.returncode == 1
    assert re.fullmatch(
        r"chargewatch: cannot write \S+: File too large; no backup was made: .*\n", process.stderr
    )
    assert list(tmp_path.iterdir()) == []


# --- interrupted -------------------------------------------------------------------------------------------


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
def test_an_interrupted_backup_leaves_nothing(source: Path, tmp_path: Path, number: int) -> None:
    settings = load_settings({"data_dir": source}, environ={}, dotenv=None)

    async def interrupted_while_it_waits() -> tuple[int, str]:
        superuser = running_dsn(state_folder(settings))
        assert superuser is not None
        async with connected(embedded_address(superuser, load_secret_key(settings)).owner) as owner:
            await owner.execute("BEGIN; LOCK TABLE sessions IN ACCESS EXCLUSIVE MODE")
            process = start("backup", tmp_path / "late", "--data-dir", source)
            assert await asyncio.to_thread(eventually, lambda: any(tmp_path.iterdir()))
            process.send_signal(number)
            _, err = await asyncio.to_thread(process.communicate, timeout=PATIENCE_S)
            return process.returncode, err

    with serving(source):
        status, said = asyncio.run(interrupted_while_it_waits())
    assert (status, said) == (130, "chargewatch: interrupted; no backup was made\n")
    assert list(tmp_path.iterdir()) == []


def test_a_killed_restore_can_be_run_again(source: Path, taken: Path, tmp_path: Path) -> None:
    process = start("restore", taken, "--data-dir", tmp_path / "new", program=HANGING + PROGRAM)
    assert process.stdout is not None
    assert process.stdout.readline() == "hanging\n"
    process.kill()
    process.communicate()
    chargewatch("restore", taken, "--data-dir", tmp_path / "new", said=OTHER_KEY)
    with serving(source) as service:
        before = answers(service)
    with serving(tmp_path / "new") as service:
        assert answers(service) == before


# --- the how-to --------------------------------------------------------------------------------------------


def commands(heading: str) -> list[str]:
    """The commands of a part of the how-to, word for word."""
    (part,) = [part for part in HOW_TO.read_text().split("\n## ") if part.startswith(heading + "\n")]
    return [line for block in re.findall(r"```sh\n(.*?)```", part, re.DOTALL) for line in block.splitlines()]


@pytest.fixture
def shell(tmp_path: Path) -> Callable[[str], str]:
    """Runs a line where the data folder is ``.chargewatch``, as it is by default."""
    programs = tmp_path / "bin"
    programs.mkdir()
    program = programs / "chargewatch"
    program.write_text(f"#!{sys.executable}\n{PROGRAM}\n")
    program.chmod(0o755)
    path = f"{programs}{os.pathsep}{os.environ['PATH']}"

    def run(line: str) -> str:
        done = subprocess.run(
            line, shell=True, cwd=tmp_path, env=plain() | {"PATH": path}, capture_output=True, text=True
        )
        assert done.returncode == 0, done.stderr
        return done.stdout

    return run


def test_the_how_to_word_for_word(tmp_path: Path, shell: Callable[[str], str]) -> None:
    with serving(tmp_path / ".chargewatch") as service:
        before = pushed(service, 3)
        lines = commands("Take a backup")
        assert len(lines) == 2
        for line in lines:
            assert "backed up to monday" in shell(line)
    restore, serve = commands("Restore it")
    assert "restored from monday.backup; the database is at schema" in shell(restore)
    assert serve.startswith("chargewatch serve ")
    with serving(tmp_path / serve.split()[-1]) as service:
        assert answers(service) == before
    (look,) = commands("Look into it")
    manifest = json.loads(shell(look) if shutil.which("unzip") else _unzipped(tmp_path / look.split()[2]))
    assert {table["name"]: table["rows"] for table in manifest["tables"]}["sessions"] == 3


def _unzipped(path: Path) -> str:
    code = f"import sys, zipfile; sys.stdout.write(zipfile.ZipFile({str(path)!r}).read('manifest.json').decode())"
    return subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout


def test_the_how_to_on_a_server(taken: Path, tmp_path: Path, make_database: Callable[[], str]) -> None:
    (line,) = commands("Restore it onto a PostgreSQL server")
    shutil.copy(taken, tmp_path / line.split()[2])
    arguments = line.split()[1:]
    process = subprocess.run(
        [sys.executable, "-c", PROGRAM, *arguments],
        cwd=tmp_path,
        env=plain(DATABASE_URL=make_database()),
        capture_output=True,
        text=True,
    )
    assert process.returncode == 0, process.stderr
    assert "restored from monday.backup" in process.stdout


def test_its_messages_are_those_of_the_program() -> None:
    """Each message of the how-to's table is in the program's source."""
    source = "".join(
        path.read_text()
        for path in (HOW_TO.parents[2] / "src" / "chargewatch" / "server" / "db").rglob("*.py")
    )
    rows = re.findall(r"^\| `(.*?)` \|", HOW_TO.read_text(), re.MULTILINE)
    assert len(rows) == 9
    for row in rows:
        for part in re.split("…|: No space left on device", row):
            assert part.strip(" ,:") in source.replace('"\n            f"', ""), part
