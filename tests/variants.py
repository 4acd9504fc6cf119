"""One simulated session sent in other ways: thinned, lossy, shuffled, in other units, from another count, by phase.

``Scene`` is a session that happened once and was metered each ten seconds. Each way of sending it keeps some of the
instants, and says what of the fault those still prove (the simulator's own labels on what is left).
"""

from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from datetime import timedelta
from decimal import Decimal

import numpy as np

from chargewatch.domain.categories import Category
from chargewatch.simulate.catalogue import fault_named, near_miss_named
from chargewatch.simulate.labels import label_faults
from chargewatch.simulate.meters import Observed, keep, observe
from chargewatch.simulate.plans import Plan
from chargewatch.simulate.records import SimulatedReading, SimulatedSession, Span
from chargewatch.simulate.sending import send
from chargewatch.simulate.sessions import _FIRST_START, Script, plan_session
from chargewatch.simulate.stations import Needs, adapted, draw_station
from chargewatch.simulate.truth import drive

REGISTER = "Energy.Active.Import.Register"
POWER = "Power.Active.Import"
FINEST_S = 10.0


@dataclass(frozen=True)
class Scene:
    """A session metered each ten seconds, before it is sent."""

    seed: int
    plan: Plan
    observed: Observed
    script: Script | None
    tampered: Span | None
    ended_s: float

    def sent(self, kept: np.ndarray | None = None) -> SimulatedSession:
        """The session as sent with the instants that are kept."""
        observed = self.observed if kept is None else keep(self.observed, kept)
        charger, meter = self.plan.station.charger, self.plan.station.meter
        labels = []
        if self.script is not None and self.script.category is not None:
            name = self.script.mechanism.name
            labels = label_faults(self.script.category, name, self.plan, observed, self.tampered)
        return SimulatedSession(
            session_id=f"scene-{self.seed}",
            station_id="scene",
            connector_id="1",
            kind=charger.kind,
            rated_power_kw=charger.rated_kw,
            managed=charger.managed,
            started_at=self.plan.starts_at,
            ended_at=self.plan.starts_at + timedelta(milliseconds=int(self.ended_s * 1000)),
            readings=send(observed, charger, meter, self.plan.starts_at, np.random.default_rng(0)),
            labels=labels,
            near_miss=None,
            sampling_s=meter.sampling_s,
            energy_kwh=float(observed.energy_kwh[-1]),
            max_power_kw=0.0,
        )

    def thinned(self, sampling_s: float) -> SimulatedSession:
        """With a reading each ``sampling_s``, and the last one."""
        at_ms = self.observed.at_ms
        due = np.floor(at_ms / (sampling_s * 1000.0) + 0.05)
        kept = np.concatenate(([True], np.diff(due) > 0))
        kept[-1] = True
        return self.sent(kept)

    def with_losses(self, share: float) -> SimulatedSession:
        """With readings lost at random, not the first and the last."""
        kept = np.random.default_rng(self.seed).random(len(self.observed.at_ms)) >= share
        kept[0] = kept[-1] = True
        return self.sent(kept)


def scene(seed: int, category: Category | None, mechanism: str | None, near_miss: str | None = None) -> Scene:
    """Lets a session happen at a station whose meter shows everything that the mechanism needs, finely."""
    rng = np.random.default_rng((seed, 77))
    script = None
    if category is not None and mechanism is not None:
        script = Script(category, fault_named(category, mechanism))
    elif near_miss is not None:
        script = Script(None, near_miss_named(near_miss))
    needs = Needs() if script is None else script.mechanism.needs
    kind = needs.kind or ("dc" if rng.random() < 0.4 else "ac")
    station = adapted(draw_station(rng, kind), needs, rng)
    register = "session" if station.meter.register == "none" else station.meter.register
    meter = replace(
        station.meter,
        sampling_s=FINEST_S,
        clock_aligned=False,
        loss=0.0,
        late=0.0,
        repeated=0.0,
        register=register,
    )
    station = replace(station, meter=meter)
    plan = plan_session(rng, station, _FIRST_START, float(rng.integers(1000, 30_000)) * 1000.0, script)
    truth = drive(station.charger, plan.vehicle, plan.visit, plan.course)
    observed = observe(truth, station.charger, plan.station.meter, plan.starts_at, plan.base_wh, rng)
    tampered = None
    if script is not None and script.mechanism.tamper is not None:
        observed, tampered = script.mechanism.tamper(plan, observed, rng)
    return Scene(seed, plan, observed, script, tampered, truth.ended_s)


def _mapped(
    change: Callable[[SimulatedReading], Sequence[SimulatedReading]],
) -> Callable[[SimulatedSession], SimulatedSession]:
    def apply(session: SimulatedSession) -> SimulatedSession:
        return replace(session, readings=[new for old in session.readings for new in change(old)])

    return apply


def _in_watt_hours(reading: SimulatedReading) -> list[SimulatedReading]:
    if reading.unit not in {"kWh", "kW"}:
        return [reading]
    return [reading._replace(value=f"{Decimal(reading.value) * 1000:f}", unit=reading.unit[1:])]


def _in_kilowatt_hours(reading: SimulatedReading) -> list[SimulatedReading]:
    if reading.unit not in {"Wh", "W"}:
        return [reading]
    return [reading._replace(value=f"{Decimal(reading.value) / 1000:f}", unit="k" + reading.unit)]


def _counted_on(reading: SimulatedReading) -> list[SimulatedReading]:
    if reading.measurand != REGISTER:
        return [reading]
    added = Decimal(7_123_000 if reading.unit == "Wh" else 7_123)
    return [reading._replace(value=f"{Decimal(reading.value) + added:f}")]


def _by_phase(reading: SimulatedReading) -> list[SimulatedReading]:
    if reading.measurand not in {REGISTER, POWER} or reading.phase is not None:
        return [reading]
    shares = {"L1": Decimal("0.5"), "L2": Decimal("0.25"), "L3": Decimal("0.25")}
    return [
        reading._replace(value=f"{Decimal(reading.value) * share:f}", phase=phase)
        for phase, share in shares.items()
    ]


def shuffled(session: SimulatedSession) -> SimulatedSession:
    """In no order at all."""
    order = np.random.default_rng(5).permutation(len(session.readings))
    return replace(session, readings=[session.readings[i] for i in order])


def repeated(session: SimulatedSession) -> SimulatedSession:
    """Each reading twice."""
    return replace(session, readings=session.readings + session.readings)


#: Other ways to send the very same figures.
SAME_FIGURES: dict[str, Callable[[SimulatedSession], SimulatedSession]] = {
    "shuffled": shuffled,
    "repeated": repeated,
    "watt_hours": _mapped(_in_watt_hours),
    "kilowatt_hours": _mapped(_in_kilowatt_hours),
    "lifetime_offset": _mapped(_counted_on),
    "by_phase": _mapped(_by_phase),
}
#: Other samplings of the same session.
FEWER_READINGS: dict[str, Callable[[Scene], SimulatedSession]] = {
    "60 s": lambda scene: scene.thinned(60.0),
    "5 min": lambda scene: scene.thinned(300.0),
    "15 min": lambda scene: scene.thinned(900.0),
    "20 % lost": lambda scene: scene.with_losses(0.2),
}
