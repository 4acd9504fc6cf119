"""The calls on batches (API reference, ``/v1/sessions/batch``)."""

from collections.abc import Sequence

from chargewatch.client.answers import BatchAccepted, BatchStatus
from chargewatch.client.bodies import BatchBody, SessionBody
from chargewatch.client.calls import Call, Repeat, conditions, encoded, reader, segment

_PATH = "/v1/sessions/batch"

_accepted = reader(BatchAccepted)
_status = reader(BatchStatus)


def submit_batch(
    sessions: Sequence[SessionBody], *, idempotency_key: str | None = None
) -> Call[BatchAccepted]:
    """Hands in up to 10,000 sessions at once; workers process them, each as `create_session` would.

    They are stored durably when this returns. Ask `get_batch_status` how they are getting on. Without an
    ``idempotency_key`` a call whose answer was lost is not repeated (`ConnectionFailed`): it might make a second batch.

    Args:
        sessions: in the order in which they are to be stored; one at fault fails alone.
        idempotency_key: the same text for every attempt at this one batch.
    """
    headers = conditions(idempotency_key=idempotency_key)
    return Call(
        method="POST",
        path=_PATH,
        read=_accepted,
        body=encoded(BatchBody(sessions=sessions)),
        headers=headers,
        repeat=Repeat.ALWAYS if headers else Repeat.UNLESS_DONE,
    )


def get_batch_status(batch_id: str) -> Call[BatchStatus]:
    """Returns how a batch is getting on, with the results that there are, in the order of the sessions."""
    return Call(method="GET", path=f"{_PATH}/{segment('batch_id', batch_id)}", read=_status)
