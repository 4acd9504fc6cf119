"""uvicorn's HTTP/1.1 connection, made safe against clients that are slow, endless, many or not speaking HTTP.

uvicorn bounds neither the time nor the size of a request's head, nor what is wrapped around a body's pieces,
nor how many calls are sent at once; it goes on reading a body that was refused, waits for ever for a client
that does not read its answer, and answers what is not HTTP in plain text. The body's own deadline is in
`request_body`.
"""

import asyncio
import functools
from typing import Any, Final, Literal, cast

import httptools
import msgspec
from uvicorn.config import Config
from uvicorn.protocols.http.httptools_impl import STATUS_LINE, HttpToolsProtocol
from uvicorn.server import ServerState

from chargewatch.server.platform import problems
from chargewatch.server.platform.problems import Problem
from chargewatch.server.platform.request_context import RequestContext

#: Bytes of a head, and of what is wrapped around the pieces of a body, that need no body to speak for them.
LARGEST_HEAD: Final = 64 * 1024
MOST_HEADERS: Final = 100
#: Bytes of a body for each byte that is wrapped around its pieces: pieces of fewer than 20 bytes are an attack.
LEAST_CONTENT: Final = 4
#: Calls that may wait on one connection for the answer to an earlier one.
MOST_PIPELINED: Final = 64
#: Connections beyond the limit that are still given time to read why they are refused.
MOST_TURNED_AWAY: Final = 256


class ConnectionLimits(msgspec.Struct, frozen=True, kw_only=True):
    """How long connections may take, and how many there may be; most of it is settings."""

    header_deadline_s: float = 10.0
    """For the head of a request; of the first one, from the connection on."""
    keep_alive_s: float = 15.0
    """Between calls."""
    answer_deadline_s: float = 120.0
    """For the client to read what was sent to it."""
    leftover_deadline_s: float = 5.0
    """For the rest of a body that nobody reads, which is thrown away."""
    farewell_deadline_s: float = 1.5
    """For a client that still sends to read the last answer before its connection is gone."""
    arrival_deadline_s: float = 0.5
    """A stopping server waits so long for the request of a client that has just connected."""
    most_connections: int = 4096


class HttpProtocol(HttpToolsProtocol):
    """One connection."""

    def __init__(
        self,
        config: Config,
        server_state: ServerState,
        app_state: dict[str, Any],
        _loop: asyncio.AbstractEventLoop | None = None,
        *,
        limits: ConnectionLimits,
    ) -> None:
        super().__init__(config, server_state, app_state, _loop)
        self._limits = limits
        self.timeout_keep_alive = self._limits.keep_alive_s  # type: ignore[assignment]  # a timer takes both
        self._deadline: asyncio.TimerHandle | None = None
        self._reading_deadline: asyncio.TimerHandle | None = None
        self._stage: Literal["idle", "head", "body"] = "idle"
        self._content = 0
        self._wrapping = 0
        self._refusal: Problem | None = None
        self._is_last = False
        self._is_over = False

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Starts the clock for the first request; one connection too many is turned away."""
        super().connection_made(transport)
        too_many = len(self.connections) - self._limits.most_connections
        if too_many > 0:
            self._end(problems.unavailable("Too many connections; repeat the call.", "overloaded"))
            if too_many > MOST_TURNED_AWAY:
                transport.close()
            return
        self._set_deadline(self._limits.header_deadline_s)

    def connection_lost(self, exc: Exception | None) -> None:
        """Stops the clocks."""
        self._clear_deadline()
        self._clear_reading_deadline()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Parses what arrived; what stays incomplete is watched."""
        self._unset_keepalive_if_required()
        if self._is_over:
            return
        self._wrapping += len(data)
        try:
            self.parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            self._is_over = True  # it is answered as any call, as the last one
            return
        except httptools.HttpParserError:
            self._refuse(self._refusal or _bad_request("The request is not HTTP/1.1."))
            return
        if self._stage != "idle" and self._wrapping > LARGEST_HEAD + self._content // LEAST_CONTENT:
            self._refuse(_too_large())
        elif self._deadline is None and self._stage != "body" and self._is_between_calls():
            self._set_deadline(self._limits.header_deadline_s)

    def on_message_begin(self) -> None:
        """Begins a request."""
        if len(self.pipeline) >= MOST_PIPELINED:
            self._stop_parsing(_bad_request("Too many calls were sent before the first was answered."))
        self._stage = "head"
        super().on_message_begin()

    def on_header(self, name: bytes, value: bytes) -> None:
        """Takes a header; what comes behind a body is thrown away."""
        if self._stage == "body":
            return
        if len(self.headers) == MOST_HEADERS:
            self._stop_parsing(_too_large())
        super().on_header(name, value)

    def on_headers_complete(self) -> None:
        """Begins the call."""
        fault = _fault_of(self.parser.get_http_version(), self.headers)
        if fault is not None:
            self._stop_parsing(_bad_request(fault))
        if len(self.url) + sum(len(name) + len(value) for name, value in self.headers) > LARGEST_HEAD:
            self._stop_parsing(_too_large())
        super().on_headers_complete()
        self._stage = "body"
        self._clear_deadline()
        self.cycle.transport = cast("asyncio.Transport", _Exit(self))
        if self._is_last or self.parser.should_upgrade():
            self.cycle.keep_alive = False

    def on_body(self, body: bytes) -> None:
        """Hands on a piece of the body."""
        self._wrapping -= len(body)
        self._content += len(body)
        super().on_body(body)

    def on_message_complete(self) -> None:
        """Ends the request; the next one may begin."""
        self._stage = "idle"
        self._content = self._wrapping = 0
        self._clear_deadline()
        super().on_message_complete()

    def on_response_complete(self) -> None:
        """Ends the call; a body that is still coming is thrown away, for a while."""
        super().on_response_complete()
        if self.transport.is_closing() or self._is_over:
            self._watch_the_rest()
        elif self._stage == "body" and not self.pipeline:
            self._set_deadline(self._limits.leftover_deadline_s)

    def pause_writing(self) -> None:
        """Watches a client that has much to read."""
        super().pause_writing()
        self._watch_reading()

    def resume_writing(self) -> None:
        """Stops watching: it has read nearly all."""
        self._clear_reading_deadline()
        super().resume_writing()
        if self.transport.is_closing():
            self._watch_the_rest()

    def timeout_keep_alive_handler(self) -> None:
        """Closes an idle connection, also one whose client has not read its last answer."""
        super().timeout_keep_alive_handler()
        self._watch_the_rest()

    def shutdown(self) -> None:
        """Ends the connection after what it is doing; a request that is on its way is still answered."""
        if self._is_over and self._is_between_calls():
            self.transport.close()
        elif not self._is_over and (self._stage == "head" or self.cycle is None):
            self._is_last = True
            self._set_deadline(self._limits.arrival_deadline_s)
        else:
            super().shutdown()

    def _stop_parsing(self, problem: Problem) -> None:
        """Refuses the request out of the parser's hands."""
        self._refusal = problem
        raise ValueError(problem.code)

    def _refuse(self, problem: Problem) -> None:
        """Answers what is not HTTP, or too much of it, like every other error, and ends the connection.

        Answers come in the order of the requests: while an earlier call is at work, its answer is the last.
        """
        if self.transport.is_closing():
            return
        if self._is_between_calls():
            if self._stage == "body":  # it has its answer already
                self.transport.close()
            else:
                self._end(problem)
        elif self._stage != "body":
            self._is_over = True
            self.cycle.keep_alive = False
        elif self.pipeline or self.cycle.response_started:
            self.transport.abort()
        else:
            self.cycle.disconnected = True
            self.cycle.message_event.set()
            self._end(problem)

    def _end(self, problem: Problem) -> None:
        """Sends a last answer."""
        self.transport.write(_answer(problem, self.headers))
        self._say_farewell()

    def _say_farewell(self) -> None:
        """Closes the connection of a client that may still be sending.

        Closing at once would reset the connection and take along the answer that the client has not read yet.
        """
        self._is_over = True
        if self.transport.can_write_eof():
            self.transport.write_eof()
        self.flow.resume_reading()
        self._set_deadline(self._limits.farewell_deadline_s)

    def close_after_call(self) -> None:
        """Closes the connection after the answer to its last call."""
        if self._stage == "body" and not self.transport.is_closing():
            self._say_farewell()
        else:
            self.transport.close()

    def _watch_reading(self) -> None:
        self._clear_reading_deadline()
        self._reading_deadline = self.loop.call_later(self._limits.answer_deadline_s, self.transport.abort)

    def _watch_the_rest(self) -> None:
        """A closed connection lives until the client has read everything."""
        if self._reading_deadline is None and self.transport.get_write_buffer_size():
            self._watch_reading()

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
        if self._is_over:
            self.transport.abort()
        elif self._is_between_calls():
            self.transport.close()
            self._watch_the_rest()

    def _is_between_calls(self) -> bool:
        return self.cycle is None or self.cycle.response_complete


class _Exit:
    """The connection as a call sees it: what it closes is closed gently."""

    def __init__(self, protocol: HttpProtocol) -> None:
        self._protocol = protocol
        self.write = protocol.transport.write
        self.is_closing = protocol.transport.is_closing

    def close(self) -> None:
        """Closes it."""
        self._protocol.close_after_call()


def protocol_with(limits: ConnectionLimits) -> type[asyncio.Protocol]:
    """Returns what makes connections with these limits, as uvicorn takes it."""
    return cast("type[asyncio.Protocol]", functools.partial(HttpProtocol, limits=limits))


def _fault_of(version: str, headers: list[tuple[bytes, bytes]]) -> str | None:
    """Returns what is wrong with a head that the parser lets pass: servers on the way may read it otherwise."""
    names = [name for name, _ in headers]
    if version not in ("1.0", "1.1"):
        return "The request is not HTTP/1.1."
    if names.count(b"host") != 1 and (version == "1.1" or b"host" in names):
        return "The request needs one Host header."
    codings = [value.strip().lower() for name, value in headers if name == b"transfer-encoding"]
    if codings and (codings != [b"chunked"] or version == "1.0" or b"content-length" in names):
        return "The request's Transfer-Encoding is not understood."
    return None


def _bad_request(detail: str) -> Problem:
    return Problem(400, "bad_request", detail)


def _too_large() -> Problem:
    return _bad_request("The head of the request, or what is around its body, is too large.")


def _answer(problem: Problem, headers: list[tuple[bytes, bytes]] | None) -> bytes:
    """Returns a last answer as bytes; it bears the request's id as far as that has been read."""
    context = RequestContext(dict(headers or ()))
    body = problem.document(context.request_id)
    fields: dict[str, object] = {
        "content-type": problems.CONTENT_TYPE,
        "content-length": len(body),
        **{name.lower(): value for name, value in problem.headers.items()},
        "x-request-id": context.request_id,
        "traceparent": context.traceparent,
        "cache-control": "no-store",
        "connection": "close",
    }
    lines = "".join(f"{name}: {value}\r\n" for name, value in fields.items())
    return b"".join([STATUS_LINE[problem.status], lines.encode("ascii"), b"\r\n", body])
