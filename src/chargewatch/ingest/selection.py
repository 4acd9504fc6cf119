"""From readings as sent to one value per instant and channel (contract, section 2).

Sorts by time, lets the last of repeated readings count, converts units, prefers ``Transaction.*`` before
``Sample.Periodic`` before ``Sample.Clock`` before others, a total before the sum of the phases, and
``Outlet`` before ``Inlet``, ``Cable``, ``EV``, ``Body``; of two names for one signal (``L1`` and ``L1-N``,
``SoC`` and ``Display.PresentSOC``) the one that the vocabulary lists first. Works on all sessions of a batch
at once, and on each as if it were alone.
"""

from typing import Final, NamedTuple

import numpy as np

from chargewatch.domain.verdict import WINDOW_S
from chargewatch.domain.vocabulary import CONTEXT_CODES
from chargewatch.ingest.channels import (
    CHANNEL_OF,
    CONTEXT_RANK,
    FACTOR_OF_UNIT,
    FITS,
    LOCATION_RANK,
    OFFSET_OF_UNIT,
    PHASE_NUMBER,
    PHASE_RULES,
    Channel,
    PhaseRule,
)
from chargewatch.ingest.columns import (
    AHEAD_US,
    EARLIEST_SANE_US,
    Codes,
    Flags,
    Floats,
    Integers,
    ReadingColumns,
    steps,
)

_CHANNELS: Final = len(Channel)
_ACTIVE_CURRENT_A: Final = 1.0
_CLOCK: Final = CONTEXT_CODES["sample.clock"]
_ALIASES: Final = 1024  # more than there are pairs of measurand and phase code
_WINDOW_US: Final = WINDOW_S * 1_000_000
_SHORTEST_GAP_S: Final = 300.0
#: No meter shows more than this, in any unit.
LARGEST_VALUE: Final = 1e15


class Series(NamedTuple):
    """One channel of S sessions: rows ``offsets[s]:offsets[s + 1]`` in order of time.

    ``at_s`` is in seconds since the session's first sane reading, ``value`` in the channel's unit.
    ``phases`` is the number of phases that carry current, -1 where only a total was sent; ``location`` is the
    OCPP location code of the reading that was chosen.
    """

    offsets: Integers
    at_s: Floats
    value: Floats
    context: Codes
    phases: Codes
    location: Codes


class Selection(NamedTuple):
    """What is left of a batch of readings for the analysis, and what was noticed on the way.

    ``first_us`` and ``last_us`` are the first and last sane instants, analysable or not (0 where there is
    none), ``window_us`` the first one of the last six hours, ``attended_*`` the same without clock-aligned
    readings. ``instants`` counts the distinct analysable instants, ``gaps`` the long gaps between them.
    """

    series: tuple[Series, ...]
    first_us: Integers
    last_us: Integers
    window_us: Integers
    instants: Integers
    gaps: Integers
    attended_first_us: Integers
    attended_last_us: Integers
    clock_faults: Integers
    unknown: Integers
    not_numeric: Integers
    units_assumed: Integers
    phases_summed: Flags


def _per_session(columns: ReadingColumns, rows: Flags) -> Integers:
    """Counts the marked rows of each session."""
    if not rows.any():
        return np.zeros(columns.sessions, np.int64)
    total = np.concatenate(([0], np.cumsum(rows)))
    counts: Integers = total[columns.offsets[1:]] - total[columns.offsets[:-1]]
    return counts


def select(columns: ReadingColumns, now_us: int, dropped: Flags | None = None) -> Selection:
    """Returns the channels of every session of ``columns``.

    Readings more than 24 h after ``now_us`` are taken for clock faults. ``dropped`` marks rows that a
    repair leaves out.
    """
    sessions = columns.sessions
    known = FITS[columns.measurand, columns.unit] & ~columns.signed
    sane = (columns.at_us >= EARLIEST_SANE_US) & (columns.at_us <= now_us + AHEAD_US)
    numeric = np.abs(columns.value) <= LARGEST_VALUE
    usable = known & sane & numeric
    session_of = np.repeat(np.arange(sessions), steps(columns.offsets))
    channel = CHANNEL_OF[columns.measurand, columns.phase]
    analysed = usable & (channel >= 0)
    if dropped is not None:
        analysed &= ~dropped
    spans = _spans(columns, sane, analysed, session_of)
    rows = analysed.nonzero()[0]
    none = np.zeros(sessions, np.int64)
    clean = usable.all()
    series, phases_summed = _choose(columns, rows, session_of[rows], channel[rows], spans.first_us)
    return Selection(
        series=series,
        first_us=spans.first_us,
        last_us=spans.last_us,
        window_us=spans.window_us,
        instants=spans.instants,
        gaps=spans.gaps,
        attended_first_us=spans.attended_first_us,
        attended_last_us=spans.attended_last_us,
        clock_faults=none if clean else _per_session(columns, ~sane),
        unknown=none if clean else _per_session(columns, ~known),
        not_numeric=none if clean else _per_session(columns, known & ~numeric),
        units_assumed=_per_session(columns, columns.unit_assumed & known),
        phases_summed=phases_summed,
    )


class _Spans(NamedTuple):
    first_us: Integers
    last_us: Integers
    window_us: Integers
    instants: Integers
    gaps: Integers
    attended_first_us: Integers
    attended_last_us: Integers


def _spans(columns: ReadingColumns, sane: Flags, analysed: Flags, session_of: Integers) -> _Spans:
    """Returns when each session is seen. "Attended" leaves out clock-aligned readings."""
    sessions = columns.sessions
    context, at, owner = columns.context, columns.at_us, session_of
    if not sane.all():
        context, at, owner, analysed = context[sane], at[sane], owner[sane], analysed[sane]
    if np.any((steps(at) < 0) & (steps(owner) == 0)):
        order = np.lexsort((at, owner))
        context, at, owner, analysed = context[order], at[order], owner[order], analysed[order]
    first, last = _extremes(at, owner, sessions)
    attended = context != _CLOCK
    attended_first, attended_last = first, last
    if not attended.all():
        attended_first, attended_last = _extremes(at[attended], owner[attended], sessions)
    window = first.copy()
    for s in (last - first > _WINDOW_US).nonzero()[0]:
        own = at[np.searchsorted(owner, s) : np.searchsorted(owner, s, side="right")]
        window[s] = own[np.searchsorted(own, last[s] - _WINDOW_US)]
    if not analysed.all():
        at, owner = at[analysed], owner[analysed]
    fresh = np.ones(len(at), np.bool_)
    fresh[1:] = (steps(at) != 0) | (steps(owner) != 0)
    at, owner = at[fresh], owner[fresh]
    instants = np.bincount(owner, minlength=sessions)
    gaps = _gaps(at, owner, sessions)
    return _Spans(first, last, window, instants, gaps, attended_first, attended_last)


def _extremes(at: Integers, session_of: Integers, sessions: int) -> tuple[Integers, Integers]:
    """Returns the first and last time of each session in rows sorted by session and time; 0 without rows."""
    bounds = np.searchsorted(session_of, np.arange(sessions + 1))
    present = bounds[1:] > bounds[:-1]
    first = np.zeros(sessions, np.int64)
    last = np.zeros(sessions, np.int64)
    first[present] = at[bounds[:-1][present]]
    last[present] = at[bounds[1:][present] - 1]
    return first, last


def _gaps(at: Integers, session_of: Integers, sessions: int) -> Integers:
    """Counts gaps over four times the session's usual spacing (and five minutes)."""
    inside = steps(session_of) == 0
    gap_s = steps(at)[inside] / 1e6
    if not (gap_s > _SHORTEST_GAP_S).any():
        return np.zeros(sessions, np.int64)
    owner = session_of[1:][inside]
    usual_s = lower_medians(gap_s, owner, sessions)
    wide = gap_s > np.maximum(4.0 * usual_s[owner], _SHORTEST_GAP_S)
    return np.bincount(owner[wide], minlength=sessions)


def lower_medians(values: Floats, owner: Integers, sessions: int) -> Floats:
    """Returns the lower median of each session's values; ``owner`` is sorted. 0 without values."""
    if sessions == 1:
        return np.sort(values)[[(len(values) - 1) // 2]] if len(values) else np.zeros(1)
    ranked = values[np.lexsort((values, owner))]
    bounds = np.searchsorted(owner, np.arange(sessions + 1))
    count = steps(bounds)
    medians = np.zeros(sessions)
    some = count > 0
    medians[some] = ranked[bounds[:-1][some] + (count[some] - 1) // 2]
    return medians


def _choose(
    columns: ReadingColumns, rows: Integers, session_of: Integers, channel: Codes, first_us: Integers
) -> tuple[tuple[Series, ...], Flags]:
    """Returns one value per session, channel and instant."""
    sessions = columns.sessions
    name = columns.phase[rows]
    phase = PHASE_NUMBER[name]
    context = columns.context[rows]
    preference = (CONTEXT_RANK[context] * 2 + (phase > 0)) * 8 + LOCATION_RANK[columns.location[rows]]
    alias = columns.measurand[rows].astype(np.int64) * 16 + name
    fine = (preference * 4 + phase) * _ALIASES + alias
    group = channel.astype(np.int64) * sessions + session_of
    at = columns.at_us[rows]
    order = np.lexsort((fine, at, group))
    rows, group, at, fine, preference = rows[order], group[order], at[order], fine[order], preference[order]
    phase = phase[order]
    new_instant = np.ones(len(rows), np.bool_)
    new_instant[1:] = (steps(at) != 0) | (steps(group) != 0)
    keep = _one_a_key(new_instant, fine)
    if not keep.all():
        new_instant = _carry_starts(new_instant, keep)
        rows, group, preference, phase = rows[keep], group[keep], preference[keep], phase[keep]
    unit = columns.unit[rows]
    # To a thousandth of the base unit: 3.8 kWh sent as 3.8000000000000003 is no move of the register.
    value = np.round(columns.value[rows] * FACTOR_OF_UNIT[unit] + OFFSET_OF_UNIT[unit], 3)
    summed = np.zeros(sessions, np.bool_)
    if not phase.any():
        if not new_instant.all():
            rows, group, value = rows[new_instant], group[new_instant], value[new_instant]
        active = np.full(len(rows), -1, np.int8)
        return _split(columns, rows, group, value, active, first_us), summed
    starts = new_instant.nonzero()[0]
    chosen, active, complete = _merge_phases(columns, rows, group, value, preference, starts)
    by_phase = (phase[starts] > 0) & complete
    energy_or_power = group[starts] < (Channel.POWER + 1) * sessions
    summed[np.unique(group[starts][by_phase & energy_or_power] % sessions)] = True
    starts, chosen, active = starts[complete], chosen[complete], active[complete]
    return _split(columns, rows[starts], group[starts], chosen, active, first_us), summed


def _one_a_key(new_instant: Flags, fine: Integers) -> Flags:
    """Marks, of the rows of one key, the last one, and of two names for one signal the first name."""
    keep = np.ones(len(fine), np.bool_)
    within = ~new_instant[1:]
    keep[:-1] = ~(within & (steps(fine) == 0))
    signal = fine // _ALIASES
    other_name = within & (steps(signal) == 0) & (steps(fine) != 0)
    if other_name.any():
        # Only rows of the signal's first name stay: those whose name is that of the signal's first row.
        fresh = np.ones(len(fine), np.bool_)
        fresh[1:] = ~(within & (steps(signal) == 0))
        keep &= fine == fine[np.maximum.accumulate(np.where(fresh, np.arange(len(fine)), 0))]
    return keep


def _carry_starts(new_instant: Flags, keep: Flags) -> Flags:
    """Moves the mark "first of its instant" from dropped rows to the first kept row of the instant."""
    instant = np.cumsum(new_instant, dtype=np.int64)[keep]
    carried = np.ones(len(instant), np.bool_)
    carried[1:] = steps(instant) != 0
    return carried


def _merge_phases(
    columns: ReadingColumns,
    rows: Integers,
    group: Integers,
    value: Floats,
    preference: Integers,
    starts: Integers,
) -> tuple[Floats, Codes, Flags]:
    """Merges the phases of each instant; marks instants at which a phase is missing as incomplete."""
    sessions = columns.sessions
    instant = np.repeat(np.arange(len(starts)), steps(np.append(starts, len(rows))))
    best = preference == preference[starts][instant]
    total = np.add.reduceat(np.where(best, value, 0.0), starts)
    count = np.add.reduceat(best.astype(np.int64), starts)
    largest = np.maximum.reduceat(np.where(best, value, -np.inf), starts)
    rule = np.array([PHASE_RULES[Channel(c)] for c in range(_CHANNELS)])[group[starts] // sessions]
    chosen = np.where(rule == PhaseRule.SUM, total, np.where(rule == PhaseRule.MEAN, total / count, largest))
    merged: Floats = np.asarray(np.round(chosen, 3), np.float64)
    by_phase = PHASE_NUMBER[columns.phase[rows[starts]]] > 0
    # A sum over fewer phases than usual would look like a fall.
    usual = np.zeros(_CHANNELS * sessions, np.int64)
    np.maximum.at(usual, group[starts], np.where(by_phase, count, 0))
    complete = ~(by_phase & (rule == PhaseRule.SUM) & (count < usual[group[starts]]))
    flowing = (PHASE_NUMBER[columns.phase[rows]] > 0) & (value > _ACTIVE_CURRENT_A)
    active = np.add.reduceat((flowing & _same_kind(columns, rows, instant)).astype(np.int64), starts)
    any_phase = np.logical_or.reduceat(PHASE_NUMBER[columns.phase[rows]] > 0, starts)
    current = group[starts] // sessions == Channel.CURRENT
    return merged, np.where(current & any_phase, active, -1).astype(np.int8), complete


def _same_kind(columns: ReadingColumns, rows: Integers, instant: Integers) -> Flags:
    """Marks rows with the location and context of the first per-phase row of their instant."""
    phased = PHASE_NUMBER[columns.phase[rows]] > 0
    kind = columns.context[rows].astype(np.int64) * 16 + columns.location[rows]
    first = np.full(int(instant[-1]) + 1, -1, np.int64)
    positions = np.flatnonzero(phased)[::-1]
    first[instant[positions]] = kind[positions]
    same: Flags = kind == first[instant]
    return same


def _split(
    columns: ReadingColumns, rows: Integers, group: Integers, value: Floats, active: Codes, first_us: Integers
) -> tuple[Series, ...]:
    """Cuts rows sorted by channel and session into one series per channel."""
    sessions = columns.sessions
    at_s = (columns.at_us[rows] - first_us[group % sessions]) / 1e6
    context, location = columns.context[rows], columns.location[rows]
    bounds = group.searchsorted(np.arange(_CHANNELS * sessions + 1))
    cuts = bounds[::sessions].tolist() if sessions else [0] * (_CHANNELS + 1)
    nothing = Series(
        np.zeros(sessions + 1, np.int64), at_s[:0], value[:0], context[:0], active[:0], location[:0]
    )
    series = []
    for channel in range(_CHANNELS):
        cut = slice(cuts[channel], cuts[channel + 1])
        if cut.start == cut.stop:
            series.append(nothing)
            continue
        offsets = bounds[channel * sessions : (channel + 1) * sessions + 1] - cut.start
        series.append(Series(offsets, at_s[cut], value[cut], context[cut], active[cut], location[cut]))
    return tuple(series)
