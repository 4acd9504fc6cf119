"""Labelled simulated fleets: vehicles, chargers, behaviour, meters, faults. Seeded.

Written from ``categories.md`` alone and sharing no code with any detector, so that a detector
measured on it is measured against the definitions and not against itself.
"""

from chargewatch.simulate.catalogue import (
    FAULTS,
    HELD_OUT,
    HELD_OUT_NEAR_MISSES,
    NEAR_MISSES,
    UNSEEN,
    UNSEEN_NORMALS,
)
from chargewatch.simulate.fleet import simulate_fleet
from chargewatch.simulate.records import Kind, Label, SimulatedReading, SimulatedSession
from chargewatch.simulate.sessions import simulate_session
from chargewatch.simulate.tables import FleetFiles, write_fleet

__all__ = [
    "FAULTS",
    "HELD_OUT",
    "HELD_OUT_NEAR_MISSES",
    "NEAR_MISSES",
    "UNSEEN",
    "UNSEEN_NORMALS",
    "FleetFiles",
    "Kind",
    "Label",
    "SimulatedReading",
    "SimulatedSession",
    "simulate_fleet",
    "simulate_session",
    "write_fleet",
]
