"""Notes on the quality of a session's data: repairs and doubts, kept apart from anomalies."""

from enum import StrEnum
from typing import Final

import msgspec


class NoteCode(StrEnum):
    """What was found and, where that was possible, repaired before the analysis."""

    UNIT_ASSUMED = "unit_assumed"
    DUPLICATE = "duplicate"
    OUT_OF_ORDER = "out_of_order"
    CLOCK_FAULT = "clock_fault"
    BEGIN_ZERO_PLACEHOLDER = "begin_zero_placeholder"
    PHASES_SUMMED = "phases_summed"
    UNIT_SCALE_SUSPECT = "unit_scale_suspect"
    UNIT_SWITCHED = "unit_switched"
    REGISTER_MIXED = "register_mixed"
    UNKNOWN_MEASURAND = "unknown_measurand"
    NOT_NUMERIC = "not_numeric"
    GAP = "gap"
    OVERLAPS_SESSION = "overlaps_session"


DETAILS: Final[dict[NoteCode, str]] = {
    NoteCode.UNIT_ASSUMED: "no unit was sent; the measurand's OCPP unit was assumed",
    NoteCode.DUPLICATE: "repeated for the same timestamp, measurand, phase, location and context; the last one counts",
    NoteCode.OUT_OF_ORDER: "readings arrived after later ones; they were sorted by their timestamps",
    NoteCode.CLOCK_FAULT: "timestamps before 2000-01-02 or more than 24 h ahead; stored, left out of the analysis",
    NoteCode.BEGIN_ZERO_PLACEHOLDER: "a zero at Transaction.Begin stands before a lifetime register; left out",
    NoteCode.PHASES_SUMMED: "only per-phase readings were sent; the total is their sum",
    NoteCode.UNIT_SCALE_SUSPECT: "the register's scale looks wrong by a factor of 1000",
    NoteCode.UNIT_SWITCHED: "the register's scale changes by a factor of 1000 within the session; rescaled",
    NoteCode.REGISTER_MIXED: "Transaction.Begin or .End come from another register than the samples; left out",
    NoteCode.UNKNOWN_MEASURAND: "measurand, unit or format not known; stored, not analysed",
    NoteCode.NOT_NUMERIC: "values that are no numbers; stored, not analysed",
    NoteCode.GAP: "readings are missing for longer than four times the usual interval",
    NoteCode.OVERLAPS_SESSION: "another session of the same connector runs at the same time, for more than a minute",
}

#: Notes for information only: they never touch the verdict or its confidence.
INFORMATIVE: Final = frozenset({NoteCode.UNIT_ASSUMED, NoteCode.DUPLICATE, NoteCode.OUT_OF_ORDER})


class DataQualityNote(msgspec.Struct, frozen=True):
    """One kind of note with how often it applies in the session."""

    code: str
    count: int
    detail: str
