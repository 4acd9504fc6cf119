"""The thresholds of the tenants for whom this process is judging: read about once a second, not for every push."""

import asyncio
import time
from collections import OrderedDict
from collections.abc import Callable
from contextvars import Context
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from chargewatch.domain.limits import thresholds_of_stored
from chargewatch.domain.thresholds import DEFAULT_THRESHOLDS, Thresholds
from chargewatch.server.db.connection import Connection
from chargewatch.server.db.engine import Database
from chargewatch.server.db.patience import counted
from chargewatch.server.thresholds import repository

#: How long they are taken to be still the same: a change is in force everywhere within two seconds.
TRUSTED_S: Final = 1.0
#: Tenants that are remembered at once; the one that was read longest ago goes first.
MOST_TENANTS: Final = 10_000

_decode: Final = msgspec.json.Decoder(dict[str, float]).decode


class _Remembered(NamedTuple):
    thresholds: Thresholds
    until: float
    """Of the clock."""


class KnownThresholds:
    """What one process knows of the tenants' thresholds.

    Calls of a tenant whose thresholds are just being read wait for that: when the database is slow, reading them must
    not be what keeps it busy.
    """

    def __init__(self, database: Database, clock: Callable[[], float] = time.monotonic) -> None:
        self._database = database
        self._clock = clock
        self._remembered: OrderedDict[UUID, _Remembered] = OrderedDict()
        self._under_way: dict[UUID, asyncio.Task[Thresholds]] = {}

    async def of(self, tenant_id: UUID, connection: Connection | None = None) -> Thresholds:
        """Returns a tenant's thresholds.

        Args:
            tenant_id: whose.
            connection: the tenant's transaction that the caller holds already. Within one no other connection may be
                waited for: when all of them are in use, everybody would wait for everybody.

        Raises:
            DatabaseUnavailable: they cannot be read now.
        """
        remembered = self._remembered.get(tenant_id)
        if remembered is not None and self._clock() < remembered.until:
            return remembered.thresholds
        if connection is not None:
            asked_at = self._clock()
            row = await repository.newest(connection, tenant_id)
            return self._remember(tenant_id, asked_at, None if row is None else row["changes"])
        reading = self._under_way.get(tenant_id)
        if reading is None:
            # in a context of its own: it is no part of the call that happens to begin it
            reading = asyncio.create_task(self._read(tenant_id), context=Context())
            self._under_way[tenant_id] = reading
            reading.add_done_callback(lambda _: self._under_way.pop(tenant_id))
        with counted():
            return await asyncio.shield(reading)  # a call that ends meanwhile does not end it for the others

    def forget(self, tenant_id: UUID) -> None:
        """Has them read anew: they were changed."""
        self._remembered.pop(tenant_id, None)

    async def _read(self, tenant_id: UUID) -> Thresholds:
        asked_at = self._clock()
        changes = await repository.newest_changes(self._database, tenant_id)
        return self._remember(tenant_id, asked_at, changes)

    def _remember(self, tenant_id: UUID, asked_at: float, changes: str | None) -> Thresholds:
        thresholds = DEFAULT_THRESHOLDS if changes is None else thresholds_of_stored(_decode(changes))
        self._remembered.pop(tenant_id, None)
        self._remembered[tenant_id] = _Remembered(thresholds, asked_at + TRUSTED_S)
        while len(self._remembered) > MOST_TENANTS:
            self._remembered.popitem(last=False)
        return thresholds
