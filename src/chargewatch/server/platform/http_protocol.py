"""uvicorn's HTTP/1.1 connection, made safe against clients that are slow, endless or not speaking HTTP.

uvicorn bounds neither the time nor the size of a request's head, goes on reading a body that was refused,
waits for ever for a client that does not read its answer, and answers what is not HTTP in plain text. The
body's own deadline is in `request_body`.
"""

import asyncio
from typing import Any, ClassVar, Literal

from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol

from chargewatch.server.platform import problems
from chargewatch.server.platform.problems import Problem
from chargewatch.server.platform.request_context import new_request_id


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    #: How long the head of a request may take; of the first one, from the connection on.
    head_deadline_s: ClassVar[float] = 10.0
    #: How long the rest of a body that nobody reads is thrown away before the connection is closed.
    leftover_deadline_s: ClassVar[float] = 5.0
    #: How long a stopping server waits for the request of a client that has just connected.
    arrival_deadline_s: ClassVar[float] = 0.5
    #: How long a client may take to read what was sent to it.
    reading_deadline_s: ClassVar[float] = 120.0
    largest_head: ClassVar[int] = 64 * 1024

    _deadline: asyncio.TimerHandle | None = None
    _reading_deadline: asyncio.TimerHandle | None = None
    _stage: Literal["idle", "head", "body"] = "idle"
    _head_size = 0
    _is_last = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock for the first request."""
        super().connection_made(transport)
        self._set_deadline(self.head_deadline_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clocks."""
        self._clear_deadline()
        self._clear_reading_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what arrived; what stays incomplete is watched."""
        was_in_head = self._stage == "head"
        super().data_received(data)
        if self._stage == "body" or self.transport.is_closing():
            return
        if was_in_head and self._stage == "head":
            self._head_size += len(data)
            if self._head_size > self.largest_head:
                self.send_400_response("The head of the request is too large.")
                return
        if self._deadline is None and self._is_between_calls():
            self._set_deadline(self.head_deadline_s)

    def on_message_begin(self) -> None:
        """Begins a request."""
        self._stage = "head"
        self._head_size = 0
        super().on_message_begin()

    def on_headers_complete(self) -> None:
        """Begins the call."""
        self._stage = "body"
        self._clear_deadline()
        super().on_headers_complete()
        if self._is_last:
            self.cycle.keep_alive = False

    def on_message_complete(self) -> None:
        """Ends the request; the next one may begin."""
        self._stage = "idle"
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Ends the call; a body that is still coming is thrown away, for a while."""
        super().on_response_complete()
        if self._stage == "body" and not self.transport.is_closing():
            self._set_deadline(self.leftover_deadline_s)

    def pause_writing(self) -> None:
        """Watches a client that has much to read."""
        super().pause_writing()
        self._clear_reading_deadline()
        self._reading_deadline = self.loop.call_later(self.reading_deadline_s, self.transport.abort)

    def resume_writing(self) -> None:
        """Stops watching: it has read nearly all."""
        self._clear_reading_deadline()
        super().resume_writing()

    def shutdown(self) -> None:
        """Ends the connection after what it is doing; a request that is on its way is still answered."""
        if self._stage == "head" or self.cycle is None:
            self._is_last = True
            self._set_deadline(self.arrival_deadline_s)
        else:
            super().shutdown()

    def send_400_response(self, msg: str) -> None:
        """Answers what is not HTTP like every other error."""
        if self.transport.is_closing():
            return
        self.transport.write(_bad_request("The request is not HTTP/1.1." if "Invalid" in msg else msg))
        self.transport.close()

    def _unsupported_upgrade_warning(self) -> None:
        """Says nothing: clients that offer HTTP/2 on the side are common."""

    def _set_deadline(self, seconds: float) -> None:
        self._clear_deadline()
        self._deadline = self.loop.call_later(seconds, self._cut)

    def _clear_deadline(self) -> None:
        if self._deadline is not None:
            self._deadline.cancel()
            self._deadline = None

    def _clear_reading_deadline(self) -> None:
        if self._reading_deadline is not None:
            self._reading_deadline.cancel()
            self._reading_deadline = None

    def _cut(self) -> None:
        self._deadline = None
        if self._is_between_calls():
            self.transport.close()

    def _is_between_calls(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


def _bad_request(detail: str) -> bytes:
    request_id = new_request_id()
    body = Problem(400, "bad_request", detail).document(request_id)
    headers: dict[str, Any] = {
        "content-type": problems.CONTENT_TYPE,
        "content-length": len(body),
        "x-request-id": request_id,
        "connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in headers.items())
    return b"".join([STATUS_LINE[400], lines.encode("ascii"), b"\r\n", body])
