"""What goes in and out of the calls on thresholds; the limits are those of `chargewatch.domain.limits`."""

from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import msgspec
from msgspec import UNSET, Meta, UnsetType

from chargewatch.domain.categories import Category
from chargewatch.domain.limits import LIMITS, Limit, RelaxedBy, default_of


def _value(limit: Limit) -> object:
    """Returns the type of a limit's value in a body."""
    return Annotated[float, Meta(ge=limit.least, le=limit.most)] | None | UnsetType


if TYPE_CHECKING:
    ThresholdValues = msgspec.Struct
else:
    ThresholdValues = msgspec.defstruct(
        "ThresholdValues",
        [(name, _value(limit), UNSET) for name, limit in LIMITS.items()],
        kw_only=True,
        forbid_unknown_fields=True,
        namespace={
            "__doc__": "Limit -> its value; null sets the default again. Limits that are not named stay.",
            "json_schema": {
                "properties": {
                    name: {"description": f"{limit.meaning} Default: {default_of(name):g} ({limit.unit})."}
                    for name, limit in LIMITS.items()
                }
            },
        },
    )


class ThresholdsIn(msgspec.Struct, forbid_unknown_fields=True, kw_only=True):
    """Body of PUT /v1/thresholds."""

    thresholds: ThresholdValues


class Threshold(msgspec.Struct, kw_only=True):
    """A limit: its value in force, the default, and the bounds within which it can be set.

    ``category`` is null where several share the limit. ``relaxed_by`` says what makes fewer sessions be reported.
    """

    name: str
    value: float
    default: float
    minimum: float
    maximum: float
    unit: str
    category: Category | None
    relaxed_by: RelaxedBy
    meaning: str


class Thresholds(msgspec.Struct, kw_only=True):
    """The limits by which the tenant's sessions are judged. ``version`` grows with each change."""

    version: int
    updated_at: datetime | None
    thresholds: list[Threshold]


def values_of(body: ThresholdsIn) -> dict[str, float | None]:
    """Returns the limits that a body names."""
    given = {name: getattr(body.thresholds, name) for name in LIMITS}
    return {name: value for name, value in given.items() if value is not UNSET}
