"""The tables of the station detector's back-test."""

import math
from collections.abc import Callable, Iterator, Sequence
from typing import Final

import msgspec
import numpy as np

from chargewatch.domain.station_types import StationAnomaly
from chargewatch.evaluate.report import TextTable
from chargewatch.evaluate.station_backtest import (
    AS_IT_IS,
    SHADE,
    WITHIN_DAYS,
    MethodResult,
    Outcome,
    SetResult,
)
from chargewatch.simulate.station_fleet import Floats

_RESAMPLES: Final = 2_000
_VOLUMES: Final = ((0.0, 0.5), (0.5, 1.0), (1.0, 3.0), (3.0, math.inf))


class StationReport(msgspec.Struct, frozen=True):
    """What the back-test of one seed found."""

    seed: int
    sets: tuple[SetResult, ...]


def station_tables(report: StationReport) -> Iterator[TextTable]:
    """Yields the tables: methods on each set, methods on all real sets together, SHADE by volume and by type."""
    for found in report.sets:
        yield _methods(
            f"{found.name}: {found.stations} stations, {found.station_years:.0f} station-years",
            found.methods,
        )
    real = [found for found in report.sets if not found.name.startswith("simulated")]
    if len(real) > 1:
        yield _methods("real sets together", _together(real))
    yield _by_volume(report.sets)
    yield _by_type(report.sets)


def _together(sets: Sequence[SetResult]) -> tuple[MethodResult, ...]:
    """Returns the methods over several sets: outcomes joined, false alarms by station-years, errors summed."""
    years = sum(found.station_years for found in sets)
    joined = []
    for place, method in enumerate(sets[0].methods):
        parts = [found.methods[place] for found in sets]
        weights = [found.station_years for found in sets]
        joined.append(
            MethodResult(
                method.name,
                sum(p.false_alarms * w for p, w in zip(parts, weights, strict=True)) / years,
                tuple(outcome for part in parts for outcome in part.outcomes),
                sum(p.auroc * w for p, w in zip(parts, weights, strict=True)) / years,
                sum(part.absolute_error for part in parts),
                sum(part.naive_error for part in parts),
            )
        )
    return tuple(joined)


def _methods(title: str, methods: Sequence[MethodResult]) -> TextTable:
    shade = next(method for method in methods if method.name == SHADE)
    rows = tuple(_method(method, shade) for method in methods)
    note = (
        "found: an episode opened within 14 days; intervals are 95 % bootstraps over the faults; "
        f"{len(shade.outcomes)} faults; MASE of the forecast of the evening before"
    )
    columns = (
        "method",
        "episodes/station-year",
        "found",
        "SHADE ahead by",
        "median delay",
        "AUROC",
        "MASE",
        "type right",
    )
    return TextTable(title, columns, rows, note)


def _method(method: MethodResult, shade: MethodResult) -> tuple[str, ...]:
    found, ours = found_in_time(method.outcomes), found_in_time(shade.outcomes)
    ahead = "" if method.name in {SHADE, AS_IT_IS} else _interval(ours - found)
    delays = [outcome.delay_days for outcome in method.outcomes]
    late = np.where(np.isnan(delays), np.inf, delays)
    median = float(np.median(late)) if len(late) else math.nan
    return (
        method.name,
        f"{method.false_alarms:.2f}",
        _interval(found),
        ahead,
        "> 60 d" if math.isinf(median) else f"{median:.0f} d",
        f"{method.auroc:.3f}",
        f"{method.absolute_error / max(method.naive_error, 1e-9):.3f}",
        _share(types_right(method.outcomes)) if method.name == AS_IT_IS else "",
    )


def found_in_time(outcomes: Sequence[Outcome]) -> Floats:
    """Returns 1 for each fault that was found within 14 days, else 0."""
    return np.array([float(outcome.delay_days < WITHIN_DAYS) for outcome in outcomes])


def types_right(outcomes: Sequence[Outcome]) -> Floats:
    """Returns, of the faults found in time, 1 for each that was named rightly, else 0."""
    found = [outcome for outcome in outcomes if outcome.delay_days < WITHIN_DAYS]
    return np.array([float(outcome.named == outcome.kind.value) for outcome in found])


def _interval(values: Floats) -> str:
    if not len(values):
        return "–"
    rng = np.random.default_rng(0)
    means = values[rng.integers(len(values), size=(_RESAMPLES, len(values)))].mean(axis=1)
    low, high = np.quantile(means, (0.025, 0.975))
    return f"{values.mean():.2f} ({low:.2f}–{high:.2f})"


def _share(values: Floats) -> str:
    return f"{values.mean():.2f} of {len(values)}" if len(values) else "–"


def _by_volume(sets: Sequence[SetResult]) -> TextTable:
    columns = (
        "set",
        *(
            f"{low:g}–{high:g} a day" if math.isfinite(high) else f"{low:g} and more"
            for low, high in _VOLUMES
        ),
    )
    rows = tuple(
        (found.name, *(_found(_as_it_is(found), _within(low, high)) for low, high in _VOLUMES))
        for found in sets
    )
    return TextTable(
        "SHADE as it is, by sessions a day", columns, rows, "found within 14 days of faults; median delay"
    )


def _by_type(sets: Sequence[SetResult]) -> TextTable:
    columns = ("set", *(kind.value for kind in StationAnomaly))
    rows = tuple(
        (found.name, *(_found(_as_it_is(found), _of_kind(kind)) for kind in StationAnomaly)) for found in sets
    )
    return TextTable(
        "SHADE as it is, by fault", columns, rows, "found within 14 days of faults; median delay"
    )


def _as_it_is(found: SetResult) -> tuple[Outcome, ...]:
    return next(method for method in found.methods if method.name == AS_IT_IS).outcomes


def _within(low: float, high: float) -> Callable[[Outcome], bool]:
    return lambda outcome: low <= outcome.volume < high


def _of_kind(kind: StationAnomaly) -> Callable[[Outcome], bool]:
    return lambda outcome: outcome.kind == kind


def _found(outcomes: Sequence[Outcome], wanted: Callable[[Outcome], bool]) -> str:
    chosen = [outcome for outcome in outcomes if wanted(outcome)]
    if not chosen:
        return "–"
    delays = np.array([outcome.delay_days for outcome in chosen])
    median = float(np.median(np.where(np.isnan(delays), np.inf, delays)))
    later = "> 60 d" if math.isinf(median) else f"{median:.0f} d"
    return f"{found_in_time(chosen).mean():.2f} of {len(chosen)}, {later}"
