"""What fits together in a request beyond the words of JSON Schema; schemathesis loads this (``SCHEMATHESIS_HOOKS``)."""

import itertools
import re
from typing import Any

import schemathesis

_KEY = re.compile(r"[\x21-\x7e]{1,255}")
_numbers = itertools.count()


@schemathesis.hook
def before_call(context: Any, case: Any, kwargs: Any) -> None:
    """Makes the parts of a request fit together."""
    key = (case.headers or {}).get("Idempotency-Key")
    if isinstance(key, str) and _KEY.fullmatch(key):
        # A key that was used with another payload is refused, one with the same payload is answered as before,
        # whatever else is wrong: each call gets one of its own.
        case.headers["Idempotency-Key"] = f"{key[:200]}-{next(_numbers)}"
    if case.meta is None or not case.meta.generation.mode.is_positive:
        return
    if case.query and "cursor" in case.query:
        case.query.pop("cursor")  # only the server makes cursors: the contract tests follow them
    _order_times(case.body)


def _order_times(body: Any) -> None:
    """A session does not end before it starts."""
    if (
        isinstance(body, dict)
        and isinstance(body.get("started_at"), str)
        and isinstance(body.get("ended_at"), str)
    ):
        body["ended_at"] = body["started_at"]
