"""What happens to readings between the meter and us: order, repeats, clocks, strays, odd contexts."""

from collections.abc import Callable
from random import Random

from tests.sessions import BEGIN, CLOCK, CURRENT, END, NOW_US, POWER, REGISTER, VOLTAGE, Sent, us


def _shuffled(rng: Random, sent: list[Sent]) -> list[Sent]:
    rng.shuffle(sent)
    return sent


def _repeated(rng: Random, sent: list[Sent]) -> list[Sent]:
    """Readings sent again, some with another value or in another spelling."""
    for _ in range(rng.randint(1, 4)):
        if sent:
            at, value, measurand, *names = rng.choice(sent)
            other = rng.choice((value, value, value + 1, 0.0, value * 2))
            sent.append((at, other, measurand and rng.choice((measurand, measurand.upper())), *names))
    return sent


def _with_wrong_clock(rng: Random, sent: list[Sent]) -> list[Sent]:
    for i in range(len(sent)):
        if rng.random() < 0.05:
            at = rng.choice(
                (
                    0,
                    946_771_199_999_999,
                    946_771_200_000_000,
                    NOW_US + 86_400_000_000,
                    NOW_US + 86_400_000_001,
                )
            )
            sent[i] = (at if rng.random() < 0.3 else sent[i][0] - 10**15, *sent[i][1:])
    return sent


def _with_clock_aligned(rng: Random, sent: list[Sent]) -> list[Sent]:
    share = rng.choice((0.1, 0.5, 1.0))
    return [(*one[:6], CLOCK) if one[6] is None and rng.random() < share else one for one in sent]


def _with_strays(rng: Random, sent: list[Sent]) -> list[Sent]:
    """Readings that do not count: other measurands, phases, units, absurd values."""
    at = sent[-1][0] + rng.choice((0, 1, 600_000_000)) if sent else us(0.0)
    strays: tuple[Sent, ...] = (
        (at, 5.0, "Energy.Active.Net", "Wh", None, None, None),
        (at, 5.0, "Vendor.Thing", None, None, None, None),
        (at, 5.0, REGISTER, "W", None, None, None),
        (at, 5.0, REGISTER, "bushel", None, None, None),
        (at, 400.0, VOLTAGE, "V", "L1-L2", None, None),
        (at, 16.0, CURRENT, "A", "N", None, None),
        (at, float("nan"), REGISTER, "Wh", None, None, None),
        (at, 1e300, POWER, "kW", None, None, None),
        (at, 7.0, REGISTER, "kWh", None, "Moon", "Eclipse"),
    )
    return [*sent, rng.choice(strays)]


def _with_odd_contexts(rng: Random, sent: list[Sent]) -> list[Sent]:
    contexts = (BEGIN, END, "Trigger", "Other", "Interruption.Begin", "sample.periodic")
    return [(*one[:6], rng.choice(contexts)) if rng.random() < 0.03 else one for one in sent]


DISORDERS: list[Callable[[Random, list[Sent]], list[Sent]]] = [
    _shuffled,
    _shuffled,
    _repeated,
    _with_wrong_clock,
    _with_clock_aligned,
    _with_strays,
    _with_odd_contexts,
]
