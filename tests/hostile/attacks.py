"""One hostile request, and how requests of many kinds are put together for a call."""

from typing import NamedTuple

from tests.hostile.connection import Headers, request_head


class Attack(NamedTuple):
    """A request as it is sent, without its key."""

    kind: str
    """The class of attack, a column of the report."""
    label: str
    """What is hostile in it, short."""
    method: bytes
    target: bytes
    headers: Headers = ()
    body: bytes = b""
    canary: bytes = b""
    """A word of it that no refusal may repeat; empty where it holds none."""
    refused: bool = False
    """Whether it may never be accepted."""
    elsewhere: bool = False
    """Whether it may be taken for another address, or for no HTTP at all, rather than for the call."""
    framed: bool = False
    """Whether its headers say themselves how long the body is."""
    anonymous: bool = False
    """Whether it comes with credentials of its own instead of the tenant's."""

    def wire(self, port: int, authorization: bytes) -> bytes:
        """The bytes to send."""
        headers = [(b"Host", b"127.0.0.1:%d" % port), *self.headers]
        if not self.anonymous:
            headers.append((b"Authorization", authorization))
        if not self.framed and (self.body or self.method not in (b"GET", b"DELETE")):
            headers.append((b"Content-Length", b"%d" % len(self.body)))
        return request_head(self.method, self.target, headers) + self.body
