"""What stands behind a verdict: figures of each channel that fit what was done to the station."""

import numpy as np
import pytest

from chargewatch.domain.station_types import StationAnomaly, StationState
from chargewatch.shade.detect import Replay
from chargewatch.shade.evidence import ChannelEvidence, day_details
from chargewatch.shade.run import replay_all
from chargewatch.shade.sessions import Sessions
from tests.shade_sessions import DAY_S, steady

LATER_S = 20_000 * DAY_S


def replayed(sessions: Sessions) -> Replay:
    moved = sessions._replace(start_s=sessions.start_s + LATER_S, end_s=sessions.end_s + LATER_S)
    return next(replay_all(moved)).replay


def channel(found: Replay, station: int, row: int, kind: StationAnomaly) -> ChannelEvidence:
    return next(c for c in day_details(found, station, row).channels if c.kind == kind)


def test_a_power_derate_tells_the_power_that_is_left() -> None:
    table = steady(6, 110)
    hit = (table.station == 1) & (table.end_s > 80 * DAY_S)
    weak = np.where(hit, 0.4, 1.0)
    found = replayed(table._replace(energy_kwh=table.energy_kwh * weak, power_kw=table.power_kw * weak))
    row = int(np.flatnonzero(found.is_anomaly[:, 1])[0]) + 3
    details = day_details(found, 1, row)
    assert details.anomaly_type == "power_derate"
    assert details.state == StationState.WATCHING
    assert details.since is not None
    assert details.since <= details.affected_period
    power = channel(found, 1, row, StationAnomaly.POWER_DERATE)
    assert power.effect
    assert power.strength >= 0.35
    assert power.value == pytest.approx(0.4, abs=0.05)
    assert details.expected_energy_kwh is not None
    assert details.expected_low_kwh is not None
    assert details.expected_high_kwh is not None
    assert details.expected_low_kwh < details.expected_energy_kwh < details.expected_high_kwh
    assert details.actual_energy_kwh < details.expected_energy_kwh


def test_a_silent_connector_is_named() -> None:
    table = steady(6, 110, a_day=6)
    moved = (table.station == 2) & (table.end_s > 80 * DAY_S)
    found = replayed(
        table._replace(connector=np.where(moved, 4, table.connector))
    )  # all at the first of 4 and 5
    row = int(np.flatnonzero(found.is_anomaly[:, 2])[0])
    details = day_details(found, 2, row)
    assert details.anomaly_type == "connector_silent"
    (name, strength), *others = details.silent_connectors
    assert (name, others) == ("2", [])
    assert strength >= 1.0
    missed = channel(found, 2, row, StationAnomaly.CONNECTOR_SILENT).value
    assert missed is not None
    assert missed > 5.0


def test_a_quiet_day_has_channels_on_the_last_day_only() -> None:
    found = replayed(steady(4, 60))
    last = found.days.days - 1
    assert len(day_details(found, 0, last).channels) == len(StationAnomaly)
    assert all(c.strength < 1.0 or not c.effect for c in day_details(found, 0, last).channels)
    assert day_details(found, 0, last - 1).channels == ()


def test_before_a_station_can_be_judged_nothing_is_expected() -> None:
    found = replayed(steady(3, 40))
    details = day_details(found, 0, 5)
    assert details.state == StationState.LEARNING
    assert details.expected_energy_kwh is details.expected_sessions is details.anomaly_type is None
    assert details.actual_sessions == 3
