"""A stored session as other slices answer it: the same words as POST, PUT and PATCH of ``/v1/sessions``."""

from typing import Final

import msgspec

from chargewatch.server.sessions.rows import Stored
from chargewatch.server.sessions.schemas import SessionState, StoredVerdict

#: What batches tell of sessions that are gone.
ERASE_RESULTS: Final = "DELETE FROM batch_results WHERE tenant_id = $1 AND external_id = ANY ($2)"


def beginning_of_state(external_id: str) -> bytes:
    """Returns how every state of a session begins as JSON: what finds the kept answers that tell of it."""
    return msgspec.json.encode({"session_id": external_id}).removesuffix(b"}")


def session_state(stored: Stored) -> SessionState:
    """Returns the state of a session after a call."""
    row = stored.row
    verdict = msgspec.json.decode(row.verdict, type=StoredVerdict) if row.verdict else StoredVerdict()
    return SessionState(
        session_id=row.external_id,
        status=row.status,  # type: ignore[arg-type]  # the column's check holds it to these words
        is_anomaly=row.is_anomaly,
        anomaly_score=row.anomaly_score,
        anomaly_confidence=row.anomaly_confidence,
        is_incident=row.is_incident,
        is_recurring=row.is_recurring,
        analyzed_at=row.analyzed_at,
        version=row.version,
        analyzed_version=row.analyzed_version,
        was_anomalous=row.was_anomalous,
        model_id=row.model_id,
        model_version=row.model_version,
        **{name: getattr(verdict, name) for name in StoredVerdict.__struct_fields__},
    )
