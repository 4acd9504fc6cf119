"""What can be wrong with the database, each as one line that an operator can act on."""

from typing import Final

import asyncpg

#: SQLSTATE classes and codes after which the same call may well succeed a little later: connection lost,
#: resources exhausted, statement cancelled or server stopping, I/O, idle transaction cut, read-only standby,
#: serialization failure, deadlock, lock not available.
_PASSING: Final = ("08", "53", "57", "58", "25P03", "25006", "40001", "40P01", "55P03")


class DatabaseError(Exception):
    """The database cannot be used as it is; the text is one line and holds no secret."""


class DatabaseUnavailable(DatabaseError):
    """The database does not answer now; whether the transaction was applied is not known. Try again later."""


class Contention(DatabaseUnavailable):
    """Another transaction was in the way (a deadlock, for one); this one was not applied. Try again."""


class DiskFull(DatabaseUnavailable):
    """There is no room to store anything; reading works. The transaction was not applied."""


class SchemaMismatch(DatabaseError):
    """The database is at another schema version than this program."""


_CONTENTION: Final = ("40001", "40P01", "55P03")
_DISK_FULL: Final = "53100"


def outage(problem: BaseException) -> DatabaseUnavailable:
    """What a passing problem (`is_passing`) means to a call."""
    code = getattr(problem, "sqlstate", None)
    if code in _CONTENTION:
        return Contention(f"another transaction was in the way: {one_line(problem)}")
    if code == _DISK_FULL:
        return DiskFull(f"the database has no room: {one_line(problem)}")
    return DatabaseUnavailable(f"the database failed: {one_line(problem)}")


def is_passing(problem: BaseException) -> bool:
    """Whether this is an outage (try again) rather than a fault of the program or its data."""
    if isinstance(problem, asyncpg.PostgresError):
        return (problem.sqlstate or "").startswith(_PASSING)
    return isinstance(problem, ConnectionError | TimeoutError | asyncpg.InternalClientError)


def one_line(problem: BaseException) -> str:
    """The first line of a problem's text; asyncpg's texts name users and hosts, never passwords."""
    return (str(problem).strip().splitlines() or [type(problem).__name__])[0]
