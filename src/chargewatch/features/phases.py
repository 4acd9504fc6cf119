"""Signals side by side of one session: its phases, and its temperatures by place."""

import math
from typing import NamedTuple

from chargewatch.ingest.phases import HOT_PLACES, Table

PHASE_NAMES = ("L1", "L2", "L3")
PLACE_NAMES = HOT_PLACES

Row = tuple[float, float, float]


class Rows(NamedTuple):
    """Three signals of one session: ``value`` at ``at_s`` seconds after its first sane reading, NaN: not sent."""

    at_s: list[float]
    value: list[Row]

    def column(self, number: int) -> list[tuple[float, float]]:
        """Returns one of the signals as (time, value)."""
        return [(at, row[number]) for at, row in zip(*self, strict=True) if not math.isnan(row[number])]

    def complete(self) -> "Rows":
        """Returns the instants with as many signals as any instant has: with one missing a sum says nothing."""
        counts = [sum(not math.isnan(v) for v in row) for row in self.value]
        most = max(counts, default=0)
        kept = [i for i, n in enumerate(counts) if n == most]
        return Rows([self.at_s[i] for i in kept], [self.value[i] for i in kept])


class SideBySide(NamedTuple):
    """What one session sent of its phases (A, W, V), and the station's temperatures (degrees Celsius)."""

    current: Rows
    power: Rows
    voltage: Rows
    temperature: Rows


def rows_of(table: Table, session: int) -> Rows:
    """Cuts one session out of a table."""
    cut = slice(int(table.offsets[session]), int(table.offsets[session + 1]))
    return Rows(table.at_s[cut].tolist(), [(a, b, c) for a, b, c in table.value[cut].tolist()])
