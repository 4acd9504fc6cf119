"""One keep-alive HTTP connection that tells apart what was never sent, what was answered, and what nobody knows."""

import asyncio
import contextlib
import json
from collections.abc import Callable
from typing import Any, NamedTuple

Address = tuple[str, int]
PATIENCE_S = 60.0


class Unsent(Exception):
    """Nobody listens: the call was not made."""


class Answer(NamedTuple):
    """An answer; names of headers in lower case."""

    status: int
    headers: dict[str, str]
    body: bytes

    def json(self) -> Any:
        """The body's content."""
        return json.loads(self.body)


class Wire:
    """A connection with a key to wherever the service listens at the moment."""

    def __init__(self, key: str, where: Callable[[], Address | None]) -> None:
        self._key = key
        self._where = where
        self._streams: tuple[asyncio.StreamReader, asyncio.StreamWriter] | None = None

    async def call(
        self, method: str, path: str, body: object = None, headers: dict[str, str] | None = None
    ) -> Answer | None:
        """Sends a call and reads its answer; None where the connection ended or nothing came in time.

        Raises:
            Unsent: there is nothing to connect to.
        """
        reader, writer = await self._connected()
        sent = b"" if body is None else json.dumps(body).encode()
        lines = {
            "Host": "chargewatch",
            "Authorization": f"Bearer {self._key}",
            "Content-Type": "application/json",
            "Content-Length": str(len(sent)),
            **(headers or {}),
        }
        head = f"{method} {path} HTTP/1.1\r\n" + "".join(
            f"{name}: {text}\r\n" for name, text in lines.items()
        )
        try:
            writer.write(head.encode() + b"\r\n" + sent)
            async with asyncio.timeout(PATIENCE_S):
                answer = await _read(reader)
        except (OSError, EOFError, TimeoutError):
            self.close()
            return None
        if answer.headers.get("connection") == "close":
            self.close()
        return answer

    async def _connected(self) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        if self._streams is None:
            address = self._where()
            if address is None:
                raise Unsent
            try:
                self._streams = await asyncio.open_connection(*address)
            except OSError:
                raise Unsent from None
        return self._streams

    def close(self) -> None:
        """Ends the connection; the next call makes a new one."""
        if self._streams is not None:
            with contextlib.suppress(RuntimeError):  # its loop has ended
                self._streams[1].transport.abort()
            self._streams = None


async def _read(reader: asyncio.StreamReader) -> Answer:
    head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
    first, *lines = head.rstrip("\r\n").split("\r\n")
    headers = {name.lower(): text.strip() for name, _, text in (line.partition(":") for line in lines)}
    body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(first.split(" ", 2)[1]), headers, body)
