"""The calls on the limits by which sessions are judged (``/v1/thresholds``)."""

from collections.abc import Mapping

import httpx

from chargewatch.client.answers import Thresholds
from chargewatch.client.bodies import ThresholdsBody
from chargewatch.client.calls import Call, conditions, encoded, reader, repeat_of

_PATH = "/v1/thresholds"

_thresholds = reader(Thresholds)


def get_thresholds() -> Call[Thresholds]:
    """Returns every limit: its value in force, the default, the bounds and what it means."""
    return Call(method="GET", path=_PATH, read=_thresholds)


def get_thresholds_if_changed(if_none_match: int | str) -> Call[Thresholds | None]:
    """Returns the limits as `get_thresholds` does, or None while they are still at the version ``if_none_match``."""

    def read(response: httpx.Response) -> Thresholds | None:
        return None if response.status_code == httpx.codes.NOT_MODIFIED else _thresholds(response)

    return Call(method="GET", path=_PATH, read=read, headers=conditions(if_none_match=if_none_match))


def change_thresholds(
    thresholds: Mapping[str, float | None],
    *,
    if_match: int | str | None = None,
    idempotency_key: str | None = None,
) -> Call[Thresholds]:
    """Gives limits other values; sessions are judged by them within two seconds.

    A session keeps its verdict until it is judged again. A repeat has no second effect; with ``if_match`` and no
    ``idempotency_key`` it is not made.

    Args:
        thresholds: name -> value, as `get_thresholds` names them; None sets the default again, and limits that are
            not named stay.
        if_match: change them only when they are at this version, else `PreconditionFailed`.
        idempotency_key: the same text for every attempt at this one change.
    """
    headers = conditions(if_match=if_match, idempotency_key=idempotency_key)
    return Call(
        method="PUT",
        path=_PATH,
        read=_thresholds,
        body=encoded(ThresholdsBody(thresholds=thresholds)),
        headers=headers,
        repeat=repeat_of(headers),
    )
