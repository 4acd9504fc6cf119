"""``Idempotency-Key``: a call that is sent again is answered again, and done once.

A key belongs to (tenant, method, route). The first call with it claims it, for a while; its answer is kept in the
very transaction that stores what the call did, so that both are there or neither. Whoever comes with the key later
gets that answer (``Idempotent-Replayed: true``); while the first call runs, 409; with another payload, 422. A call
that is refused or fails keeps nothing and frees the key; a crash frees it when the claim ends.
"""

import asyncio
import hashlib
import re
from collections.abc import Awaitable, Callable, Sequence
from contextlib import suppress
from typing import Final, NamedTuple
from uuid import UUID, uuid4

import msgspec

from chargewatch.server.db.connection import Connection, Row
from chargewatch.server.db.engine import Database
from chargewatch.server.db.errors import DatabaseUnavailable
from chargewatch.server.platform.http import Answer, ApiRequest
from chargewatch.server.platform.problems import Problem, invalid_field
from chargewatch.server.platform.request_context import context_in

#: What the OpenAPI document says of it.
REQUEST_HEADER: Final = {
    "Idempotency-Key": "1 to 255 visible ASCII characters. A repeated call with the same key and payload gets the"
    " answer of the first one, which is kept for 24 hours; with another payload 422, while the first one runs 409."
}
RESPONSE_HEADER: Final = {"Idempotent-Replayed": "`true` when this is the answer of an earlier call."}

_KEY: Final = re.compile(rb"[\x21-\x7e]{1,255}")

# A claim is taken over when it has ended without an answer, and when the answer is too old to be kept.
_CLAIM: Final = """
INSERT INTO idempotency_keys AS k (tenant_id, route, key, fingerprint, claim, claimed_until)
VALUES ($1, $2, $3, $4, $5, now() + make_interval(secs => $6))
ON CONFLICT (tenant_id, route, key) DO UPDATE
   SET fingerprint = excluded.fingerprint, claim = excluded.claim, claimed_until = excluded.claimed_until,
       created_at = now(), answered_at = NULL, status = NULL, headers = NULL, body = NULL
 WHERE (k.answered_at IS NULL AND k.claimed_until <= now())
    OR k.created_at <= now() - make_interval(secs => $7)
RETURNING claim
"""
_FIND: Final = """
SELECT fingerprint, answered_at IS NOT NULL AS is_answered, status, headers, body
  FROM idempotency_keys WHERE tenant_id = $1 AND route = $2 AND key = $3
"""
_ANSWER: Final = """
UPDATE idempotency_keys SET answered_at = now(), status = $5, headers = $6, body = $7
 WHERE tenant_id = $1 AND route = $2 AND key = $3 AND claim = $4 AND answered_at IS NULL
RETURNING claim
"""
_FREE: Final = """
DELETE FROM idempotency_keys
 WHERE tenant_id = $1 AND route = $2 AND key = $3 AND claim = $4 AND answered_at IS NULL
"""
_FORGET: Final = """
DELETE FROM idempotency_keys
 WHERE tenant_id = $1 AND created_at <= now() - make_interval(secs => $2)
   AND (answered_at IS NOT NULL OR claimed_until <= now())
"""

# Of what is erased no answer may tell any more. The number of answers kept is that of a day.
# By length, so that many beginnings are looked up in a hash table and not tried one after another.
_ERASE: Final = """
DELETE FROM idempotency_keys k
 USING (SELECT DISTINCT octet_length(b) AS bytes FROM unnest($2::bytea[]) AS b) AS length,
       unnest($2::bytea[]) AS beginning
 WHERE k.tenant_id = $1 AND substring(k.body FROM 1 FOR length.bytes) = beginning
"""

#: Keeps the answer of a call, in the transaction of what the call did.
Keeping = Callable[[Connection, Answer], Awaitable[None]]
Work = Callable[[Keeping | None], Awaitable[Answer]]


class _Claim(NamedTuple):
    """One key, claimed by one call."""

    tenant_id: UUID
    route: str
    key: str
    claim: UUID


class Idempotency:
    """Answers calls at most once for each key."""

    def __init__(self, database: Database, kept_s: float, lease_s: float) -> None:
        self._database = database
        self._kept_s = kept_s
        self._lease_s = lease_s

    async def answer(self, request: ApiRequest, work: Work) -> Answer:
        """Answers a call: by doing the work, or with the answer of an earlier call with its key.

        Args:
            request: the call; its body has been read.
            work: does it. What it is given, when there is a key, it calls with the answer in its transaction.

        Raises:
            Problem: 409 while another call with the key runs, 422 for a key of another payload or none at all.
        """
        headers = context_in(request.scope).headers
        sent = headers.get(b"idempotency-key")
        if sent is None:
            return await work(None)
        if not _KEY.fullmatch(sent):
            message = "must be 1 to 255 visible ASCII characters"
            raise invalid_field(("Idempotency-Key",), message, "invalid_idempotency_key")
        route = f"{request.scope['method']} {request.scope['path_template']}"
        claim = _Claim(request.auth.tenant_id, route, sent.decode("ascii"), uuid4())
        try:
            earlier = await self._claim(claim, fingerprint(request))
        except asyncio.CancelledError:  # the claim may be stored all the same
            await self._free(claim)
            raise
        if earlier is not None:
            return earlier
        try:
            return await work(lambda connection, answer: _keep(connection, claim, answer))
        except BaseException:
            await self._free(claim)
            raise

    async def forget_old(self, tenant_id: UUID) -> None:
        """Deletes a tenant's answers that are no longer kept."""
        async with self._database.tenant_transaction(tenant_id) as connection:
            await connection.execute(_FORGET, tenant_id, self._kept_s)

    async def _claim(self, claim: _Claim, print_: bytes) -> Answer | None:
        """Claims the key; returns the kept answer instead when there is one."""
        tenant_id, route, key, mine = claim
        async with self._database.tenant_transaction(tenant_id) as connection:
            claimed = await connection.fetchval(
                _CLAIM, tenant_id, route, key, print_, mine, self._lease_s, self._kept_s
            )
            if claimed is not None:
                return None
            found = await connection.fetchrow(_FIND, tenant_id, route, key)
        if found is None:  # freed this very moment
            raise _in_flight()
        if found["fingerprint"] != print_:
            detail = "This Idempotency-Key was used with another payload; use a new key for a new call."
            raise Problem(422, "idempotency_key_reused", detail)
        if not found["is_answered"]:
            raise _in_flight()
        return _kept_answer(found)

    async def _free(self, claim: _Claim) -> None:
        """Gives the key back; where that is impossible, the claim ends by itself."""
        with suppress(DatabaseUnavailable):
            async with self._database.tenant_transaction(claim.tenant_id) as connection:
                await connection.execute(_FREE, *claim)


async def erase_answers(connection: Connection, tenant_id: UUID, beginnings: Sequence[bytes]) -> None:
    """Erases the kept answers whose body begins so; a call that comes again with such a key is a new one."""
    await connection.execute(_ERASE, tenant_id, beginnings)


def fingerprint(request: ApiRequest) -> bytes:
    """Returns what tells the payload of a call from others: its address and its body, inflated."""
    scope = request.scope
    address = scope["path"].encode() + b"?" + scope["query_string"]
    digest = context_in(scope).body_digest or b""
    return hashlib.sha256(hashlib.sha256(address).digest() + digest).digest()


async def _keep(connection: Connection, claim: _Claim, answer: Answer) -> None:
    headers = {name.decode("latin-1"): value.decode("latin-1") for name, value in answer.headers}
    kept = await connection.fetchval(
        _ANSWER, *claim, answer.status, msgspec.json.encode(headers).decode(), answer.body
    )
    if kept is None:
        raise _in_flight()  # the claim had ended, and another call has taken it over


def _kept_answer(found: Row) -> Answer:
    headers: dict[str, str] = msgspec.json.decode(found["headers"])
    fields = [(name.encode("latin-1"), value.encode("latin-1")) for name, value in headers.items()]
    return Answer(found["status"], found["body"], [*fields, (b"idempotent-replayed", b"true")])


def _in_flight() -> Problem:
    return Problem(
        409,
        "idempotency_key_in_flight",
        "A call with this Idempotency-Key is under way; repeat this one after Retry-After seconds.",
        headers={"Retry-After": "1"},
    )
