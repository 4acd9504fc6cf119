"""What was delivered at least and at most, as far as the sampled power of one session allows."""

from bisect import bisect_left, bisect_right
from collections.abc import Iterator, Sequence
from itertools import accumulate
from typing import Final, NamedTuple

from chargewatch.features.flow import GAP, median

_SAME_MOMENT_S: Final = 1e-6


class Bounds(NamedTuple):
    """The least and the most energy in Wh that the power readings allow."""

    low_wh: float
    high_wh: float


class Stretch(NamedTuple):
    """The time between two neighbouring power readings, and the lower of the two."""

    start_s: float
    end_s: float
    power_w: float


class PowerBounds:
    """Lower and upper sums over the power readings of one session.

    Between two neighbouring readings power lies between the lowest and the highest of these and of the reading
    before and after them. Nothing is known over a gap (more than three usual spacings) and beside a reading
    above ``most_w``.
    """

    def __init__(self, at_s: Sequence[float], power_w: Sequence[float], most_w: float) -> None:
        self._at_s = at_s
        self._power_w = power_w
        spacings = [b - a for a, b in zip(at_s, at_s[1:], strict=False)]
        longest_s = GAP * median(spacings) if spacings else 0.0
        near = [power_w[max(i - 1, 0) : i + 3] for i in range(len(spacings))]
        hours = [seconds / 3600.0 for seconds in spacings]
        self._low_wh = list(accumulate((min(w) * h for w, h in zip(near, hours, strict=True)), initial=0.0))
        self._high_wh = list(accumulate((max(w) * h for w, h in zip(near, hours, strict=True)), initial=0.0))
        self._blind = [
            seconds > longest_s or max(power_w[i], power_w[i + 1]) > most_w
            for i, seconds in enumerate(spacings)
        ]
        self._blind_before = list(accumulate(self._blind, initial=0))

    def between(self, start_s: float, end_s: float) -> Bounds | None:
        """Returns what was delivered between two times; None where that is not known throughout."""
        at_s = self._at_s
        if len(at_s) < 2 or start_s < at_s[0] - _SAME_MOMENT_S or end_s > at_s[-1] + _SAME_MOMENT_S:
            return None
        first = bisect_right(at_s, start_s + _SAME_MOMENT_S) - 1
        last = bisect_left(at_s, end_s - _SAME_MOMENT_S)
        if self._blind_before[max(first, last)] > self._blind_before[first]:
            return None
        i, start = _place(at_s, start_s)
        j, end = _place(at_s, end_s)
        low, high = self._low_wh, self._high_wh
        return Bounds(
            low[j] + end * (low[j + 1] - low[j]) - (low[i] + start * (low[i + 1] - low[i])),
            high[j] + end * (high[j + 1] - high[j]) - (high[i] + start * (high[i + 1] - high[i])),
        )

    def within(self, start_s: float, end_s: float) -> Iterator[Stretch]:
        """Yields the times between neighbouring readings that lie within two times, as far as they are known."""
        at_s, power_w = self._at_s, self._power_w
        first = bisect_left(at_s, start_s - _SAME_MOMENT_S)
        for i in range(first, bisect_right(at_s, end_s + _SAME_MOMENT_S) - 1):
            if not self._blind[i]:
                yield Stretch(at_s[i], at_s[i + 1], min(power_w[i], power_w[i + 1]))


def _place(at_s: Sequence[float], moment_s: float) -> tuple[int, float]:
    """Returns the reading before a time, and how far towards the next one it lies (a share): linear between them."""
    i = min(max(bisect_right(at_s, moment_s) - 1, 0), len(at_s) - 2)
    return i, (moment_s - at_s[i]) / (at_s[i + 1] - at_s[i])
