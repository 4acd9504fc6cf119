"""Verification of webhooks: that a request comes from the service, unchanged and just now (Standard Webhooks).

The signature is an HMAC-SHA256 over id, time and body (https://www.standardwebhooks.com, "Signature scheme"), so
verify the bytes as they came, before anything parses them.
"""

import base64
import binascii
import hashlib
import hmac
import re
import time
from collections.abc import Iterator, Mapping, Sequence
from datetime import date, datetime
from typing import Any, Final

import msgspec

SECRET_PREFIX: Final = "whsec_"  # noqa: S105 - it stands before one
VERSION: Final = "v1"

_TIMESTAMP: Final = re.compile(r"[0-9]{1,12}", re.ASCII)


class WebhookRefused(Exception):
    """A request is not to be trusted, or not to be read; answer it with 400."""


class WebhookMalformed(WebhookRefused):
    """Headers are missing or unreadable, or the body is no event."""


class WebhookTooOldOrNew(WebhookRefused):
    """The time in the headers is too far from now: somebody may be sending an old request again."""


class WebhookWrongSignature(WebhookRefused):
    """No signature fits: body, id or time were changed, or the secret is another one."""


class DetectionDetails(msgspec.Struct, frozen=True):
    """What SHADE found at a station: energies in kWh for the whole of ``affected_period``, a local day."""

    anomaly_type: str | None = None
    affected_period: date | None = None
    expected_energy_kwh: float | None = None
    actual_energy_kwh: float | None = None
    state: str | None = None


class WebhookEvent(msgspec.Struct, frozen=True, kw_only=True):
    """An event that the service reports. ``webhook_id`` is the same at every delivery of one event."""

    event: str
    charging_station_id: str
    is_anomaly: bool
    anomaly_score: float
    detection_details: DetectionDetails
    analyzed_at: datetime
    webhook_id: str
    raw: Mapping[str, Any] = {}
    """The whole body, with what this version of the client has no name for."""


def verify_webhook(
    body: bytes,
    headers: Mapping[str, str],
    secrets: str | Sequence[str],
    tolerance_s: float = 300.0,
    now: float | None = None,
) -> WebhookEvent:
    """Returns the event of a webhook request that is genuine.

    Args:
        body: the request's body as it came.
        headers: the request's headers, names in any case of letters.
        secrets: the endpoint's secret (``whsec_…``), or several while they are being changed.
        tolerance_s: the most that the sender's clock may differ from ``now``, either way.
        now: seconds since 1970; by default the time of this machine.

    Raises:
        WebhookRefused: one of its subclasses says why.
        ValueError: a secret is none.
    """
    keys = [_key(secret) for secret in ([secrets] if isinstance(secrets, str) else secrets)]
    if not keys:
        raise ValueError("at least one secret is needed")
    fields = {name.lower(): text for name, text in headers.items()}
    identity, sent_at, signatures = (_header(fields, name) for name in ("id", "timestamp", "signature"))
    _check_time(sent_at, time.time() if now is None else now, tolerance_s)
    signed = b"%s.%s.%s" % (identity.encode(errors="replace"), sent_at.encode(), body)
    expected = [hmac.digest(key, signed, hashlib.sha256) for key in keys]
    if not _any_equal(expected, list(_signatures(signatures))):
        raise WebhookWrongSignature("no signature fits: is this the secret of the endpoint that sent it?")
    return _event(body)


def _key(secret: str) -> bytes:
    """Returns the bytes of a secret."""
    text = secret.removeprefix(SECRET_PREFIX)
    try:
        key = base64.b64decode(text + "=" * (-len(text) % 4), validate=True)
    except ValueError:
        key = b""
    if not key:
        raise ValueError("a webhook secret is base64, with whsec_ before it")
    return key


def _header(fields: Mapping[str, str], name: str) -> str:
    text = fields.get(f"webhook-{name}")
    if not text:
        raise WebhookMalformed(f"the header webhook-{name} is missing")
    return text


def _check_time(sent_at: str, now: float, tolerance_s: float) -> None:
    if not _TIMESTAMP.fullmatch(sent_at):
        raise WebhookMalformed("the header webhook-timestamp must be whole seconds since 1970")
    age_s = now - int(sent_at)
    if abs(age_s) > tolerance_s:
        raise WebhookTooOldOrNew(
            f"sent {age_s:.0f} s before now, where {tolerance_s:g} s either way are allowed"
        )


def _signatures(header: str) -> Iterator[bytes]:
    """Yields the signatures of a version that is known here."""
    for part in header.split(" "):
        version, _, text = part.partition(",")
        if version == VERSION:
            try:
                yield base64.b64decode(text, validate=True)
            except binascii.Error:
                continue


def _any_equal(expected: Sequence[bytes], found: Sequence[bytes]) -> bool:
    """Compares all with all, in a time that tells nothing of what is equal."""
    equal = False
    for one in expected:
        for other in found:
            equal |= hmac.compare_digest(one, other)
    return equal


def _event(body: bytes) -> WebhookEvent:
    try:
        raw = msgspec.json.decode(body, type=dict[str, Any])
        event = msgspec.convert(raw, WebhookEvent, str_keys=True)
    except (msgspec.MsgspecError, UnicodeDecodeError) as error:
        raise WebhookMalformed(f"the signature fits, but the body is no event: {error}") from error
    return msgspec.structs.replace(event, raw=raw)
