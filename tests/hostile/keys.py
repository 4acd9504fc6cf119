"""Every call with every kind of key: none, wrong ones, ended ones, and one for each scope."""

import time
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import msgspec

from chargewatch.server.tenants.keys import Scope, new_key
from tests.hostile.address_attacks import path_of
from tests.hostile.api_document import Call
from tests.hostile.attacks import Attack
from tests.hostile.connection import Connection, Reply
from tests.hostile.planting import STEM
from tests.hostile.served import Served
from tests.hostile.stage import Stage, valid

#: How soon a revoked or expired key is refused by every process.
ENDED_WITHIN_S = 2.0
SCOPES = tuple(scope.value for scope in Scope)
REFUSED = ("none", "unknown", "revoked", "expired")


class Tried(NamedTuple):
    """A row of the table: a call, the scope it needs, and the status for each kind of key."""

    call: str
    scope: str | None
    statuses: dict[str, int]


def make_keys(service: Served, tenant: str) -> dict[str, str]:
    """Makes a tenant's keys of every kind; returns once those that end have ended."""
    ends = datetime.now(UTC) + timedelta(hours=1)
    expired = service.create_key(tenant, "--expires", ends.isoformat())
    revoked = service.create_key(tenant)
    service.revoke_key(revoked["key_id"])
    keys = {scope: service.create_key(tenant, "--scope", scope)["api_key"] for scope in SCOPES}
    service.end_key(expired["key_id"])
    time.sleep(ENDED_WITHIN_S)
    return {
        "none": "",
        "unknown": new_key(),
        "revoked": revoked["api_key"],
        "expired": expired["api_key"],
        **keys,
    }


async def try_keys(service: Served, stage: Stage, keys: dict[str, str]) -> tuple[list[Tried], list[str]]:
    """Makes every call that needs a key with every kind of key; returns the table and what is wrong."""
    rows, faults = [], []
    connection = Connection(service.port)
    for call in stage.calls:
        replies: dict[str, Reply] = {}
        for kind, key in keys.items():
            replies[kind] = await _try(connection, service.port, stage, call, key)
            if kind not in REFUSED and call.method == "DELETE":
                await stage.set()
        rows.append(Tried(call.name, call.scope, {kind: reply.status for kind, reply in replies.items()}))
        faults += [f"{call.name}: {fault}" for fault in _faults(call, replies)]
    await connection.close()
    return rows, faults


async def _try(connection: Connection, port: int, stage: Stage, call: Call, key: str) -> Reply:
    bodies = call.bodies()
    if bodies:
        request = valid(call, stage.known, bodies[0])
    else:
        request = Attack("key", "", call.method.encode(), path_of(call, stage.known))
    request = request._replace(anonymous=not key)
    return await connection.exchange(request.wire(port, f"{call.scheme()} {key}".encode()))


def _faults(call: Call, replies: dict[str, Reply]) -> list[str]:
    found = []
    if call.scope not in SCOPES:
        found.append("the document does not say which scope it needs")
    refusals = {kind: _refusal(replies[kind]) for kind in REFUSED}
    if len(set(refusals.values())) > 1:
        found.append(f"keys that are no good are told apart: {refusals}")
    for kind, reply in replies.items():
        expected = 401 if kind in REFUSED else 403 if kind != call.scope else None
        if expected is not None and reply.status != expected:
            found.append(f"{reply.status} instead of {expected} for a key of kind {kind}")
        if expected is None and reply.status not in call.statuses - {401, 403, 404}:
            found.append(f"{reply.status} for a key with the scope {kind}")
        if reply.status in (401, 403) and STEM.encode() in reply.body:
            found.append(f"data in the refusal of a key of kind {kind}")
        if reply.status in (401, 403) and reply.header("www-authenticate") is None:
            found.append(f"no WWW-Authenticate in the {reply.status} for a key of kind {kind}")
    return found


def _refusal(reply: Reply) -> tuple[int, str | None, str]:
    """What must be the same for every key that is no good."""
    document = msgspec.json.decode(reply.body)
    same = {
        name: text for name, text in document.items() if name not in ("request_id", "instance", "timestamp")
    }
    return reply.status, reply.header("www-authenticate"), str(same)
