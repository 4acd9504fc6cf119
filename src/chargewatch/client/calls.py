"""A call before it is sent: everything that an HTTP request needs, and how to read the answer. No input or output."""

import inspect
import re
from collections.abc import Callable, Mapping, Sequence
from enum import Enum
from types import GenericAlias
from typing import Any, Final, Generic, Literal, ParamSpec, Protocol, TypeVar
from urllib.parse import quote

import httpx
import msgspec

from chargewatch.client.bodies import parameters
from chargewatch.domain.ids import external_id

Q = ParamSpec("Q")
T = TypeVar("T")
Result = TypeVar("Result", covariant=True)
Item = TypeVar("Item", covariant=True)

#: The largest page that the API gives.
LARGEST_PAGE: Final = 100

_VISIBLE: Final = re.compile(r"[!-~]{1,255}", re.ASCII)


class Repeat(Enum):
    """When a call may be sent again."""

    NEVER = "never"
    """It asks how things are just now."""
    UNLESS_DONE = "unless done"
    """Only when it certainly was not carried out: its second run would fail or do something else."""
    ALWAYS = "always"
    """Also when the answer was lost: a second run leaves everything as the first one did."""


class Call(msgspec.Struct, Generic[Result], frozen=True, kw_only=True):
    """One call: what to send, and what its answer means."""

    method: str
    path: str
    """Percent-encoded, from the base URL on."""
    read: Callable[[httpx.Response], Result]
    """Makes the result of an answer below 400; raises a ValueError or msgspec's errors for what is none."""
    parameters: Mapping[str, str] = {}
    headers: Mapping[str, str] = {}
    body: bytes | None = None
    """JSON."""
    repeat: Repeat = Repeat.ALWAYS
    gone_is_done: bool = False
    """The call was carried out when a later attempt finds nothing any more."""
    authorization: Literal["Bearer", "Token"] = "Bearer"


def listing(path: str, query: Callable[Q, msgspec.Struct], type_: type[T]) -> Callable[Q, Call[T]]:
    """Returns the function that makes the call for a page of a list; its arguments are the query's fields."""
    read = reader(type_)

    def make(*args: Q.args, **kwargs: Q.kwargs) -> Call[T]:
        return Call(method="GET", path=path, read=read, parameters=parameters(query(*args, **kwargs)))

    make.__doc__ = query.__doc__
    returns = GenericAlias(Call, (type_,))
    make.__signature__ = inspect.signature(query).replace(return_annotation=returns)  # type: ignore[attr-defined]
    return make


def reader(type_: type[T]) -> Callable[[httpx.Response], T]:
    """Returns what reads answers of a type."""
    decoder = msgspec.json.Decoder(type_)
    return lambda response: decoder.decode(response.content)


def nothing(response: httpx.Response) -> None:
    """Reads an answer without a body.

    Raises:
        ValueError: it is another one.
    """
    if response.status_code != httpx.codes.NO_CONTENT:
        raise ValueError("an answer without a body was expected")


def encoded(body: object) -> bytes:
    """Returns a body as JSON."""
    return msgspec.json.encode(body)


def segment(name: str, text: str) -> str:
    """Returns an id as a part of a path.

    Raises:
        ValueError: no id of the API can look like that.
    """
    try:
        return quote(external_id(text), safe="")
    except ValueError as problem:
        raise ValueError(f"{name} {problem}") from None


def conditions(
    *,
    if_match: int | str | None = None,
    if_none_match: int | str | None = None,
    idempotency_key: str | None = None,
) -> dict[str, str]:
    """Returns the headers that tie a call to a version or to its own earlier attempts.

    Raises:
        ValueError: a header cannot hold the key.
    """
    if idempotency_key is not None and not _VISIBLE.fullmatch(idempotency_key):
        raise ValueError("idempotency_key must be 1 to 255 visible ASCII characters")
    given = {
        "If-Match": None if if_match is None else entity_tag(if_match),
        "If-None-Match": None if if_none_match is None else entity_tag(if_none_match),
        "Idempotency-Key": idempotency_key,
    }
    return {name: text for name, text in given.items() if text is not None}


def entity_tag(version: int | str) -> str:
    """Returns a version as the API's ``ETag``; a text is taken to be one already."""
    return f'"{version}"' if isinstance(version, int) else version


def repeat_of(headers: Mapping[str, str]) -> Repeat:
    """Returns when a change may be repeated: one that is tied to a version finds another one after its first run."""
    tied = "If-Match" in headers and "Idempotency-Key" not in headers
    return Repeat.UNLESS_DONE if tied else Repeat.ALWAYS


class Page(Protocol[Item]):
    """A page of some list."""

    @property
    def items(self) -> Sequence[Item]:
        """What is on it."""
        ...

    def following(self) -> Mapping[str, str] | None:
        """Returns the parameters that name the next page; None on the last one."""
        ...


P = TypeVar("P", bound=Page[Any])


def from_the_first_page(call: Call[P]) -> Call[P]:
    """Returns the call for the first page of a walk through a list; pages are as large as can be."""
    sized = {"page_size": str(LARGEST_PAGE), **call.parameters}
    return msgspec.structs.replace(call, parameters=sized)


def following(call: Call[P], page: P) -> Call[P] | None:
    """Returns the call for the page after this one; None when there is none."""
    named = page.following()
    if named is None:
        return None
    kept = {name: text for name, text in call.parameters.items() if name != "page"}
    return msgspec.structs.replace(call, parameters={**kept, **named})
