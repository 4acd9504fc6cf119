"""Folders of the embedded PostgreSQL, and launchers and servers that end with their test."""

import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from chargewatch.server.db.embedded import (
    EmbeddedPostgres,
)
from tests.integration.embedded.launcher import Launcher


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
    with ExitStack() as in_the_end:

        def start(*args: Any, **kwargs: Any) -> Launcher:
            launcher = Launcher(*args, **kwargs)
            in_the_end.callback(launcher.clear_away)
            return launcher

        yield start


@pytest.fixture
def start() -> Iterator[Callable[[Path], EmbeddedPostgres]]:
    """Starts a server in this process; it is stopped in the end."""
    with ExitStack() as in_the_end:

        def begin(state: Path) -> EmbeddedPostgres:
            postgres = EmbeddedPostgres(state)
            in_the_end.callback(postgres.stop)
            postgres.start()
            return postgres

        yield begin
