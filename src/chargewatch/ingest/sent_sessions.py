"""Sessions of a file as they were sent: the texts of numbers, the names as written, where and when. For storing."""

from collections.abc import Sequence
from typing import NamedTuple

from chargewatch.ingest.readings import Reading


class SentSession(NamedTuple):
    """A session, or a part of one, that is to be stored; None means that the file does not say.

    ``number`` grows in the order of the file; the same file gives the same numbers each time. Times are microseconds
    since 1970, ``metadata`` is the text of a JSON object.
    """

    number: int
    session_id: str
    station: str
    evse_id: str | None
    connector_id: str | None
    readings: Sequence[Reading]
    managed: bool | None = None
    started_us: int | None = None
    ended_us: int | None = None
    stop_reason: str | None = None
    metadata: str | None = None


class Refusal(NamedTuple):
    """What was not taken from a file, and why: a row, a line, or a whole session (``session_id``).

    ``row`` counts data rows from 1, ``line`` the lines of a text file; of a session they are its first ones.
    """

    file: str
    row: int | None
    line: int | None
    session_id: str | None
    reason: str
