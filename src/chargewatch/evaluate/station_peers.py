"""Other ways to watch a station's energy: a forecast of each day, and a CUSUM of how far the day falls short.

Each is causal: a day is forecast from the days before. Two need nothing but numpy; MSTL and AutoETS are those of
statsforecast (extra ``peers``), fitted anew every so many days and given every day since.
"""

import warnings
from collections.abc import Callable
from typing import Final, NamedTuple

import numpy as np

from chargewatch.simulate.station_fleet import Floats

_WEEKS: Final = 10
_SLACK: Final = 0.5  # standard deviations that a day may fall short without adding to the evidence
_MOST: Final = 15.0
_HISTORY: Final = 180
_FIRST_FIT: Final = 28
_ETS_EVERY: Final = 84
_MSTL_EVERY: Final = 14
_WEEK: Final = 7


class Watched(NamedTuple):
    """What a peer sees: days × stations; NaN before a station's first session."""

    energy_kwh: Floats
    sessions: Floats


class Forecasts(NamedTuple):
    """Days × stations: the forecast energy of each day in kWh, and how far the day falls short; NaN is unknown."""

    energy_kwh: Floats
    shortfall: Floats


Span = tuple[int, int]
Forecaster = Callable[[Watched, "list[Span] | None", "Forecasts | None"], Forecasts]


def cusum(shortfall: Floats) -> Floats:
    """Returns the accumulated evidence of each day (rows), at least 0 and at most 15; an unknown day adds nothing."""
    total = np.zeros(shortfall.shape[1])
    evidence = np.zeros(shortfall.shape)
    for row, step in enumerate(np.nan_to_num(shortfall)):
        total = np.clip(total + step, 0.0, _MOST)
        evidence[row] = total
    return evidence


def _same_weekdays(values: Floats) -> Floats:
    """Returns the last weeks' values of the weekday of each day: weeks × days × stations."""
    rows = len(values)
    past = np.full((_WEEKS, *values.shape), np.nan)
    for week in range(1, _WEEKS + 1):
        if rows > _WEEK * week:
            past[week - 1, _WEEK * week :] = values[: rows - _WEEK * week]
    return past


def weekday_median(seen: Watched, _: list[Span] | None = None, __: Forecasts | None = None) -> Forecasts:
    """Median and median absolute deviation of the last ten such weekdays."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)  # a day without any past
        past = _same_weekdays(seen.energy_kwh)
        median = np.nanmedian(past, axis=0)
        spread = 1.4826 * np.nanmedian(np.abs(past - median), axis=0)
        usual = np.nanmean(np.where(np.isnan(past), np.nan, np.abs(past - median)), axis=0)
    spread = np.maximum(spread, np.maximum(usual, 1.0))
    return Forecasts(median, (median - seen.energy_kwh) / spread - _SLACK)


def counts_and_energy(seen: Watched, _: list[Span] | None = None, __: Forecasts | None = None) -> Forecasts:
    """Negative binomial counts of the weekday, and the mean energy of a session; half of either is looked for."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", RuntimeWarning)
        past = _same_weekdays(seen.sessions)
        mean = np.nanmean(past, axis=0)
        over = np.nanvar(past, axis=0) - mean
    energy, sessions = np.nan_to_num(seen.energy_kwh), np.nan_to_num(seen.sessions)
    session_kwh, spread = _session_energy(energy, sessions)
    mean = np.maximum(mean, 0.05)
    size = 1.0 / np.clip(over / mean**2, 0.05, 5.0)
    left = 0.5
    nats = sessions * np.log(left) + (sessions + size) * np.log((size + mean) / (size + left * mean))
    shift = (1.0 - left) * session_kwh
    fall = sessions * session_kwh - energy
    nats += (shift * fall - 0.5 * sessions * shift**2) / np.maximum(spread, 1.0) ** 2
    return Forecasts(mean * session_kwh, nats)


def _session_energy(energy: Floats, sessions: Floats) -> tuple[Floats, Floats]:
    """Mean energy of a session over the last 60 days before each, and its standard deviation (of daily means)."""
    window = 60
    zero = np.zeros((1, energy.shape[1]))
    square = np.where(sessions > 0, energy**2 / np.maximum(sessions, 1.0), 0.0)
    sums = [np.vstack([zero, np.cumsum(a, axis=0)]) for a in (energy, sessions, square, (sessions > 0) * 1.0)]
    rows = np.arange(len(energy))
    before = np.maximum(rows - window, 0)
    total, count, squares, days = (s[rows] - s[before] for s in sums)
    mean = total / np.maximum(count, 1.0)
    variance = (squares - count * mean**2) / np.maximum(days - 1.0, 1.0)
    return mean, np.sqrt(np.maximum(variance, (0.3 * mean) ** 2))


def auto_ets(seen: Watched, spans: list[Span] | None = None, known: Forecasts | None = None) -> Forecasts:
    """AutoETS with weekly season, fitted every 84 days; between, its state follows every day."""

    def block(series: Floats, begin: int, end: int) -> tuple[Floats, float]:
        from statsforecast.models import AutoETS

        start = max(0, begin - _HISTORY)
        model = AutoETS(season_length=_WEEK).fit(series[start:begin])
        spread = float(np.std(series[start:begin] - model.predict_in_sample()["fitted"]))
        fitted = model.forward(y=series[start:end], h=1, fitted=True)["fitted"]
        return fitted[begin - start :], spread

    return _by_blocks(seen, spans, known, block, _ETS_EVERY)


def mstl(seen: Watched, spans: list[Span] | None = None, known: Forecasts | None = None) -> Forecasts:
    """MSTL with weekly season and an ETS trend, fitted every 14 days for the next 14."""

    def block(series: Floats, begin: int, end: int) -> tuple[Floats, float]:
        from statsforecast.models import MSTL, AutoETS

        past = series[max(0, begin - _HISTORY) : begin]
        model = MSTL(season_length=_WEEK, trend_forecaster=AutoETS(model="ZZN")).fit(past)
        spread = float(np.std(past - model.predict_in_sample()["fitted"]))
        return model.predict(h=end - begin)["mean"], spread

    return _by_blocks(seen, spans, known, block, _MSTL_EVERY)


def _by_blocks(
    seen: Watched,
    spans: list[Span] | None,
    known: Forecasts | None,
    block: Callable[[Floats, int, int], tuple[Floats, float]],
    every: int,
) -> Forecasts:
    """Forecasts block by block; with ``spans`` only the rows of each column's span, the rest being known."""
    rows, columns = seen.energy_kwh.shape
    forecast = np.full((rows, columns), np.nan) if known is None else known.energy_kwh.copy()
    shortfall = np.full((rows, columns), np.nan) if known is None else known.shortfall.copy()
    for column in range(columns):
        series = seen.energy_kwh[:, column]
        there = np.flatnonzero(~np.isnan(series))
        if not len(there):
            continue
        first = int(there[0])
        low, high = (first, rows) if spans is None else spans[column]
        for begin in range(first + _FIRST_FIT, rows, every):
            end = min(begin + every, rows)
            if end <= low or begin >= high:
                continue
            expected, spread = _fitted(block, series[first:], begin - first, end - first)
            forecast[begin:end, column] = np.maximum(expected, 0.0)
            fall = (forecast[begin:end, column] - series[begin:end]) / spread
            shortfall[begin:end, column] = fall - _SLACK
    return Forecasts(forecast, shortfall)


def _fitted(
    block: Callable[[Floats, int, int], tuple[Floats, float]], series: Floats, begin: int, end: int
) -> tuple[Floats, float]:
    past = series[max(0, begin - _HISTORY) : begin]
    if past.max() <= 0.0:  # nothing to fit
        return np.zeros(end - begin), 1.0
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        expected, spread = block(series, begin, end)
    usable = np.where(np.isfinite(expected), expected, past.mean())
    return usable, max(spread, 1.0)


#: Peers that need nothing else, and those of the extra.
SIMPLE: Final[dict[str, Forecaster]] = {
    "weekday median/MAD + CUSUM": weekday_median,
    "NB counts + mean energy + CUSUM": counts_and_energy,
}
FITTED: Final[dict[str, Forecaster]] = {
    "MSTL + CUSUM": mstl,
    "AutoETS + CUSUM": auto_ets,
}
