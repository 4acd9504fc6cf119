"""Files of OCPI 2.2.1 CDRs and Sessions: JSON lines, a JSON array, or the answer of an endpoint (``data``)."""

from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import msgspec

from chargewatch.ingest.foreign_file import records
from chargewatch.ingest.foreign_json import Unreadable, decode
from chargewatch.ingest.ocpi import read_cdr, read_session, session_id
from chargewatch.ingest.session_push import PassedOver, SessionPush


def read_cdrs(path: Path) -> Iterator[SessionPush | PassedOver]:
    """Reads CDRs and Sessions, which may be mixed.

    A CDR and a Session of one charging session give pushes of one external id. Reading a file again gives the same
    pushes. Dimensions that are no meter values (TIME, MAX_POWER, …) are passed over without a word here.

    Args:
        path: the file; ``.gz`` is unpacked.

    Yields:
        What is to be stored, and the objects that gave nothing with the reason; ``line`` counts the lines of a file
        of JSON lines, else the items of its array, from 1.

    Raises:
        OSError: the file cannot be read.
    """
    for number, text in records(path, envelope="data"):
        try:
            yield _push(text)
        except Unreadable as fault:
            broken = fault.place != ("credit",)
            yield PassedOver(number, fault.text, refused=broken)


def _push(text: bytes) -> SessionPush:
    fields = decode(text, _OBJECT)
    if "cdr_location" in fields:
        return read_cdr(text).push
    if "kwh" not in fields and "location_id" not in fields:
        raise Unreadable((), "is neither a CDR nor a Session of OCPI 2.2.1", "unknown_object")
    if fields.get("last_updated") is None and fields.get("end_date_time") is None:
        raise Unreadable(("last_updated",), "is required", "missing")
    named = session_id(text)
    return read_session(text, named, now_us=0).push


_OBJECT: Final = msgspec.json.Decoder(dict[str, Any])
