"""The two clients: one for threads, one for asyncio. They differ in how they send and sleep, in nothing else.

What a call sends and what its answer means stands in the ``…_calls`` modules, once for both. A method is such a
function behind a descriptor: `Client` sends what it returns, `AsyncClient` returns an awaitable that does.
"""

import base64
import functools
import gzip
import inspect
import ssl
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator
from typing import Any, ClassVar, Final, Generic, ParamSpec, Self, TypeVar, overload

import httpx

import chargewatch
from chargewatch.client import (
    batch_calls,
    health_calls,
    native_calls,
    session_calls,
    station_calls,
    threshold_calls,
)
from chargewatch.client.calls import Call, Page, following, from_the_first_page
from chargewatch.client.retries import Attempts, Outcome, Retry, Wait

P = ParamSpec("P")
T = TypeVar("T")
Result = TypeVar("Result")
Item = TypeVar("Item")

COMPRESS_FROM: Final = 8 * 1024
TIMEOUT_S: Final = 30.0
_GZIP_LEVEL: Final = 5


class Method(Generic[P, T]):
    """A method of a client: the function that makes its call, and how to go on from there."""

    _returns: ClassVar[object] = None

    def __init__(self, make: Callable[P, Call[T]]) -> None:
        self.make = make
        self.__doc__ = make.__doc__
        signature = inspect.signature(make)  # for help(): it returns a Call[T] there
        returns = self._returns or signature.return_annotation.__args__[0]
        self._signature = signature.replace(return_annotation=returns)

    def bound(self, carry_out: Callable[[Call[T]], Result]) -> Callable[P, Result]:
        """Returns the method of one client."""

        @functools.wraps(self.make)
        def method(*args: P.args, **kwargs: P.kwargs) -> Result:
            return carry_out(self.make(*args, **kwargs))

        method.__signature__ = self._signature  # type: ignore[attr-defined]
        return method


class Blocking(Method[P, T]):
    """Sends the call and returns its result."""

    @overload
    def __get__(self, client: None, owner: type["Client"]) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type["Client"]) -> Callable[P, T]: ...
    def __get__(self, client: "Client | None", owner: type["Client"]) -> Self | Callable[P, T]:
        """Returns the method of a client."""
        return self if client is None else self.bound(client.carry_out)


class Awaiting(Method[P, T]):
    """Returns what sends the call and results in its result."""

    @overload
    def __get__(self, client: None, owner: type["AsyncClient"]) -> Self: ...
    @overload
    def __get__(self, client: "AsyncClient", owner: type["AsyncClient"]) -> Callable[P, Awaitable[T]]: ...
    def __get__(
        self, client: "AsyncClient | None", owner: type["AsyncClient"]
    ) -> Self | Callable[P, Awaitable[T]]:
        """Returns the method of a client."""
        return self if client is None else self.bound(client.carry_out)


class Walking(Method[P, Page[Item]]):
    """Walks through all pages of a list."""

    _returns = Iterator

    @overload
    def __get__(self, client: None, owner: type["Client"]) -> Self: ...
    @overload
    def __get__(self, client: "Client", owner: type["Client"]) -> Callable[P, Iterator[Item]]: ...
    def __get__(self, client: "Client | None", owner: type["Client"]) -> Self | Callable[P, Iterator[Item]]:
        """Returns the method of a client."""
        return self if client is None else self.bound(client.walk)


class WalkingAsync(Method[P, Page[Item]]):
    """Walks through all pages of a list, asynchronously."""

    _returns = AsyncIterator

    @overload
    def __get__(self, client: None, owner: type["AsyncClient"]) -> Self: ...
    @overload
    def __get__(
        self, client: "AsyncClient", owner: type["AsyncClient"]
    ) -> Callable[P, AsyncIterator[Item]]: ...
    def __get__(
        self, client: "AsyncClient | None", owner: type["AsyncClient"]
    ) -> Self | Callable[P, AsyncIterator[Item]]:
        """Returns the method of a client."""
        return self if client is None else self.bound(client.walk)


class _Connection:
    """Where a client sends its calls, and how: what both kinds have in common."""

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float,
        retry: Retry,
        compress_from: int | None,
    ) -> None:
        url = httpx.URL(base_url)
        if url.scheme not in {"http", "https"} or not url.host or url.userinfo:
            raise ValueError("base_url must be like https://chargewatch.example, without a user or password")
        if not api_key:
            raise ValueError("api_key must not be empty")
        self._base_url = url
        self._api_key = api_key
        self._timeout_s = timeout_s
        self._retry = retry
        self._compress_from = compress_from

    def __repr__(self) -> str:
        return f"{type(self).__name__}({str(self._base_url)!r})"

    def _headers(self) -> dict[str, str]:
        return {
            "Accept": "application/json",
            "User-Agent": f"chargewatch-python/{chargewatch.__version__}",
        }

    def _prepared(self, call: Call[Any]) -> dict[str, Any]:
        """Returns what `httpx.Client.build_request` takes; every attempt is made of the same bytes."""
        headers = {"Authorization": self._authorization(call), **call.headers}
        body = call.body
        if body is not None:
            headers["Content-Type"] = "application/json"
            if self._compress_from is not None and len(body) >= self._compress_from:
                body = gzip.compress(body, _GZIP_LEVEL, mtime=0)
                headers["Content-Encoding"] = "gzip"
        return {
            "method": call.method,
            "url": call.path,
            "params": dict(call.parameters) or None,
            "headers": headers,
            "content": body,
        }

    def _authorization(self, call: Call[Any]) -> str:
        key = self._api_key
        if call.authorization == "Token":  # OCPI 2.2.1, transport and format, 4.1.3
            key = base64.b64encode(key.encode()).decode()
        return f"{call.authorization} {key}"


class Client(_Connection):
    """The API for programs with threads; one client serves any number of them.

        with Client("http://127.0.0.1:8000", api_key) as client:
            for session in client.iterate_sessions(is_anomaly=True):
                print(session.external_session_id, session.categories)

    A method returns its result or raises a `CallFailed`.
    """

    create_session = Blocking(session_calls.create_session)
    replace_session = Blocking(session_calls.replace_session)
    update_session = Blocking(session_calls.update_session)
    get_session = Blocking(session_calls.get_session)
    get_session_if_changed = Blocking(session_calls.get_session_if_changed)
    delete_session = Blocking(session_calls.delete_session)
    list_sessions = Blocking(session_calls.list_sessions)
    iterate_sessions = Walking(session_calls.list_sessions)
    submit_batch = Blocking(batch_calls.submit_batch)
    get_batch_status = Blocking(batch_calls.get_batch_status)
    push_ocpp = Blocking(native_calls.push_ocpp)
    put_ocpi_session = Blocking(native_calls.put_ocpi_session)
    patch_ocpi_session = Blocking(native_calls.patch_ocpi_session)
    get_ocpi_session = Blocking(native_calls.get_ocpi_session)
    list_stations = Blocking(station_calls.list_stations)
    iterate_stations = Walking(station_calls.list_stations)
    get_station = Blocking(station_calls.get_station)
    get_station_connectors = Blocking(station_calls.get_station_connectors)
    get_statistics = Blocking(station_calls.get_statistics)
    get_thresholds = Blocking(threshold_calls.get_thresholds)
    get_thresholds_if_changed = Blocking(threshold_calls.get_thresholds_if_changed)
    change_thresholds = Blocking(threshold_calls.change_thresholds)
    get_health = Blocking(health_calls.get_health)
    get_readiness = Blocking(health_calls.get_readiness)

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: Retry = Retry(),  # noqa: B008 - it cannot be changed
        compress_from: int | None = COMPRESS_FROM,
        trust_env: bool = False,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.BaseTransport | None = None,
    ) -> None:
        """Makes a client; it connects with its first call.

        Args:
            base_url: where the service is, such as ``https://chargewatch.example``.
            api_key: the key, which names the tenant.
            timeout_s: how long one attempt waits for a connection, and for each piece of the answer.
            retry: when and how long calls are repeated; `NO_RETRY` for never.
            compress_from: bodies of at least so many bytes are sent compressed (gzip); None for never.
            trust_env: whether proxies and certificates named in the environment count.
            verify: the certificates to trust.
            transport: another way to send requests, for tests.

        Raises:
            ValueError: the address or the key cannot be used.
        """
        super().__init__(base_url, api_key, timeout_s=timeout_s, retry=retry, compress_from=compress_from)
        self._http = httpx.Client(
            base_url=self._base_url,
            headers=self._headers(),
            trust_env=trust_env,
            verify=verify,
            transport=transport,
        )

    def carry_out(self, call: Call[T]) -> T:
        """Sends a call until there is a result.

        Raises:
            CallFailed: there is none to be had.
        """
        attempts, prepared = Attempts(call, self._retry), self._prepared(call)
        while isinstance(result := attempts.after(self._send(prepared, attempts)), Wait):
            self._retry.sleep(result.seconds)
        return result

    def walk(self, call: Call[Page[Item]]) -> Iterator[Item]:
        """Yields the items of all pages from this call's on."""
        following_call: Call[Page[Item]] | None = from_the_first_page(call)
        while following_call is not None:
            page = self.carry_out(following_call)
            yield from page.items
            following_call = following(following_call, page)

    def _send(self, prepared: dict[str, Any], attempts: Attempts[Any]) -> Outcome:
        request = self._http.build_request(**prepared, timeout=attempts.timeout_s(self._timeout_s))
        try:
            return self._http.send(request)
        except httpx.RequestError as error:
            return error

    def close(self) -> None:
        """Closes the connections."""
        self._http.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()


class AsyncClient(_Connection):
    """The API for programs on asyncio; methods and arguments are those of `Client`, results are awaited.

    async with AsyncClient("http://127.0.0.1:8000", api_key) as client:
        async for session in client.iterate_sessions(is_anomaly=True):
            print(session.external_session_id, session.categories)
    """

    create_session = Awaiting(session_calls.create_session)
    replace_session = Awaiting(session_calls.replace_session)
    update_session = Awaiting(session_calls.update_session)
    get_session = Awaiting(session_calls.get_session)
    get_session_if_changed = Awaiting(session_calls.get_session_if_changed)
    delete_session = Awaiting(session_calls.delete_session)
    list_sessions = Awaiting(session_calls.list_sessions)
    iterate_sessions = WalkingAsync(session_calls.list_sessions)
    submit_batch = Awaiting(batch_calls.submit_batch)
    get_batch_status = Awaiting(batch_calls.get_batch_status)
    push_ocpp = Awaiting(native_calls.push_ocpp)
    put_ocpi_session = Awaiting(native_calls.put_ocpi_session)
    patch_ocpi_session = Awaiting(native_calls.patch_ocpi_session)
    get_ocpi_session = Awaiting(native_calls.get_ocpi_session)
    list_stations = Awaiting(station_calls.list_stations)
    iterate_stations = WalkingAsync(station_calls.list_stations)
    get_station = Awaiting(station_calls.get_station)
    get_station_connectors = Awaiting(station_calls.get_station_connectors)
    get_statistics = Awaiting(station_calls.get_statistics)
    get_thresholds = Awaiting(threshold_calls.get_thresholds)
    get_thresholds_if_changed = Awaiting(threshold_calls.get_thresholds_if_changed)
    change_thresholds = Awaiting(threshold_calls.change_thresholds)
    get_health = Awaiting(health_calls.get_health)
    get_readiness = Awaiting(health_calls.get_readiness)

    def __init__(
        self,
        base_url: str,
        api_key: str,
        *,
        timeout_s: float = TIMEOUT_S,
        retry: Retry = Retry(),  # noqa: B008 - it cannot be changed
        compress_from: int | None = COMPRESS_FROM,
        trust_env: bool = False,
        verify: ssl.SSLContext | bool = True,
        transport: httpx.AsyncBaseTransport | None = None,
    ) -> None:
        """Makes a client; arguments and errors as `Client`."""
        super().__init__(base_url, api_key, timeout_s=timeout_s, retry=retry, compress_from=compress_from)
        self._http = httpx.AsyncClient(
            base_url=self._base_url,
            headers=self._headers(),
            trust_env=trust_env,
            verify=verify,
            transport=transport,
        )

    async def carry_out(self, call: Call[T]) -> T:
        """Sends a call until there is a result.

        Raises:
            CallFailed: there is none to be had.
        """
        attempts, prepared = Attempts(call, self._retry), self._prepared(call)
        while isinstance(result := attempts.after(await self._send(prepared, attempts)), Wait):
            await self._retry.sleep_async(result.seconds)
        return result

    async def walk(self, call: Call[Page[Item]]) -> AsyncIterator[Item]:
        """Yields the items of all pages from this call's on."""
        following_call: Call[Page[Item]] | None = from_the_first_page(call)
        while following_call is not None:
            page = await self.carry_out(following_call)
            for item in page.items:
                yield item
            following_call = following(following_call, page)

    async def _send(self, prepared: dict[str, Any], attempts: Attempts[Any]) -> Outcome:
        request = self._http.build_request(**prepared, timeout=attempts.timeout_s(self._timeout_s))
        try:
            return await self._http.send(request)
        except httpx.RequestError as error:
            return error

    async def aclose(self) -> None:
        """Closes the connections."""
        await self._http.aclose()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.aclose()
