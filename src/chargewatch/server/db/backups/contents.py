"""What a database holds, from its own catalogue, so that a new table is in the next backup by being there.

Everything in schema ``public`` but Alembic's one row is tenants' rows: `fitness` lets no other table in.
"""

import re
from collections.abc import Sequence
from graphlib import TopologicalSorter
from typing import Final

import msgspec

from chargewatch.server.db.address import RoleNames, quoted
from chargewatch.server.db.backups.archive import SequenceEntry
from chargewatch.server.db.connection import Connection
from chargewatch.server.db.errors import DatabaseError
from chargewatch.server.db.migrations.runner import plan
from chargewatch.server.db.tables import VERSION_TABLE

TENANT_COLUMN: Final = "tenant_id"

#: Generated columns come back by themselves, partitions with the table that they are part of.
_TABLES: Final = """
SELECT c.relname, array_agg(a.attname::text ORDER BY a.attnum)
  FROM pg_class c JOIN pg_attribute a ON a.attrelid = c.oid
 WHERE c.relnamespace = 'public'::regnamespace AND c.relkind IN ('r', 'p') AND NOT c.relispartition
   AND c.relname <> $1 AND a.attnum > 0 AND NOT a.attisdropped AND a.attgenerated = ''
 GROUP BY c.relname ORDER BY c.relname
"""

_REFERENCES: Final = """
SELECT DISTINCT child.relname, parent.relname
  FROM pg_constraint k
  JOIN pg_class child ON child.oid = k.conrelid
  JOIN pg_class parent ON parent.oid = k.confrelid
 WHERE k.contype = 'f' AND child.oid <> parent.oid AND child.relnamespace = 'public'::regnamespace
   AND NOT child.relispartition AND NOT parent.relispartition
 ORDER BY 1, 2
"""

_SEQUENCES: Final = """
SELECT relname FROM pg_class WHERE relnamespace = 'public'::regnamespace AND relkind = 'S' ORDER BY relname
"""

_MADE_TABLE: Final = re.compile(r"CREATE TABLE (?:IF NOT EXISTS )?(?:public\.)?(\w+)", re.IGNORECASE)
_MADE_FUNCTION: Final = re.compile(
    r"CREATE (?:OR REPLACE )?(?:FUNCTION|PROCEDURE) (?:public\.)?(\w+)", re.IGNORECASE
)


class Table(msgspec.Struct, frozen=True):
    """A table and its columns, in the database's order."""

    name: str
    columns: tuple[str, ...]

    @property
    def qualified(self) -> str:
        """Its name in SQL."""
        return f"public.{quoted(self.name)}"

    @property
    def column_list(self) -> str:
        """Its columns in SQL."""
        return ", ".join(map(quoted, self.columns))


async def list_tables(owner: Connection) -> tuple[Table, ...]:
    """The tables of tenants' rows, each after those that it refers to.

    Raises:
        DatabaseError: a table that does not say whose a row is.
    """
    found = {row[0]: Table(row[0], tuple(row[1])) for row in await owner.fetch(_TABLES, VERSION_TABLE)}
    for table in found.values():
        if TENANT_COLUMN not in table.columns:
            raise DatabaseError(f"table {table.name} has no column {TENANT_COLUMN}: it is not chargewatch's")
    order: TopologicalSorter[str] = TopologicalSorter(dict.fromkeys(found, ()))
    for child, parent in (row.values() for row in await owner.fetch(_REFERENCES)):
        order.add(child, parent)
    return tuple(found[name] for name in order.static_order())


async def list_sequences(owner: Connection) -> tuple[SequenceEntry, ...]:
    """Where every sequence stands; sequences know no snapshots, so ask when the rows have been read."""
    entries = []
    for row in await owner.fetch(_SEQUENCES):
        state = await owner.fetchrow(f"SELECT last_value, is_called FROM public.{quoted(row[0])}")  # noqa: S608
        assert state is not None
        entries.append(SequenceEntry(name=row[0], last_value=state[0], is_called=state[1]))
    return tuple(entries)


async def drop_everything(owner: Connection, roles: RoleNames) -> None:
    """Takes away all that the migrations made, so that they can begin anew.

    Only for a database without rows; in the caller's transaction. A view of somebody else's on these tables makes
    it fail: it is not ours to drop.
    """
    script = "\n".join(plan(None, roles))
    functions = [*dict.fromkeys(_MADE_FUNCTION.findall(script))]
    tables = [f"public.{quoted(table)}" for table in dict.fromkeys(_MADE_TABLE.findall(script))]
    await _drop_functions(owner, functions, "<>")  # they may take a table's rows as arguments
    await owner.execute(f"DROP TABLE IF EXISTS {', '.join(tables)}")
    await _drop_functions(owner, functions, "=")


async def _drop_functions(owner: Connection, names: Sequence[str], compared: str) -> None:
    """Those that are for triggers (``=``), or those that are not (``<>``)."""
    found = await owner.fetch(
        "SELECT oid::regprocedure::text FROM pg_proc WHERE pronamespace = 'public'::regnamespace"  # noqa: S608
        f" AND proname = ANY($1::text[]) AND prorettype {compared} 'trigger'::regtype",
        names,
    )
    for function in found:
        await owner.execute(f"DROP ROUTINE {function[0]}")
