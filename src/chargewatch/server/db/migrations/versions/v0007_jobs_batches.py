"""Jobs that workers do later, and batches of sessions.

Revision ID: 0007
"""

from alembic import op

from chargewatch.server.db.migrations.tenant_tables import directory_role, protect

revision = "0007"
down_revision = "0006"

# What is to be done, one row a job, written in the transaction that holds what it is about (`subject`), and deleted in
# the one that ends it. `claim` names the one worker that may work on it; `due_at` is when it may be begun, and while it
# runs, when others may take it over. `attempts` counts the times that it was begun since it last got on.
JOBS = """
CREATE TABLE jobs (
    tenant_id  uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    job_id     uuid NOT NULL DEFAULT gen_random_uuid(),
    kind       text NOT NULL,
    subject    uuid NOT NULL,
    state      text NOT NULL DEFAULT 'queued' CHECK (state IN ('queued', 'running', 'held')),
    attempts   integer NOT NULL DEFAULT 0,
    claim      uuid,
    due_at     timestamptz NOT NULL DEFAULT now(),
    reason     text,
    created_at timestamptz NOT NULL DEFAULT now(),
    updated_at timestamptz NOT NULL DEFAULT now(),
    PRIMARY KEY (tenant_id, job_id),
    UNIQUE (tenant_id, kind, subject)
);
CREATE INDEX jobs_due ON jobs (due_at) WHERE state <> 'held'
"""

# Sessions before `careful_until` are stored one by one: a worker died while it had them in hand.
BATCHES = """
CREATE TABLE batches (
    tenant_id          uuid NOT NULL REFERENCES tenants ON DELETE CASCADE,
    batch_id           uuid NOT NULL DEFAULT gen_random_uuid(),
    status             text NOT NULL DEFAULT 'pending'
                       CHECK (status IN ('pending', 'processing', 'completed', 'failed')),
    total_sessions     integer NOT NULL CHECK (total_sessions > 0),
    processed_sessions integer NOT NULL DEFAULT 0,
    failed_sessions    integer NOT NULL DEFAULT 0,
    careful_until      integer NOT NULL DEFAULT 0,
    created_at         timestamptz NOT NULL DEFAULT now(),
    completed_at       timestamptz,
    PRIMARY KEY (tenant_id, batch_id),
    CHECK (processed_sessions + failed_sessions <= total_sessions)
);
CREATE INDEX batches_by_age ON batches (tenant_id, completed_at) WHERE completed_at IS NOT NULL
"""

# What was sent, until it is processed: a JSON list of sessions, compressed by us.
BATCH_PARTS = """
CREATE TABLE batch_parts (
    tenant_id     uuid NOT NULL,
    batch_id      uuid NOT NULL,
    first         integer NOT NULL,
    session_count integer NOT NULL CHECK (session_count > 0),
    payload       bytea NOT NULL,
    PRIMARY KEY (tenant_id, batch_id, first),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES batches (tenant_id, batch_id) ON DELETE CASCADE
);
ALTER TABLE batch_parts ALTER COLUMN payload SET STORAGE EXTERNAL
"""

# One row a session, so that erasing a session erases what its batches tell of it.
BATCH_RESULTS = """
CREATE TABLE batch_results (
    tenant_id   uuid NOT NULL,
    batch_id    uuid NOT NULL,
    position    integer NOT NULL,
    external_id text COLLATE "C",
    result      json NOT NULL,
    PRIMARY KEY (tenant_id, batch_id, position),
    FOREIGN KEY (tenant_id, batch_id) REFERENCES batches (tenant_id, batch_id) ON DELETE CASCADE
);
CREATE INDEX batch_results_of_session ON batch_results (tenant_id, external_id)
"""

STATISTICS = "; ".join(
    f"ALTER TABLE {table} SET (autovacuum_analyze_threshold = 10)"
    for table in ("jobs", "batches", "batch_parts", "batch_results")
)

# Workers serve all tenants. They learn of one job at a time whose it is and what it is about (ids, nothing else), and
# only by claiming it; all else they do in that tenant's transactions.
CLAIM_JOB = """
CREATE FUNCTION claim_job(kinds text[], new_claim uuid, lease_s double precision)
RETURNS TABLE (tenant_id uuid, job_id uuid, kind text, subject uuid, attempts integer)
LANGUAGE sql VOLATILE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    UPDATE public.jobs j
       SET state = 'running', claim = new_claim, attempts = j.attempts + 1,
           due_at = now() + make_interval(secs => lease_s), updated_at = now()
     WHERE (j.tenant_id, j.job_id) = (
        SELECT d.tenant_id, d.job_id FROM public.jobs d
         WHERE d.state <> 'held' AND d.due_at <= now() AND d.kind = ANY (kinds)
         ORDER BY d.due_at LIMIT 1 FOR UPDATE SKIP LOCKED)
    RETURNING j.tenant_id, j.job_id, j.kind, j.subject, j.attempts
$$
"""

# In how many seconds the next job is due; NULL: there is none.
NEXT_JOB = """
CREATE FUNCTION next_job_s(kinds text[]) RETURNS double precision
LANGUAGE sql STABLE SECURITY DEFINER SET search_path = pg_catalog, pg_temp AS $$
    SELECT extract(epoch FROM min(d.due_at) - now())::double precision
      FROM public.jobs d WHERE d.state <> 'held' AND d.kind = ANY (kinds)
$$
"""


def upgrade() -> None:
    """Adds them."""
    tables = {"jobs": JOBS, "batches": BATCHES, "batch_parts": BATCH_PARTS, "batch_results": BATCH_RESULTS}
    for table, statement in tables.items():
        op.execute(statement)
        protect(table)
    op.execute(STATISTICS)
    _open_directory()


def _open_directory() -> None:
    directory = directory_role()
    op.execute(f"GRANT SELECT, UPDATE ON jobs TO {directory}")
    op.execute(
        f"CREATE POLICY directory_claims ON jobs FOR ALL TO {directory} USING (true) WITH CHECK (true)"
    )
    op.execute(CLAIM_JOB)
    op.execute(NEXT_JOB)
    op.execute(f"GRANT CREATE ON SCHEMA public TO {directory}")
    for function in ("claim_job(text[], uuid, double precision)", "next_job_s(text[])"):
        op.execute(f"REVOKE EXECUTE ON FUNCTION {function} FROM PUBLIC")
        op.execute(f"ALTER FUNCTION {function} OWNER TO {directory}")
    op.execute(f"REVOKE CREATE ON SCHEMA public FROM {directory}")


def downgrade() -> None:
    """Migrations only go forward once released."""
    raise RuntimeError("revision 0007 cannot be undone: restore a backup instead")
