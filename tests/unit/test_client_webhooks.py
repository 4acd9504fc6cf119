"""What a receiver may trust: everything that the Standard Webhooks library signs, and nothing that was touched."""

import base64
import random
import time
from datetime import UTC, date, datetime

import msgspec
import pytest
from standardwebhooks import Webhook, WebhookVerificationError

from chargewatch.client import (
    WebhookEvent,
    WebhookMalformed,
    WebhookRefused,
    WebhookTooOldOrNew,
    WebhookWrongSignature,
    verify_webhook,
)

SECRET = "whsec_" + base64.b64encode(bytes(range(32))).decode()
OTHER = "whsec_" + base64.b64encode(bytes(range(1, 33))).decode()
NOW = 1_772_186_400.0
BODY = b"""{
"event": "station.anomaly_detected",
"charging_station_id": "CP-NL-AMS-0042",
"is_anomaly": true,
"anomaly_score": 0.72,
"detection_details": {
"anomaly_type": "energy_drop",
"affected_period": "2026-02-27",
"expected_energy_kwh": 1200.0,
"actual_energy_kwh": 980.2
},
"analyzed_at": "2026-02-27T12:00:00Z",
"webhook_id": "wh-evt-a1b2c3d4"
}"""


def headers(
    body: bytes = BODY, secret: str = SECRET, identity: str = "wh-evt-a1b2c3d4", at: float = NOW
) -> dict[str, str]:
    """The headers as the library of the standard makes them."""
    signature = Webhook(secret).sign(identity, datetime.fromtimestamp(at, UTC), body.decode())
    return {"webhook-id": identity, "webhook-timestamp": str(int(at)), "webhook-signature": signature}


def test_the_event_of_the_reference() -> None:
    event = verify_webhook(BODY, headers(), SECRET, now=NOW)
    assert (event.event, event.charging_station_id) == ("station.anomaly_detected", "CP-NL-AMS-0042")
    assert (event.is_anomaly, event.anomaly_score, event.webhook_id) == (True, 0.72, "wh-evt-a1b2c3d4")
    assert event.analyzed_at == datetime(2026, 2, 27, 12, tzinfo=UTC)
    details = event.detection_details
    assert (details.anomaly_type, details.affected_period) == ("energy_drop", date(2026, 2, 27))
    assert (details.expected_energy_kwh, details.actual_energy_kwh, details.state) == (1200.0, 980.2, None)
    assert event.raw == msgspec.json.decode(BODY)


def test_names_of_headers_in_any_case_and_the_clock_of_this_machine() -> None:
    signed = {name.title(): text for name, text in headers(at=time.time()).items()}
    assert isinstance(verify_webhook(BODY, signed, SECRET), WebhookEvent)


def test_newer_fields_are_in_raw_only() -> None:
    body = msgspec.json.encode(msgspec.json.decode(BODY) | {"colour": "red"})
    assert verify_webhook(body, headers(body), SECRET, now=NOW).raw["colour"] == "red"


@pytest.mark.parametrize("seed", range(60))
def test_one_byte_of_body_id_time_or_signature_is_enough(seed: int) -> None:
    rng = random.Random(seed)
    signed, body = headers(), bytearray(BODY)
    where = rng.choice(["body", "webhook-id", "webhook-timestamp", "webhook-signature"])
    if where == "body":
        body[rng.randrange(len(body))] ^= 1 << rng.randrange(7)
    else:
        text = signed[where]
        at = rng.randrange(3, len(text) - 3) if where == "webhook-signature" else rng.randrange(len(text))
        signed[where] = text[:at] + ("2" if text[at] != "2" else "3") + text[at + 1 :]
    with pytest.raises(WebhookRefused):
        verify_webhook(bytes(body), signed, SECRET, now=NOW)
    with pytest.raises(WebhookWrongSignature):  # also where the time alone would have given it away
        verify_webhook(bytes(body), signed, SECRET, tolerance_s=1e12, now=NOW)


@pytest.mark.parametrize("seed", range(30))
def test_what_the_library_signs_is_taken_and_only_that(seed: int) -> None:
    rng = random.Random(seed)
    key = rng.randbytes(rng.randrange(24, 65))
    secret = ("whsec_" if rng.random() < 0.5 else "") + base64.b64encode(key).decode().rstrip(
        "=" * rng.randrange(2)
    )
    event = msgspec.json.decode(BODY) | {"charging_station_id": "CP-" + chr(rng.randrange(0x20, 0xD7FF))}
    body = msgspec.json.encode(event)
    identity, at = f"msg_{rng.randrange(10**9)}", time.time() + rng.uniform(-200, 200)
    library_secret = secret if secret.startswith("whsec_") else "whsec_" + secret
    signed = headers(body, library_secret, identity, float(int(at)))
    assert verify_webhook(body, signed, secret).charging_station_id == event["charging_station_id"]
    for forged in (signed | {"webhook-id": identity + "x"}, signed | {"webhook-signature": "v1,AAAA"}):
        with pytest.raises(WebhookVerificationError):
            Webhook(library_secret).verify(body, forged)
        with pytest.raises(WebhookRefused):
            verify_webhook(body, forged, secret)


def test_several_signatures_and_several_secrets() -> None:
    mine, theirs = headers()["webhook-signature"], headers(secret=OTHER)["webhook-signature"]
    for both in (f"{mine} {theirs}", f"{theirs} {mine}", f"v1a,xyz v2,AAAA {mine}", f"v1,%% {mine}  "):
        signed = headers() | {"webhook-signature": both}
        assert verify_webhook(BODY, signed, SECRET, now=NOW)
    assert verify_webhook(BODY, headers(secret=OTHER), [SECRET, OTHER], now=NOW)
    assert verify_webhook(BODY, headers(), (SECRET, OTHER), now=NOW)
    with pytest.raises(WebhookWrongSignature):
        verify_webhook(BODY, headers(secret=OTHER), SECRET, now=NOW)


def test_a_signature_of_another_version_counts_for_nothing() -> None:
    signature = headers()["webhook-signature"].removeprefix("v1,")
    for version in ("v2", "v1a", "V1", "v11", ""):
        with pytest.raises(WebhookWrongSignature):
            verify_webhook(BODY, headers() | {"webhook-signature": f"{version},{signature}"}, SECRET, now=NOW)


@pytest.mark.parametrize(("off_s", "taken"), [(300, True), (-300, True), (301, False), (-301, False)])
def test_the_time_may_differ_by_the_tolerance_either_way(off_s: float, taken: bool) -> None:
    signed = headers(at=NOW + off_s)
    if taken:
        assert verify_webhook(BODY, signed, SECRET, now=NOW)
    else:
        with pytest.raises(WebhookTooOldOrNew):
            verify_webhook(BODY, signed, SECRET, now=NOW)
    assert verify_webhook(BODY, signed, SECRET, tolerance_s=400, now=NOW)


@pytest.mark.parametrize("name", ["webhook-id", "webhook-timestamp", "webhook-signature"])
def test_headers_that_are_missing(name: str) -> None:
    for signed in ({k: v for k, v in headers().items() if k != name}, headers() | {name: ""}):
        with pytest.raises(WebhookMalformed, match=name):
            verify_webhook(BODY, signed, SECRET, now=NOW)


@pytest.mark.parametrize("at", ["now", "1772186400.5", "-1", "1e9", "१७७२१८६४००", " 1772186400", "9" * 400])
def test_times_that_are_none(at: str) -> None:
    with pytest.raises(WebhookMalformed, match="webhook-timestamp"):
        verify_webhook(BODY, headers() | {"webhook-timestamp": at}, SECRET, now=NOW)


@pytest.mark.parametrize(
    "body", [b"{}", b"[]", b"", b"not json", BODY.replace(b'"is_anomaly": true', b'"is_anomaly": "yes"')]
)
def test_a_genuine_body_that_is_no_event(body: bytes) -> None:
    with pytest.raises(WebhookMalformed, match="the signature fits"):
        verify_webhook(body, headers(body), SECRET, now=NOW)


@pytest.mark.parametrize("secrets", ["", "whsec_", "whsec_%%%", [], [SECRET, ""], "whsec_ü"])
def test_secrets_that_are_none(secrets: str | list[str]) -> None:
    with pytest.raises(ValueError, match="secret"):
        verify_webhook(BODY, headers(), secrets, now=NOW)
