"""How OCPI answers: every body is an envelope with a status code of its own (OCPI 2.2.1, 4.1.7 and 5).

Addresses under ``/ocpi`` answer errors so too, with the HTTP status that says the same. (OCPI would have 200 for what
is JSON but cannot be taken; a peer that looks only at the HTTP status would then take it for stored.)
"""

import re
from datetime import UTC, datetime
from http import HTTPStatus
from typing import Final

import msgspec

from chargewatch.server.platform.problems import Problem, json_pointer

#: Everything under here speaks OCPI.
OCPI: Final = "/ocpi"

SUCCESS: Final = 1000
CLIENT_ERROR: Final = 2000
INVALID_PARAMETERS: Final = 2001
SERVER_ERROR: Final = 3000

_SANE_ID: Final = re.compile(rb"[A-Za-z0-9._-]{1,128}")
_CODES: Final = {400: INVALID_PARAMETERS, 422: INVALID_PARAMETERS}


class OcpiError(msgspec.Struct, frozen=True, kw_only=True):
    """An error answer of OCPI: 2001 a field is missing or wrong, 2000 another fault of the caller's, 3000 of ours."""

    data: None = None
    status_code: int
    status_message: str
    timestamp: datetime


def is_ocpi(path: str) -> bool:
    """Whether an address speaks OCPI."""
    return path == OCPI or path.startswith(OCPI + "/")


def http_status(status: int) -> int:
    """Returns the HTTP status of an error as OCPI has it: it knows no 422."""
    return 400 if status == HTTPStatus.UNPROCESSABLE_ENTITY else status


def problem_body(problem: Problem) -> bytes:
    """Returns a problem as OCPI answers it."""
    code = _CODES.get(problem.status, CLIENT_ERROR if problem.status < 500 else SERVER_ERROR)
    places = "".join(f" (at {json_pointer(error.loc)})" for error in problem.errors if error.loc)
    message = (problem.detail + places).encode("utf-8", "replace").decode()
    return msgspec.json.encode(
        OcpiError(status_code=code, status_message=message, timestamp=datetime.now(UTC))
    )


def correlation_id(headers: dict[bytes, bytes]) -> bytes | None:
    """Returns the ``X-Correlation-ID`` to send back: the one that came, where it is sane."""
    sent = headers.get(b"x-correlation-id")
    return sent if sent is not None and _SANE_ID.fullmatch(sent) else None
