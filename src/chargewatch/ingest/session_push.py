"""What foreign systems say about one session, in the words of the domain: the border's one product."""

import hashlib
import re
import unicodedata
from collections.abc import Iterable, Sequence
from typing import Final, NamedTuple

from chargewatch.domain.ids import LONGEST_ID, session_external_id
from chargewatch.ingest.readings import Reading

_HASH: Final = 16
#: What an id in a session's name must not hold, so that names of different sessions never meet.
_RESERVED: Final = re.compile(r"[%/:\x00-\x20\x7f-\x9f\ud800-\udfff]")


class SessionPush(NamedTuple):
    """What is to be stored of one session.

    None means "not said, leave as it is"; so does an empty ``station``, which only an OCPI PATCH has. ``session`` is
    the external id; ``station`` the client's own id. Times are microseconds since 1970 in UTC; ``metadata`` is the
    text of a JSON object. Storing the same push twice changes nothing; pushes of one session may be merged (`merge`)
    or stored one after another with the same result.
    """

    session: str
    station: str
    evse_id: str | None = None
    connector_id: str | None = None
    started_us: int | None = None
    ended_us: int | None = None
    stop_reason: str | None = None
    metadata: str | None = None
    readings: Sequence[Reading] = ()


class PassedOver(NamedTuple):
    """A line of a file (or item of a JSON array, counted from 1) that gave no push, and why.

    ``refused`` tells what is broken from what is merely about no session.
    """

    line: int
    reason: str
    refused: bool


def merge(pushes: Iterable[SessionPush]) -> list[SessionPush]:
    """Returns one push a session, in the order in which the sessions were first named; later words win."""
    merged: dict[str, SessionPush] = {}
    readings: dict[str, list[Reading]] = {}
    for push in pushes:
        before = merged.get(push.session)
        readings.setdefault(push.session, []).extend(push.readings)
        said = {name: value for name, value in push._asdict().items() if value is not None}
        merged[push.session] = push if before is None else before._replace(**said)
    return [push._replace(readings=readings[session]) for session, push in merged.items()]


def transaction_session(station: str, transaction: str, began: str | None = None) -> str:
    """Returns the external id of an OCPP transaction's session: ``station:transactionId``.

    ``began`` (``20250304T101530Z``) is added where a transactionId began anew on its station. What an id must not
    hold is percent-encoded in the transactionId; names that would be too long have a hash in the middle.

    >>> transaction_session("CP-1", "17", "20250304T101530Z")
    'CP-1:17:20250304T101530Z'
    """
    own = _RESERVED.sub(_encoded, transaction)
    return _fitted(f"{station}:{own}" if began is None else f"{station}:{own}:{began}")


def ocpi_session(country: str, party: str, session: str) -> str:
    """Returns the external id of an OCPI session: ``COUNTRY*PARTY*id``, which is unique by OCPI 2.2.1.

    >>> ocpi_session("nl", "tnm", "a/b")
    'NL*TNM*a%2Fb'
    """
    return _fitted(f"{country.upper()}*{party.upper()}*{_RESERVED.sub(_encoded_in_ocpi, session)}")


def _encoded(match: "re.Match[str]") -> str:
    return "".join(f"%{byte:02X}" for byte in match[0].encode("utf-8", "surrogatepass"))


def _encoded_in_ocpi(match: "re.Match[str]") -> str:
    return ":" if match[0] == ":" else _encoded(match)


def _fitted(text: str) -> str:
    text = unicodedata.normalize("NFC", text)  # may make it longer
    if len(text) > LONGEST_ID:
        digest = hashlib.sha256(text.encode("utf-8", "surrogatepass")).hexdigest()[:_HASH]
        half = (LONGEST_ID - _HASH - 2) // 2
        text = f"{text[:half]}~{digest}~{text[-half:]}"
    return session_external_id(text)
