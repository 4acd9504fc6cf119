"""The reserve on the disk of the embedded database, and how its log is fitted to the disk."""

import asyncio
from pathlib import Path
from typing import NamedTuple

import pytest
import structlog

from chargewatch.server.db import disk
from chargewatch.server.db.disk import DiskWatch, is_short, reserved_bytes
from chargewatch.server.db.embedded import log_settings
from tests.patience import until

MIB = 1024**2
GIB = 1024**3


@pytest.mark.parametrize(
    ("total", "percent", "reserve"),
    [
        (220 * MIB, 5, 48 * MIB),  # never less than three files of the log
        (10 * GIB, 5, 0.5 * GIB),
        (10 * GIB, 1, 0.1 * GIB),
        (10_000 * GIB, 5, GIB),  # nor more than anybody needs
    ],
)
def test_the_reserve_is_a_share_within_bounds(total: int, percent: float, reserve: float) -> None:
    assert reserved_bytes(total, percent) == pytest.approx(reserve)


@pytest.mark.parametrize(
    ("total", "most", "kept"),
    [
        (100 * MIB, 32, 32),
        (220 * MIB, 32, 32),
        (1 * GIB, 128, 80),
        (8 * GIB, 1024, 80),
        (999 * GIB, 1024, 80),
    ],
)
def test_the_log_is_fitted_to_the_disk(total: int, most: int, kept: int) -> None:
    assert log_settings(total) == {"max_wal_size": f"{most}MB", "min_wal_size": f"{kept}MB"}


class Usage(NamedTuple):
    total: int
    used: int
    free: int


class Disk:
    """A disk of 1 GiB with as much free as a test says."""

    free = GIB
    broken = False
    asked = 0

    def usage(self, folder: Path) -> Usage:
        self.asked += 1
        if self.broken:
            raise OSError(5, "Input/output error")
        return Usage(GIB, GIB - self.free, self.free)


@pytest.fixture
def small_disk(monkeypatch: pytest.MonkeyPatch) -> Disk:
    found = Disk()
    monkeypatch.setattr(disk.shutil, "disk_usage", found.usage)
    return found


def test_short_is_less_than_the_reserve(small_disk: Disk, tmp_path: Path) -> None:
    reserve = int(reserved_bytes(GIB, 5))
    small_disk.free = reserve + 1
    assert not is_short(tmp_path, 5)
    small_disk.free = reserve - 1
    assert is_short(tmp_path, 5)


def test_the_watch_follows_and_says_so_once(small_disk: Disk, tmp_path: Path) -> None:
    async def story() -> list[bool]:
        watch = DiskWatch(tmp_path, 5, 0.002)
        task = asyncio.create_task(watch.keep())
        seen = []
        for free, broken in ((GIB, False), (0, False), (0, True), (GIB, False)):
            small_disk.free, small_disk.broken = free, broken
            before = small_disk.asked
            # it has made up its mind after the first of them
            await until(lambda before=before: small_disk.asked >= before + 2)  # type: ignore[misc]
            seen.append(watch.short)
        task.cancel()
        await asyncio.gather(task, return_exceptions=True)
        return seen

    with structlog.testing.capture_logs() as log:
        assert asyncio.run(story()) == [False, True, True, False]
    told = [line["event"] for line in log if line["event"] != "disk_unknown"]
    assert told == ["disk_full", "disk_has_room"]
