"""One simulated session: a plan happens, a meter watches, readings are sent, faults are labelled."""

from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.simulate.catalogue import MECHANISMS, fault_named, near_miss_named
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.labels import label_faults
from chargewatch.simulate.meters import SLOWEST_FOR_POWER_ONLY_S, observe
from chargewatch.simulate.plans import Plan, draw_plan
from chargewatch.simulate.records import Kind, SimulatedSession
from chargewatch.simulate.sending import send
from chargewatch.simulate.stations import Needs, Station, adapted, draw_station
from chargewatch.simulate.truth import drive

_FIRST_START = datetime(2026, 1, 5, tzinfo=UTC)


class Script(NamedTuple):
    """What is special about a session: a fault of ``category``, or (without one) a near-miss."""

    category: Category | None
    mechanism: Mechanism


class Identity(NamedTuple):
    """The names that a session goes by."""

    session_id: str
    station_id: str
    connector_id: str


def plan_session(
    rng: np.random.Generator, station: Station, starts_at: datetime, base_wh: float, script: Script | None
) -> Plan:
    """Plans a session at ``station``; what the script needs, the station must meet."""
    plan = draw_plan(rng, station, starts_at, base_wh)
    return plan if script is None else script.mechanism.shape(plan, rng)


def play(rng: np.random.Generator, plan: Plan, script: Script | None, identity: Identity) -> SimulatedSession:
    """Lets a planned session happen and returns it as it was sent."""
    charger, meter = plan.station.charger, plan.station.meter
    truth = drive(charger, plan.vehicle, plan.visit, plan.course)
    observed = observe(truth, charger, meter, plan.starts_at, plan.base_wh, rng)
    tampered = None
    if script is not None and script.mechanism.tamper is not None:
        observed, tampered = script.mechanism.tamper(plan, observed, rng)
    labels = []
    if script is not None and script.category is not None:
        labels = label_faults(script.category, script.mechanism.name, plan, observed, tampered)
    return SimulatedSession(
        session_id=identity.session_id,
        station_id=identity.station_id,
        connector_id=identity.connector_id,
        kind=charger.kind,
        rated_power_kw=charger.rated_kw,
        managed=charger.managed,
        started_at=plan.starts_at,
        ended_at=plan.starts_at + timedelta(milliseconds=int(truth.ended_s * 1000)),
        readings=send(observed, charger, meter, plan.starts_at, rng),
        labels=labels,
        near_miss=script.mechanism.name if script is not None and script.category is None else None,
        sampling_s=meter.sampling_s,
        energy_kwh=float(truth.energy_kwh[-1]),
        max_power_kw=float(truth.power_kw.max()),
        rated_power_known=charger.rated_known,
    )


def simulate_session(
    seed: int,
    *,
    fault: Category | None = None,
    mechanism: str | None = None,
    near_miss: str | None = None,
    kind: Kind | None = None,
    sampling_s: float | None = None,
) -> SimulatedSession:
    """Returns one session at a station of its own; the same arguments give the same session.

    Args:
        seed: of everything that is drawn.
        fault: what goes wrong; None for a normal session.
        mechanism: how (one of ``FAULTS[fault]``); None draws one.
        near_miss: one of ``NEAR_MISSES``; not together with a fault.
        kind: ``ac`` or ``dc``; None draws one that is possible.
        sampling_s: seconds between readings; None draws it.

    Raises:
        ValueError: an unknown name, or things asked for that exclude each other.
    """
    rng = np.random.default_rng(seed)
    script = _script(rng, fault, mechanism, near_miss, kind)
    needs = Needs() if script is None else script.mechanism.needs
    station = _station(rng, needs, kind, sampling_s)
    starts_at = _FIRST_START + timedelta(seconds=int(rng.integers(0, 28 * 86400)))
    plan = plan_session(rng, station, starts_at, float(rng.uniform(1e6, 3e7)), script)
    return play(rng, plan, script, Identity(f"sim-{seed}", f"station-{seed}", "1"))


def _script(
    rng: np.random.Generator,
    fault: Category | None,
    mechanism: str | None,
    near_miss: str | None,
    kind: Kind | None,
) -> Script | None:
    if near_miss is not None:
        if fault is not None or mechanism is not None:
            raise ValueError("a near-miss is a normal session: it has no fault")
        return Script(None, near_miss_named(near_miss))
    if fault is None:
        if mechanism is not None:
            raise ValueError(f"mechanism {mechanism!r} of which fault?")
        return None
    if mechanism is not None:
        return Script(fault, fault_named(fault, mechanism))
    possible = [m for m in MECHANISMS[fault] if kind is None or m.needs.kind in (None, kind)]
    return Script(fault, possible[int(rng.integers(len(possible)))])


def _station(rng: np.random.Generator, needs: Needs, kind: Kind | None, sampling_s: float | None) -> Station:
    if kind is not None and needs.kind is not None and kind != needs.kind:
        raise ValueError(f"this happens on {needs.kind} only")
    chosen: Kind = kind or needs.kind or ("dc" if rng.random() < 0.4 else "ac")
    station = adapted(draw_station(rng, chosen), needs, rng)
    if sampling_s is None:
        return station
    if needs.sampling_at_most_s is not None and sampling_s > needs.sampling_at_most_s:
        raise ValueError(f"this shows only with readings each {needs.sampling_at_most_s:.0f} s or more often")
    meter = replace(station.meter, sampling_s=sampling_s)
    if sampling_s > SLOWEST_FOR_POWER_ONLY_S and meter.register == "none":
        meter = replace(meter, register="session")
    return replace(station, meter=meter)
