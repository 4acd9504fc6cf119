"""Builds columns from readings given one by one."""

from collections.abc import Iterable
from typing import NamedTuple

import numpy as np

from chargewatch.domain.vocabulary import (
    CONTEXT_CODES,
    DEFAULT_CONTEXT,
    DEFAULT_LOCATION,
    DEFAULT_MEASURAND,
    DEFAULT_UNITS,
    LOCATION_CODES,
    MEASURAND_CODES,
    MEASURANDS,
    PHASE_CODES,
    UNIT_CODES,
    UNKNOWN,
)
from chargewatch.ingest.columns import ReadingColumns


class Kind(NamedTuple):
    """What a reading is a reading of, in codes; ``unit_assumed`` where none was sent."""

    measurand: int
    unit: int
    phase: int
    location: int
    context: int
    unit_assumed: bool
    signed: bool


def kind_of(
    measurand: str | None,
    unit: str | None,
    phase: str | None,
    location: str | None,
    context: str | None,
    format: str | None = None,
) -> Kind:
    """Returns the codes of a reading's names, with the defaults of OCPP (1.6 section 7.43)."""
    measurand_code = MEASURAND_CODES.get((measurand or DEFAULT_MEASURAND.value).casefold(), UNKNOWN)
    assumed = not unit
    if unit is None or not unit:
        unit = DEFAULT_UNITS[MEASURANDS[measurand_code]] if measurand_code != UNKNOWN else "Wh"
    return Kind(
        measurand=measurand_code,
        unit=UNIT_CODES.get(unit.casefold(), UNKNOWN),
        phase=PHASE_CODES.get((phase or "").casefold(), UNKNOWN),
        location=LOCATION_CODES.get((location or DEFAULT_LOCATION).casefold(), UNKNOWN),
        context=CONTEXT_CODES.get((context or DEFAULT_CONTEXT).casefold(), UNKNOWN),
        unit_assumed=assumed,
        signed=format is not None and format.casefold() == "signeddata",
    )


def build_columns(sessions: Iterable[Iterable[tuple[int, float, Kind]]]) -> ReadingColumns:
    """Returns columns from (microseconds since 1970, value, kind) per session."""
    offsets = [0]
    at: list[int] = []
    values: list[float] = []
    kinds: list[Kind] = []
    for readings in sessions:
        for moment, value, kind in readings:
            at.append(moment)
            values.append(value)
            kinds.append(kind)
        offsets.append(len(at))
    table = np.array(kinds, np.int8).reshape(len(kinds), len(Kind._fields))
    return ReadingColumns(
        offsets=np.array(offsets, np.int64),
        at_us=np.array(at, np.int64),
        value=np.array(values, np.float64),
        measurand=table[:, 0],
        unit=table[:, 1],
        phase=table[:, 2],
        location=table[:, 3],
        context=table[:, 4],
        unit_assumed=table[:, 5].astype(np.bool_),
        signed=table[:, 6].astype(np.bool_),
    )
