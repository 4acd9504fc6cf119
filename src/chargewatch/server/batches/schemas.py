"""What goes in and out of the calls on batches. Names and types: the API reference; meaning: docs/api.md."""

from collections.abc import Sequence
from datetime import datetime
from typing import Annotated, Final, Literal

import msgspec
from msgspec import Meta

from chargewatch.domain.verdict import Anomaly
from chargewatch.server.platform.problems import FieldErrorDocument

MOST_SESSIONS: Final = 10_000

BatchState = Literal["pending", "processing", "completed", "failed"]
SentSession = Annotated[
    msgspec.Raw,
    Meta(
        description=(
            "A session as POST /v1/sessions takes it (`SessionIn`). One that is at fault fails alone; its result says"
            " why."
        ),
        extra_json_schema={"type": "object"},
    ),
]


class BatchIn(msgspec.Struct, forbid_unknown_fields=True):
    """Body of POST /v1/sessions/batch."""

    sessions: Annotated[list[SentSession], Meta(extra_json_schema={"minItems": 1, "maxItems": MOST_SESSIONS})]


class BatchAccepted(msgspec.Struct, kw_only=True):
    """Answer of POST /v1/sessions/batch."""

    batch_id: str
    total_sessions: int
    status: BatchState


class BatchError(msgspec.Struct, kw_only=True):
    """Why a session of a batch failed; as in a problem document."""

    code: str
    detail: str
    errors: Sequence[FieldErrorDocument] = ()


class BatchResult(msgspec.Struct, kw_only=True):
    """What became of one session of a batch. ``position`` is its place in the request, from 0."""

    session_id: str | None
    position: int
    status: Literal["pending", "active", "failed"]
    is_anomaly: bool | None = None
    anomaly_score: float | None = None
    anomaly_confidence: float | None = None
    sequence_length: int | None = None
    anomalies: Sequence[Anomaly] = ()
    version: int | None = None
    error: BatchError | None = None


class BatchStatus(msgspec.Struct, kw_only=True):
    """Answer of GET /v1/sessions/batch/{batch_id}."""

    batch_id: str
    status: BatchState
    total_sessions: int
    processed_sessions: int
    failed_sessions: int
    results: Sequence[BatchResult]
    created_at: datetime
    completed_at: datetime | None
