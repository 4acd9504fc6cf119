"""Whether the database keeps what the service promises: durable answers, a login held to one tenant.

The same list is asked at each start and by the tests: a new table without protection is found by both.
"""

from typing import Final

from chargewatch.server.db.connection import Connection
from chargewatch.server.db.errors import DatabaseError

#: Each row is one thing that is wrong, seen by the role that asks.
_VIOLATIONS: Final = """
WITH me AS (SELECT * FROM pg_roles WHERE rolname = current_user),
relations AS (SELECT * FROM pg_class WHERE relnamespace = 'public'::regnamespace),
tenant_tables AS (SELECT * FROM relations WHERE relkind IN ('r', 'p') AND relname <> 'alembic_version'),
applying AS (
    SELECT p.* FROM pg_policy p
     WHERE EXISTS (SELECT FROM unnest(p.polroles) AS role WHERE role = 0 OR pg_has_role(role, 'MEMBER'))
)
SELECT name || ' is off, so an acknowledged reading could be lost: set ' || name || ' = on on the server'
  FROM unnest(ARRAY['fsync', 'full_page_writes', 'synchronous_commit']) AS name
 WHERE current_setting(name) = 'off'
UNION ALL
SELECT 'role ' || rolname || ' is, or may become, a superuser or a role with BYPASSRLS' FROM me
 WHERE EXISTS (SELECT FROM pg_roles r WHERE (r.rolsuper OR r.rolbypassrls) AND pg_has_role(r.oid, 'MEMBER'))
UNION ALL
SELECT 'role ' || rolname || ' may make roles or databases or replicate' FROM me
 WHERE rolcreaterole OR rolcreatedb OR rolreplication
UNION ALL
SELECT 'role ' || rolname || ' may create objects in schema public' FROM me
 WHERE has_schema_privilege('public', 'CREATE')
UNION ALL
SELECT 'role ' || rolname || ' may create schemas in the database' FROM me
 WHERE has_database_privilege(current_database(), 'CREATE')
UNION ALL
SELECT 'role ' || me.rolname || ' owns ' || r.relname FROM me, relations r
 WHERE r.relkind IN ('r', 'p', 'v', 'm') AND pg_has_role(r.relowner, 'MEMBER')
UNION ALL
SELECT 'role ' || me.rolname || ' owns function ' || f.proname FROM me, pg_proc f
 WHERE f.pronamespace = 'public'::regnamespace AND pg_has_role(f.proowner, 'MEMBER')
UNION ALL
SELECT 'role ' || me.rolname || ' may truncate ' || t.relname FROM me, tenant_tables t
 WHERE has_table_privilege(t.oid, 'TRUNCATE')
UNION ALL
SELECT 'table ' || relname || ' is without forced row-level security' FROM tenant_tables
 WHERE NOT (relrowsecurity AND relforcerowsecurity)
UNION ALL
SELECT 'table ' || t.relname || ' is not held by exactly the tenant policy' FROM tenant_tables t
 WHERE (SELECT count(*) FROM applying a WHERE a.polrelid = t.oid) <> 1
    OR NOT EXISTS (
        SELECT FROM applying a
         WHERE a.polrelid = t.oid AND a.polpermissive AND a.polcmd = '*'
           AND pg_get_expr(a.polqual, t.oid) = pg_get_expr(a.polwithcheck, t.oid)
           AND pg_get_expr(a.polqual, t.oid) =
               '(tenant_id = (NULLIF(current_setting(''app.tenant''::text, true), ''''::text))::uuid)')
UNION ALL
SELECT 'view ' || relname || ' is not security_invoker' FROM relations
 WHERE relkind = 'v' AND NOT coalesce(reloptions @> '{security_invoker=true}', false)
UNION ALL
SELECT 'materialized view ' || relname || ' can be read' FROM relations
 WHERE relkind = 'm' AND has_table_privilege(oid, 'SELECT')
"""


async def violations(app: Connection) -> list[str]:
    """What is wrong with the server's durability or this role's confinement; empty when all is well."""
    return [row[0] for row in await app.fetch(_VIOLATIONS)]


async def check_fitness(app: Connection) -> None:
    """Raises DatabaseError with everything that is wrong."""
    found = await violations(app)
    if found:
        raise DatabaseError("the database is not fit for service: " + "; ".join(found))
