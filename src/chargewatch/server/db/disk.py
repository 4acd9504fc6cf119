"""Room on the disk of the embedded database: writing ends while there is still enough for what was acknowledged.

A database that runs out of space for its log stops altogether and cannot start again. So a part of the disk is a
reserve: below it calls that store are refused and those that read go on, until there is room again.
"""

import asyncio
import shutil
from pathlib import Path
from typing import Final

import structlog

#: No more than this is kept free, however large the disk, and no less: the log grows by files of 16 MiB.
MOST_RESERVED_BYTES: Final = 1024**3
LEAST_RESERVED_BYTES: Final = 3 * 16 * 1024**2

_log = structlog.get_logger(__name__)


def reserved_bytes(total_bytes: float, percent: float) -> float:
    """How much of a disk of that size is to stay free."""
    return max(LEAST_RESERVED_BYTES, min(total_bytes * percent / 100, MOST_RESERVED_BYTES))


def is_short(folder: Path, percent: float) -> bool:
    """Whether less than the reserve is free on the disk of a folder. May block: a disk can be slow to say."""
    usage = shutil.disk_usage(folder)
    return usage.free < reserved_bytes(usage.total, percent)


class DiskWatch:
    """Looks at the disk of a folder from time to time.

    Args:
        folder: any on the disk.
        percent: the reserve.
        every_s: how often to look.
    """

    def __init__(self, folder: Path, percent: float, every_s: float) -> None:
        self.short = False
        """Whether writing must wait for room."""
        self._folder = folder
        self._percent = percent
        self._every_s = every_s

    async def keep(self) -> None:
        """Looks until cancelled."""
        while True:
            await self._look()
            await asyncio.sleep(self._every_s)

    async def _look(self) -> None:
        try:
            short = await asyncio.to_thread(is_short, self._folder, self._percent)
        except OSError as problem:  # the database itself will say more
            _log.warning("disk_unknown", reason=problem.strerror)
            return
        if short and not self.short:
            _log.error("disk_full", folder=str(self._folder), reserve_percent=self._percent)
        elif self.short and not short:
            _log.warning("disk_has_room", folder=str(self._folder))
        self.short = short
