"""The Python client of the HTTP API: every call typed, repeated where that is safe, for threads and for asyncio.

    from chargewatch.client import Client, MeterValue

    with Client("http://127.0.0.1:8000", api_key) as client:
        state = client.update_session("sess-1", [MeterValue("2026-02-27T10:00:00Z", "11.1", unit="kWh")])

A method is called as its operation in the OpenAPI document. `verify_webhook` checks what the service sends of its
own accord. Nothing is read from the environment. Guide: ``docs/howto/python-client.md``.
"""

from chargewatch.client.answers import (
    Anomaly,
    BucketRange,
    ConnectorCategories,
    ConnectorCounts,
    DataQualityNote,
    Evidence,
    Health,
    Readiness,
    SessionDetail,
    SessionItem,
    SessionPage,
    SessionState,
    StationConnectors,
    StationDetail,
    StationItem,
    StationPage,
    Statistics,
    StoredMeterValue,
    Threshold,
    Thresholds,
    TimeRange,
)
from chargewatch.client.bodies import MeterValue
from chargewatch.client.clients import AsyncClient, Client
from chargewatch.client.errors import (
    ApiError,
    CallFailed,
    Conflict,
    ConnectionFailed,
    Forbidden,
    NotFound,
    PreconditionFailed,
    RateLimited,
    TooLarge,
    Unauthorized,
    Unavailable,
    UnexpectedAnswer,
    Unprocessable,
    WrongField,
)
from chargewatch.client.native_answers import (
    OcpiSession,
    OcpiSessionFound,
    OcpiSessionStored,
    OcppAnswer,
    OcppMessageResult,
)
from chargewatch.client.retries import NO_RETRY, Retry
from chargewatch.client.webhooks import (
    WebhookEvent,
    WebhookMalformed,
    WebhookRefused,
    WebhookTooOldOrNew,
    WebhookWrongSignature,
    verify_webhook,
)

__all__ = [
    "NO_RETRY",
    "Anomaly",
    "ApiError",
    "AsyncClient",
    "BucketRange",
    "CallFailed",
    "Client",
    "Conflict",
    "ConnectionFailed",
    "ConnectorCategories",
    "ConnectorCounts",
    "DataQualityNote",
    "Evidence",
    "Forbidden",
    "Health",
    "MeterValue",
    "NotFound",
    "OcpiSession",
    "OcpiSessionFound",
    "OcpiSessionStored",
    "OcppAnswer",
    "OcppMessageResult",
    "PreconditionFailed",
    "RateLimited",
    "Readiness",
    "Retry",
    "SessionDetail",
    "SessionItem",
    "SessionPage",
    "SessionState",
    "StationConnectors",
    "StationDetail",
    "StationItem",
    "StationPage",
    "Statistics",
    "StoredMeterValue",
    "Threshold",
    "Thresholds",
    "TimeRange",
    "TooLarge",
    "Unauthorized",
    "Unavailable",
    "UnexpectedAnswer",
    "Unprocessable",
    "WebhookEvent",
    "WebhookMalformed",
    "WebhookRefused",
    "WebhookTooOldOrNew",
    "WebhookWrongSignature",
    "WrongField",
    "verify_webhook",
]
