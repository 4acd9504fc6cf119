"""A database that initdb has made, once a process of the suite, to copy: that takes a second, and a copy takes none.

Roles, schema and first key are still made by the service that is started on it.
"""

import atexit
import functools
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

from chargewatch.server.db.address import state_folder
from chargewatch.server.db.embedded import EmbeddedPostgres
from chargewatch.server.settings import load_settings


def put_into(data_dir: Path) -> None:
    """Makes the data folder with a copy in it; one that is there already, if only empty, stays as it is."""
    if data_dir.exists() or sys.platform == "win32":
        return
    data_dir.mkdir(mode=0o700)
    subprocess.run(["cp", "-a", _made(), _postgres_of(data_dir)], check=True)


@functools.cache
def _made() -> Path:
    folder = Path(tempfile.mkdtemp(prefix="cw-made-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    postgres = EmbeddedPostgres(folder / "postgres")
    postgres.start()
    postgres.stop()
    return folder / "postgres"


def _postgres_of(data_dir: Path) -> Path:
    return state_folder(load_settings({"data_dir": data_dir}, environ={}, dotenv=None))
