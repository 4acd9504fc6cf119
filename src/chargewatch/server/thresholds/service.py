"""Reading and changing the thresholds of a tenant: for the HTTP API and for the command line.

Only what differs from the defaults is stored, so that a default that a later release improves reaches everybody who
never chose another value. A session keeps its verdict until it is judged again.
"""

from collections.abc import Awaitable, Callable, Container, Mapping
from datetime import datetime
from typing import Final, NamedTuple
from uuid import UUID

import msgspec

from chargewatch.domain.limits import checked, default_of, thresholds_of_stored
from chargewatch.domain.thresholds import Thresholds
from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database
from chargewatch.server.thresholds import repository
from chargewatch.server.thresholds.memory import KnownThresholds

#: The version of a tenant that never changed anything.
FIRST_VERSION: Final = 1

_decode: Final = msgspec.json.Decoder(dict[str, float]).decode


class ThresholdsMovedOn(Exception):
    """The thresholds are at none of the versions that the caller asked for."""


class StoredThresholds(NamedTuple):
    """The thresholds of a tenant: what differs from the defaults, since when, and who changed it last.

    ``changed_by`` is an API key's id; None with a time: the command line.
    """

    version: int
    changes: Mapping[str, float]
    changed_by: UUID | None
    changed_at: datetime | None

    @property
    def effective(self) -> Thresholds:
        """What judging uses."""
        return thresholds_of_stored(self.changes)


#: Runs in the transaction of a change, before it is committed, with what the change leaves behind.
Sealing = Callable[[Connection, StoredThresholds], Awaitable[None]]


class ThresholdService:
    """The calls on the thresholds of any tenant."""

    def __init__(self, database: Database, known: KnownThresholds) -> None:
        self._database = database
        self._known = known

    async def get(self, tenant_id: UUID) -> StoredThresholds:
        """Returns what is in force."""
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            return await read(connection, tenant_id)

    async def change(
        self,
        tenant_id: UUID,
        values: Mapping[str, float | None],
        changed_by: UUID,
        expected_versions: Container[int] | None = None,
        sealing: Sealing | None = None,
    ) -> StoredThresholds:
        """Gives limits other values; None means the default. Limits that are not named stay.

        Every process judges by them within two seconds; this one at once, unless it is just reading the old ones.

        Raises:
            ThresholdError: there is no such limit, or it cannot have the value.
            ThresholdsMovedOn: they are at none of the expected versions.
        """

        async def work(connection: Connection) -> StoredThresholds:
            stored = await change(connection, tenant_id, values, changed_by, expected_versions)
            if sealing is not None:
                await sealing(connection, stored)
            return stored

        stored = await self._database.in_tenant_transaction(tenant_id, work)
        self._known.forget(tenant_id)
        return stored


async def read(connection: Connection, tenant_id: UUID) -> StoredThresholds:
    """Returns what is in force, in a transaction of the tenant."""
    row = await repository.newest(connection, tenant_id)
    return StoredThresholds(FIRST_VERSION, {}, None, None) if row is None else _stored(row)


async def change(
    connection: Connection,
    tenant_id: UUID,
    values: Mapping[str, float | None],
    changed_by: UUID | None,
    expected_versions: Container[int] | None = None,
) -> StoredThresholds:
    """Does what `ThresholdService.change` says, in a transaction of the tenant; ``changed_by`` None: the command line.

    What changes nothing makes no version.
    """
    wanted = {
        name: default_of(name) if value is None else checked(name, value) for name, value in values.items()
    }
    await repository.lock(connection, tenant_id)
    before = await read(connection, tenant_id)
    if expected_versions is not None and before.version not in expected_versions:
        raise ThresholdsMovedOn
    # What a newer program has stored under a name that is unknown here stays.
    after = {
        name: value
        for name, value in {**before.changes, **wanted}.items()
        if name not in wanted or value != default_of(name)
    }
    if after == before.changes:
        return before
    return _stored(await repository.insert(connection, tenant_id, before.version + 1, after, changed_by))


def _stored(row: Row) -> StoredThresholds:
    return StoredThresholds(row["version"], _decode(row["changes"]), row["changed_by"], row["changed_at"])
