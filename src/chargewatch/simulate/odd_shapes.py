"""Odd courses of power that meet none of the other definitions and are no healthy behaviour either.

Stations are unmanaged and offer what they are rated for, so nothing explains the shape. Energy, state
of charge and current follow the power, as everywhere in the simulator. Depths stay so small, or
pauses so short, that no pit results. Oddities of other quantities are in ``odd_readings``.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Final, NamedTuple

import numpy as np

from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.plans import Plan, event_at_s, longest_charge_s, on_grid, plain, with_charge
from chargewatch.simulate.records import GRID_S, Floats, Span
from chargewatch.simulate.stations import Needs
from chargewatch.simulate.truth import Course


class Odd(NamedTuple):
    """The share of the usual power at each step of ``GRID_S``, and the sampling interval (s) that shows it."""

    shares: Floats
    shown_at_s: float


Draw = Callable[[int, np.random.Generator], Odd]
_FLOOR: Final = 0.34
"""No share is lower, so that the deepest point is never a quarter of the highest."""


def odd_length_s(plan: Plan, rng: np.random.Generator) -> float:
    """Draws how long the shape lasts: what the battery allows, at most three hours."""
    dc = plan.station.charger.kind == "dc"
    longest = min(0.9 * longest_charge_s(plan), 2400.0 if dc else 10800.0)
    least = min(1500.0 if dc else 3000.0, longest)
    return on_grid(float(rng.uniform(least, longest)))


def shaped(draw: Draw) -> Callable[[Plan, np.random.Generator], Plan]:
    """Returns a change of plan by which the power takes the drawn course; before it all is usual."""

    def shape(plan: Plan, rng: np.random.Generator) -> Plan:
        plan = plain(plan)
        length = odd_length_s(plan, rng)
        before = on_grid(float(rng.choice((0.0, 0.1, 0.25), p=(0.5, 0.25, 0.25))) * length)
        plan = with_charge(plan, rng, before + length)
        odd = draw(int(length // GRID_S), rng)
        at = event_at_s(plan, before)
        spans = tuple(
            Span(at + i * GRID_S, at + (i + 1) * GRID_S, share) for i, share in enumerate(odd.shares.tolist())
        )
        stay = at + length + float(rng.uniform(30.0, 240.0))
        visit = replace(plan.visit, stay_s=stay, leaves_after_s=None)
        faults = (Span(at, at + length, odd.shown_at_s),)
        return replace(plan, visit=visit, course=Course(acceptance=spans), faults=faults)

    return shape


def _period_steps(steps: int, rng: np.random.Generator, shortest_s: float, longest_s: float) -> int:
    """Draws a period that fits at least four times."""
    longest = min(longest_s, steps * GRID_S / 4.0)
    drawn = np.exp(rng.uniform(np.log(shortest_s), np.log(max(longest, shortest_s * 1.01))))
    return max(int(drawn // GRID_S), 4)


# --- for training and tuning ----------------------------------------------------------------------


def _hunting(steps: int, rng: np.random.Generator) -> Odd:
    """A controller that hunts: full power and a lower level by turns, at a steady beat."""
    period = _period_steps(steps, rng, 60.0, 900.0)
    duty, low = float(rng.uniform(0.35, 0.65)), float(rng.uniform(0.4, 0.7))
    phase = (np.arange(steps) % period) / period
    return Odd(np.where(phase < duty, 1.0, low), period * GRID_S / 4.0)


def _saw_tooth(steps: int, rng: np.random.Generator) -> Odd:
    """Power climbs slowly and falls at once, again and again."""
    period, low = _period_steps(steps, rng, 240.0, 900.0), float(rng.uniform(0.4, 0.6))
    phase = (np.arange(steps) % period) / period
    return Odd(low + (1.0 - low) * phase, period * GRID_S / 5.0)


def _creeping_down(steps: int, rng: np.random.Generator) -> Odd:
    """Power decays from the very beginning, far below what the battery would take."""
    floor, constant = float(rng.uniform(_FLOOR, 0.42)), steps * float(rng.uniform(0.15, 0.35))
    return Odd(floor + (1.0 - floor) * np.exp(-np.arange(steps) / constant), steps * GRID_S / 12.0)


def _rising_all_along(steps: int, rng: np.random.Generator) -> Odd:
    """Power rises evenly from a third to all of it, and never reaches a plateau."""
    return Odd(np.linspace(float(rng.uniform(_FLOOR, 0.5)), 1.0, steps), steps * GRID_S / 10.0)


def _random_steps(steps: int, rng: np.random.Generator) -> Odd:
    """A new level every one and a half to six minutes, for no reason."""
    shares, at = np.empty(steps), 0
    while at < steps:
        length = int(rng.integers(9, 37))
        shares[at : at + length] = rng.uniform(_FLOOR + 0.02, 1.0)
        at += length
    return Odd(shares, 100.0)


def _spiky_noise(steps: int, rng: np.random.Generator) -> Odd:
    """Power is never the same from one reading to the next."""
    noise = rng.standard_normal(steps) * float(rng.uniform(0.16, 0.28))
    return Odd(np.clip(0.72 + noise, _FLOOR + 0.02, 1.0), 60.0)


def _short_dropouts(steps: int, rng: np.random.Generator) -> Odd:
    """Power vanishes for less than two minutes every few minutes."""
    shares, at = np.ones(steps), int(rng.integers(6, 18))
    longest = int(rng.integers(6, 11))
    while at < steps - 6:
        length = int(rng.integers(longest - 2, longest + 1))
        shares[at : at + length] = 0.0
        at += length + int(rng.integers(15, 40))
    shares[-6:] = 1.0
    return Odd(shares, 10.0 * (longest - 2))


# --- held out -------------------------------------------------------------------------------------


def _sine(steps: int, rng: np.random.Generator) -> Odd:
    """Power follows a smooth wave."""
    period, depth = _period_steps(steps, rng, 120.0, 900.0), float(rng.uniform(0.3, 0.6))
    wave = np.sin(2.0 * np.pi * np.arange(steps) / period + float(rng.uniform(0.0, 6.28)))
    return Odd(1.0 - depth / 2.0 + depth / 2.0 * wave, period * GRID_S / 5.0)


def _bursts(steps: int, rng: np.random.Generator) -> Odd:
    """A low level, and half a minute to a minute and a half of full power now and then."""
    shares, at = np.full(steps, float(rng.uniform(0.36, 0.5))), int(rng.integers(3, 20))
    shortest = int(rng.integers(3, 7))
    while at < steps - 4:
        length = shortest + int(rng.integers(0, 4))
        shares[at : at + length] = 1.0
        at += length + int(rng.integers(12, 50))
    return Odd(shares, 10.0 * shortest)


def _two_levels(steps: int, rng: np.random.Generator) -> Odd:
    """Power switches between two levels at times that follow no beat, as a loose contact would."""
    shares, at, level = np.empty(steps), 0, 1.0
    low = float(rng.uniform(0.4, 0.65))
    while at < steps:
        length = 6 + int(rng.exponential(24.0))
        shares[at : at + length] = level
        level, at = (low if level == 1.0 else 1.0), at + length
    return Odd(shares, 60.0)


def _inverted_taper(steps: int, rng: np.random.Generator) -> Odd:
    """A plateau at half the power, and then, the fuller the battery the more, an ever steeper rise."""
    level, knee = float(rng.uniform(0.36, 0.5)), float(rng.uniform(0.3, 0.5))
    progress = np.clip((np.arange(steps) / steps - knee) / (1.0 - knee), 0.0, 1.0)
    return Odd(level + (1.0 - level) * progress**2, steps * GRID_S / 12.0)


def _stair_climb(steps: int, rng: np.random.Generator) -> Odd:
    """Power climbs in five to nine equal steps and stays on each."""
    stairs, low = int(rng.integers(5, 10)), float(rng.uniform(_FLOOR, 0.45))
    stair = np.minimum(np.arange(steps) * stairs // steps, stairs - 1)
    return Odd(low + (1.0 - low) * stair / (stairs - 1), steps * GRID_S / (2.0 * stairs))


def _growing_swing(steps: int, rng: np.random.Generator) -> Odd:
    """An oscillation that builds up, as of a loop that becomes unstable; its beat quickens."""
    progress = np.arange(steps) / steps
    cycles = float(rng.uniform(5.0, 9.0))
    swing = 0.3 * progress * np.sin(2.0 * np.pi * cycles * (0.5 * progress + 0.5 * progress**2))
    return Odd(0.7 + swing, steps * GRID_S / (8.0 * cycles))


def _arch(steps: int, rng: np.random.Generator) -> Odd:
    """Power swells over half of the session and ebbs over the other half."""
    low = float(rng.uniform(_FLOOR, 0.45))
    return Odd(low + (1.0 - low) * np.sin(np.pi * np.arange(steps) / steps), steps * GRID_S / 12.0)


_SEEN: Final = Needs(managed=False, power=True, sampling_at_most_s=60.0)
_FAST: Final = _SEEN._replace(sampling_at_most_s=30.0)

_TRAINING: Final[tuple[tuple[str, Draw, Needs], ...]] = (
    ("hunting", _hunting, _FAST),
    ("saw_tooth", _saw_tooth, _SEEN),
    ("creeping_down", _creeping_down, _SEEN),
    ("rising_all_along", _rising_all_along, _SEEN),
    ("random_steps", _random_steps, _SEEN),
    ("spiky_noise", _spiky_noise, _FAST),
    ("short_dropouts", _short_dropouts, _FAST),
)
_OTHERS: Final[tuple[tuple[str, Draw, Needs], ...]] = (
    ("sine", _sine, _FAST),
    ("bursts", _bursts, _FAST),
    ("two_levels", _two_levels, _SEEN),
    ("inverted_taper", _inverted_taper, _SEEN),
    ("stair_climb", _stair_climb, _SEEN),
    ("growing_swing", _growing_swing, _SEEN),
    ("arch", _arch, _SEEN),
)

SHAPE_MECHANISMS: Final = (
    *(Mechanism(name, needs, shaped(draw)) for name, draw, needs in _TRAINING),
    *(Mechanism(name, needs, shaped(draw), held_out=True) for name, draw, needs in _OTHERS),
)
