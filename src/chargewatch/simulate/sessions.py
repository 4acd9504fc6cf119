"""One simulated session: a plan happens, a meter watches, readings are sent, faults are labelled."""

from collections.abc import Sequence
from dataclasses import replace
from datetime import UTC, datetime, timedelta
from typing import NamedTuple

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.simulate.catalogue import MECHANISMS, fault_named, near_miss_named
from chargewatch.simulate.faults import Mechanism
from chargewatch.simulate.labels import label_faults
from chargewatch.simulate.meters import SLOWEST_FOR_POWER_ONLY_S, noisy, observe, thinned
from chargewatch.simulate.pairs import FIRST, SECOND, Fault, common_needs, falsified
from chargewatch.simulate.plans import Plan, draw_plan
from chargewatch.simulate.records import Kind, Label, SimulatedSession
from chargewatch.simulate.sending import send
from chargewatch.simulate.stations import Needs, Station, adapted, draw_station
from chargewatch.simulate.truth import drive
from chargewatch.simulate.vehicles import Vehicle

_FIRST_START = datetime(2026, 1, 5, tzinfo=UTC)


class Script(NamedTuple):
    """What is special about a session: a fault of ``category`` and perhaps a second one, or a near-miss."""

    category: Category | None
    mechanism: Mechanism
    second: Fault | None = None


class Identity(NamedTuple):
    """The names that a session goes by."""

    session_id: str
    station_id: str
    connector_id: str


def plan_session(
    rng: np.random.Generator,
    station: Station,
    starts_at: datetime,
    base_wh: float,
    script: Script | None,
    vehicle: Vehicle | None = None,
) -> Plan:
    """Plans a session at ``station``; what the script needs, the station must meet."""
    plan = draw_plan(rng, station, starts_at, base_wh, vehicle)
    return plan if script is None else script.mechanism.shape(plan, rng)


def play(
    rng: np.random.Generator,
    plan: Plan,
    script: Script | None,
    identity: Identity,
    readings: int | None = None,
) -> SimulatedSession:
    """Lets a planned session happen and returns it as it was sent, with ``readings`` instants if given."""
    charger = plan.station.charger
    truth = drive(charger, plan.vehicle, plan.visit, plan.course)
    if readings is not None:
        meter = thinned(plan.station.meter, readings, truth.ended_s)
        plan = replace(plan, station=replace(plan.station, meter=meter))
    meter = plan.station.meter
    observed = observe(truth, charger, meter, plan.starts_at, plan.base_wh, rng)
    tampered = None
    if script is not None and script.mechanism.tamper is not None:
        observed, tampered = script.mechanism.tamper(plan, observed, rng)
    labels: list[Label] = []
    if script is not None and script.category is not None and script.second is not None:
        first = Fault(script.category, script.mechanism)
        observed, labels = falsified(plan, observed, first, script.second, rng)
    elif script is not None and script.category is not None:
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
    second_fault: Category | None = None,
    readings: int | None = None,
    stay_s: float | None = None,
    noise: float | None = None,
    dc_vehicles: Sequence[Vehicle] = (),
) -> SimulatedSession:
    """Returns one session at a station of its own; the same arguments give the same session.

    Args:
        seed: of everything that is drawn.
        fault: what goes wrong; None for a normal session.
        mechanism: how (one of ``FAULTS[fault]``); None draws one.
        near_miss: one of ``NEAR_MISSES``; not together with a fault.
        kind: ``ac`` or ``dc``; None draws one that is possible.
        sampling_s: seconds between readings; None draws it.
        second_fault: one of ``pairs.SECOND``, at another time of the same session; ``fault`` is then one of
            ``pairs.FIRST``. Both are labelled. Where no time is left for it there is the first alone.
        readings: how many instants are sent, from the session's beginning to its end (3 to 200); what they no
            longer show is labelled as not visible. Not together with a near-miss or ``sampling_s``.
        dc_vehicles: the car of a DC session is drawn from these when there are any (``real_curves.read_vehicles``).
        noise: the meter is a bad one: power readings scatter by this share (standard deviation; usual are 0.002 to
            0.015) and the register's counts are up to a tenth of a sampling interval old. Not with a near-miss.
        stay_s: for how long the car stays at least, for sessions longer than 6 h. Not with a near-miss.

    Raises:
        ValueError: an unknown name, or things asked for that exclude each other.
    """
    _check(near_miss, sampling_s, readings, stay_s, noise)
    rng = np.random.default_rng(seed)
    script = _script(rng, fault, mechanism, near_miss, kind)
    needs = Needs() if script is None else script.mechanism.needs
    if second_fault is not None:
        script, needs = _with_second(rng, script, second_fault, drawn=mechanism is None)
    station = _station(rng, needs, kind, sampling_s)
    if noise is not None:
        station = replace(station, meter=noisy(station.meter, noise))
    starts_at = _FIRST_START + timedelta(seconds=int(rng.integers(0, 28 * 86400)))
    vehicle = None
    if dc_vehicles and station.charger.kind == "dc":
        vehicle = dc_vehicles[int(rng.integers(len(dc_vehicles)))]
    plan = plan_session(rng, station, starts_at, float(rng.uniform(1e6, 3e7)), script, vehicle)
    if stay_s is not None:
        visit = replace(plan.visit, stay_s=max(plan.visit.stay_s, stay_s), leaves_after_s=None)
        plan = replace(plan, visit=visit)
    return play(rng, plan, script, Identity(f"sim-{seed}", f"station-{seed}", "1"), readings)


def _check(
    near_miss: str | None,
    sampling_s: float | None,
    readings: int | None,
    stay_s: float | None,
    noise: float | None,
) -> None:
    if near_miss is not None and any(asked is not None for asked in (readings, stay_s, noise)):
        raise ValueError("a near-miss rests on its own sampling, stay and meter")
    if noise is not None and not 0.0 <= noise <= 0.1:
        raise ValueError("noise must be 0 to 0.1")
    if readings is not None and (sampling_s is not None or not 3 <= readings <= 200):
        raise ValueError("readings must be 3 to 200, and exclude sampling_s")


def _with_second(
    rng: np.random.Generator, script: Script | None, second: Category, *, drawn: bool
) -> tuple[Script, Needs]:
    if script is None or script.category not in FIRST or second not in SECOND:
        raise ValueError(f"a second fault is one of {', '.join(SECOND)}, beside one of {', '.join(FIRST)}")
    if drawn:
        firsts = FIRST[script.category]
        name = firsts[int(rng.integers(len(firsts)))]
        script = script._replace(mechanism=fault_named(script.category, name))
    names = SECOND[second]
    mechanism = fault_named(second, names[int(rng.integers(len(names)))])
    both = script._replace(second=Fault(second, mechanism))
    return both, common_needs(script.mechanism.needs, mechanism.needs)


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
