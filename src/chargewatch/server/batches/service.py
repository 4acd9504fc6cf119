"""Takes batches in, and tells how they are getting on."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Final
from uuid import UUID

import msgspec

from chargewatch.server.batches import repository
from chargewatch.server.batches.parts import Part
from chargewatch.server.batches.schemas import BatchAccepted, BatchResult, BatchStatus
from chargewatch.server.db.connection import Connection
from chargewatch.server.db.engine import Database
from chargewatch.server.platform import jobs

#: The kind of job that processes a batch.
PROCESS: Final = "batch"
_PREFIX: Final = "batch-"

_results = msgspec.json.Decoder(list[BatchResult]).decode

#: Runs in the transaction that stores a batch, before it is committed, with what is answered.
Sealing = Callable[[Connection, BatchAccepted], Awaitable[None]]


class BatchNotFound(Exception):
    """The tenant has no batch of that id."""


class BatchService:
    """The batches of any tenant."""

    def __init__(self, database: Database) -> None:
        self._database = database

    async def accept(
        self, tenant_id: UUID, parts: Sequence[Part], sealing: Sealing | None = None
    ) -> BatchAccepted:
        """Stores a batch and the job that processes it, both or neither."""
        async with self._database.tenant_transaction(tenant_id) as connection:
            batch_id = await repository.insert(connection, tenant_id, parts)
            await jobs.enqueue(connection, tenant_id, PROCESS, batch_id)
            total = sum(part.session_count for part in parts)
            accepted = BatchAccepted(batch_id=name_of(batch_id), total_sessions=total, status="pending")
            if sealing is not None:
                await sealing(connection, accepted)
        return accepted

    async def status(self, tenant_id: UUID, name: str) -> BatchStatus:
        """Returns how a batch is getting on, with the results that there are.

        Raises:
            BatchNotFound: no such batch.
        """
        batch_id = _id_of(name)
        async with self._database.tenant_transaction(tenant_id, reads=True) as connection:
            row = await repository.find(connection, tenant_id, batch_id)
            if row is None:
                raise BatchNotFound
            texts = await repository.results(connection, tenant_id, batch_id)
        return BatchStatus(
            batch_id=name_of(batch_id),
            status=row["status"],
            total_sessions=row["total_sessions"],
            processed_sessions=row["processed_sessions"],
            failed_sessions=row["failed_sessions"],
            results=_results(f"[{','.join(texts)}]"),
            created_at=row["created_at"],
            completed_at=row["completed_at"],
        )

    async def forget_old(self, tenant_id: UUID, kept_s: float) -> None:
        """Deletes a tenant's batches that were finished so long ago."""
        async with self._database.tenant_transaction(tenant_id) as connection:
            await repository.forget_old(connection, tenant_id, kept_s)


def name_of(batch_id: UUID) -> str:
    """Returns the id by which clients know a batch."""
    return _PREFIX + batch_id.hex


def _id_of(name: str) -> UUID:
    try:
        batch_id = UUID(name.removeprefix(_PREFIX))
    except ValueError:
        raise BatchNotFound from None
    if name_of(batch_id) != name:  # a UUID has many spellings, a batch one name
        raise BatchNotFound
    return batch_id
