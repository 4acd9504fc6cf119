"""A client of HTTP/1.1 that sends exactly the bytes it is given, right or wrong, over loopback."""

import asyncio
import contextlib
from collections.abc import Sequence
from typing import NamedTuple

PATIENCE_S = 60.0
LONGEST_HEAD = 256 * 1024

Headers = Sequence[tuple[bytes, bytes]]


class Reply(NamedTuple):
    """An answer as it came."""

    status: int
    headers: list[tuple[str, str]]
    body: bytes

    def header(self, name: str) -> str | None:
        """The value of a header by its lower-case name; None when it is not there."""
        return next((value for given, value in self.headers if given == name), None)


class NoReply(Exception):
    """The server ended the connection without an answer."""


def request_head(method: bytes, target: bytes, headers: Headers) -> bytes:
    """The bytes of a head; nothing in it is checked."""
    lines = [method + b" " + target + b" HTTP/1.1", *(name + b": " + value for name, value in headers)]
    return b"\r\n".join(lines) + b"\r\n\r\n"


class Connection:
    """One connection, opened again whenever the server has closed it."""

    def __init__(self, port: int) -> None:
        self._port = port
        self._reader: asyncio.StreamReader | None = None
        self._writer: asyncio.StreamWriter | None = None

    async def exchange(self, sent: bytes, *, method: bytes = b"GET") -> Reply:
        """Sends bytes and reads one answer.

        Raises:
            NoReply: the connection ended first, twice.
        """
        for fresh in (False, True):
            if fresh or self._writer is None or self._writer.is_closing():
                await self._open()
            try:
                return await asyncio.wait_for(self._exchange(sent, method), PATIENCE_S)
            except (OSError, asyncio.IncompleteReadError):
                await self.close()
        raise NoReply

    async def _open(self) -> None:
        await self.close()
        self._reader, self._writer = await asyncio.open_connection(
            "127.0.0.1", self._port, limit=LONGEST_HEAD
        )

    async def _exchange(self, sent: bytes, method: bytes) -> Reply:
        assert self._reader is not None
        assert self._writer is not None
        self._writer.write(sent)
        status, headers = await self._head()
        while 100 <= status < 200:
            status, headers = await self._head()
        reply = Reply(status, headers, b"")
        if method != b"HEAD" and status not in (204, 304):
            size = reply.header("content-length")
            assert size is not None, "an answer without its length"
            reply = reply._replace(body=await self._reader.readexactly(int(size)))
        if reply.header("connection") == "close":
            await self.close()
        return reply

    async def _head(self) -> tuple[int, list[tuple[str, str]]]:
        assert self._reader is not None
        lines = (await self._reader.readuntil(b"\r\n\r\n")).decode("latin-1").split("\r\n")
        pairs = [line.partition(":") for line in lines[1:] if line]
        return int(lines[0].split()[1]), [(name.lower(), value.strip()) for name, _, value in pairs]

    async def close(self) -> None:
        """Ends the connection."""
        if self._writer is not None:
            self._writer.close()
            with contextlib.suppress(OSError):
                await self._writer.wait_closed()
            self._writer = None
