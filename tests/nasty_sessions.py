"""Realistic but nasty sessions, drawn from a ``random.Random`` (seeded, or Hypothesis' own).

What is drawn hugs the limits of the definitions: levels at 25 and 50 per cent, runs of 3, 30, 60 and 120 minutes,
powers around 0.3, 1 and 1.4 kW, energies around 0.1, 0.5 and 3 kWh.
"""

from collections.abc import Callable
from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from tests.disorders import DISORDERS
from tests.sessions import (
    BEGIN,
    CURRENT,
    CURRENT_OFFERED,
    END,
    EXPORT_REGISTER,
    INTERVAL,
    POWER,
    POWER_EXPORT,
    POWER_OFFERED,
    REGISTER,
    SOC,
    VOLTAGE,
    Sent,
    Session,
    charging,
)

#: Faults of the register that are no falls: see ``_with_other_fault``.
METER_FAULTS = ("frozen", "frozen", "gain", "gain", "jump", "catch_up")
LEVELS_KW = (1.0, 1.4, 2.3, 3.68, 7.4, 11.0, 22.0, 43.0, 50.0, 150.0)
LOW_SHARES = (0.0, 0.0, 0.0, 0.02, 0.24, 0.25, 0.26)
STEP_SHARES = (0.1, 0.15, 0.25, 0.3, 0.35, 0.49, 0.5, 0.51, 0.79, 0.8, 1.0, 1.0, 1.2)
LASTING_MIN = (1.0, 2.0, 3.0, 4.0, 5.0, 10.0, 14.0, 15.0, 16.0, 29.0, 30.0, 31.0, 45.0, 60.0, 75.0)
LONG_MIN = (59.0, 60.0, 61.0, 90.0, 119.0, 120.0, 121.0, 150.0, 400.0)
IDLE_KW = (0.0, 0.0, 0.0, 0.1, 0.29, 0.3, 0.31)


def nasty_session(rng: Random) -> Session:
    """Draws one session."""
    pieces = _pieces(rng)
    session = charging(*pieces)
    times = _times(rng, session.length)
    rated = rng.choice((None, None, None, 3.7, 11.0, 50.0, 150.0))
    session = _with_readings(rng, session, times)
    for change in rng.sample(DISORDERS, rng.choice((0, 0, 1, 1, 2, 3))):
        session = replace(session, sent=tuple(change(rng, list(session.sent))))
    session = session.declare(managed=rng.random() < 0.1, over=rng.random() < 0.7, rated_kw=rated)
    if rng.random() < 0.15:
        session = session.declare(started=-rng.choice((1.0, 5.0, 60.0)))
    if rng.random() < 0.15:
        session = session.declare(ended=session.length + rng.choice((0.0, 1.0, 5.0, 60.0)))
    return session


# ------------------------------------------------------------------------------------------- the truth


def _pieces(rng: Random) -> list[tuple[float, float]]:
    """What truly happens, as (minutes, kW)."""
    shape = rng.choice(("zero", "plain", "pits", "pits", "idle", "idle", "taper", "steps", "mixed", "mixed"))
    level = rng.choice(LEVELS_KW)
    pieces: list[tuple[float, float]] = []
    if rng.random() < 0.2:
        pieces.append((rng.choice(LASTING_MIN), 0.0))
    if shape == "zero":
        return [
            *pieces,
            (rng.choice((1.0, 4.9, 5.0, 5.1, 20.0, 59.0, 60.0, 61.0)), rng.choice((*IDLE_KW, 0.31))),
        ]
    pieces.append((_first_lasts(rng, level), level))
    for _ in range({"plain": 0, "pits": 3, "idle": 1, "taper": 1, "steps": 4, "mixed": 4}[shape]):
        kind = shape if shape != "mixed" else rng.choice(("pits", "idle", "taper", "steps"))
        pieces += _PIECES[kind](rng, level)
    return pieces


def _first_lasts(rng: Random, level: float) -> float:
    """Minutes of charging, often such that the energy is at a limit of the definitions."""
    if rng.random() < 0.5:
        return rng.choice(LASTING_MIN)
    kwh = rng.choice((0.09, 0.1, 0.11, 0.49, 0.5, 0.51, 2.9, 3.0, 3.1))
    return min(round(kwh / level * 60.0, 2), 150.0)


def _pit(rng: Random, level: float) -> list[tuple[float, float]]:
    low = level * rng.choice(LOW_SHARES)
    lasts = rng.choice(LASTING_MIN if rng.random() < 0.8 else LONG_MIN)
    pit = [(lasts, low)]
    if rng.random() < 0.2:
        pit.append((rng.choice(LASTING_MIN[:5]), level * rng.choice(LOW_SHARES)))
    return [*pit, (rng.choice(LASTING_MIN), level * rng.choice(STEP_SHARES))]


def _idle(rng: Random, level: float) -> list[tuple[float, float]]:
    pieces = [(rng.choice(LONG_MIN if rng.random() < 0.5 else LASTING_MIN), rng.choice(IDLE_KW))]
    if rng.random() < 0.4:
        pieces.append((rng.choice(LASTING_MIN), level * rng.choice(STEP_SHARES)))
    return pieces


def _taper(rng: Random, level: float) -> list[tuple[float, float]]:
    minutes = rng.choice((0.5, 1.0, 2.0, 5.0, 10.0))
    shares = sorted((rng.choice(STEP_SHARES) for _ in range(rng.choice((2, 3, 5)))), reverse=True)
    return [*((minutes, level * share) for share in shares), (rng.choice(LASTING_MIN), rng.choice(IDLE_KW))]


def _steps(rng: Random, level: float) -> list[tuple[float, float]]:
    return [(rng.choice(LASTING_MIN), level * rng.choice(STEP_SHARES))]


_PIECES: dict[str, Callable[[Random, float], list[tuple[float, float]]]] = {
    "pits": _pit,
    "idle": _idle,
    "taper": _taper,
    "steps": _steps,
}


def _times(rng: Random, length: float) -> list[float]:
    """When readings are taken, in minutes: 10 s to 15 min apart, with jitter, losses and few of them."""
    if rng.random() < 0.15:
        return sorted({round(rng.uniform(0.0, max(length, 0.1)), 3) for _ in range(rng.randint(0, 8))})
    every_s = rng.choice((10.0, 30.0, 60.0, 60.0, 300.0, 300.0, 900.0, 3600.0))
    every_s = max(every_s, length)  # 60 readings at most
    count = int(length * 60.0 / every_s) + 1
    times = [i * every_s / 60.0 for i in range(count)]
    if rng.random() < 0.3:
        jitter = every_s / 60.0 * rng.choice((0.02, 0.3))
        times = [max(0.0, t + round(rng.uniform(-jitter, jitter), rng.choice((2, 8)))) for t in times]
    if rng.random() < 0.3:
        times = [t for t in times if rng.random() > rng.choice((0.05, 0.3))]
    if rng.random() < 0.2:
        hole = rng.uniform(0.0, length)
        width = rng.choice((3.0, 30.0, 130.0))
        times = [t for t in times if not hole < t < hole + width]
    return sorted({round(t, 9) for t in times})


# ------------------------------------------------------------------------------------------ the meter


def _with_readings(rng: Random, session: Session, times: list[float]) -> Session:
    what = rng.choice(
        ("register", "register", "power", "both", "both", "both", "intervals", "current", "all")
    )
    if what in ("register", "both", "all"):
        session = _register(rng, session, times)
    if what in ("power", "both", "all"):
        session = _power(rng, session, times)
    if what in ("intervals", "all"):
        pairs = zip(times, times[1:], strict=False)
        session = session.readings(
            [(b, round((session.kwh_at(b) - session.kwh_at(a)) * 1000.0, 1)) for a, b in pairs],
            INTERVAL,
            "Wh",
        )
    if what in ("current", "all") or rng.random() < 0.15:
        session = _currents(rng, session, times)
    if rng.random() < 0.4:
        session = _soc(rng, session, times)
    if rng.random() < 0.4:
        session = _offers(rng, session, times)
    if rng.random() < 0.1:
        session = _export(rng, session, times)
    if rng.random() < 0.05 and times:
        session = session.readings(
            [(times[-1] + rng.choice((0.0, 5.0, 40.0)), 21.5)], "Temperature", "Celsius"
        )
    return session


def _register(rng: Random, session: Session, times: list[float]) -> Session:
    resolution = rng.choice((1, 1, 10, 100, 250, 500, 600, 1000))
    begin_wh = rng.choice((0, 0, 5_000, 65_000, 2**16 - 500, 12_345_678, 2**31 - 2_000, 2**32 - 900))
    values = [int((begin_wh + session.kwh_at(t) * 1000.0 + 1e-6) // resolution) * resolution for t in times]
    if rng.random() < 0.35:
        values = _with_fault(rng, values, resolution)
    pairs = list(zip(times, values, strict=True))
    unit = rng.choice((None, "Wh", "kWh", "kWh"))
    scale = 1000.0 if unit == "kWh" else 1.0
    names = {}
    if rng.random() < 0.1:
        names = {"location": rng.choice(("Inlet", "outlet", "Cable", "Moon"))}
    sent: list[tuple[float, float, dict[str, str]]] = [(t, v / scale, dict(names)) for t, v in pairs]
    if sent and rng.random() < 0.4:
        sent = _with_ends(rng, sent, scale)
    if sent and rng.random() < 0.08:
        sent += [
            (t, v + rng.choice((0, 7_000)) / scale, {"location": "Inlet"})
            for t, v, _ in sent
            if rng.random() < 0.7
        ]
    for t, value, kind in sent:
        if not names and "context" not in kind and rng.random() < 0.01:
            continue
        session = session.reading(t, value, REGISTER if rng.random() < 0.9 else None, unit, **kind)
    return _by_phase(rng, session, REGISTER, 0.05)


def _with_fault(rng: Random, values: list[int], resolution: int) -> list[int]:
    """A fault of the register from some reading on, or for a while."""
    if len(values) < 2:
        return values
    kind = rng.choice(
        ("reset", "rollback", "drop_out", "zero", "wrap", "switch", "scale", "noise", "twice", *METER_FAULTS)
    )
    i = rng.randrange(1, len(values))
    j = min(len(values), i + rng.choice((1, 1, 2, 3, 8)))
    size = rng.choice((resolution, 10, 11, 20, 500, 1_000, 5_000))
    if kind == "reset":
        return [v if k < i else v - values[i] + rng.choice((0, 0, 3)) for k, v in enumerate(values)]
    if kind == "rollback":
        return [v if k < i else v - size for k, v in enumerate(values)]
    if kind == "drop_out":
        return [v if not i <= k < j else v - size for k, v in enumerate(values)]
    if kind == "zero":
        return [v if not i <= k < j else 0 for k, v in enumerate(values)]
    if kind == "wrap":
        size = rng.choice((2**16, 2**31, 2**32))
        return [v % size for v in values]
    if kind == "switch":
        to = rng.choice((1000, 0.001))
        return [v if k < i or (k >= j and rng.random() < 0.1) else v * to for k, v in enumerate(values)]
    if kind == "scale":
        to = rng.choice((1000, 0.001))
        return [v * to for v in values]
    if kind == "noise":
        return [v + rng.choice((-12, -10, -5, 0, 0, 5)) for v in values]
    if kind in METER_FAULTS:
        return _with_other_fault(rng, values, kind, i)
    k = rng.randrange(i, len(values))
    return [v if n < i else v - size if n < k else v - 2 * size for n, v in enumerate(values)]


def _with_other_fault(rng: Random, values: list[int], kind: str, i: int) -> list[int]:
    """The register stands (and catches up, or not), counts too little or too much, or jumps."""
    j = min(len(values), i + rng.choice((2, 10, 20, 60)))
    if kind == "jump":
        size = rng.choice((25, 1_000, 20_000, 500_000))
        return [v if n < i else v + size for n, v in enumerate(values)]
    if kind == "gain":
        gain = rng.choice((0.0, 0.5, 0.79, 0.81, 0.87, 1.15, 1.19, 1.21, 1.5))
        lost = [int((v - values[i - 1]) * (1.0 - gain)) for v in values]
        return [v if n < i else v - lost[min(n, j - 1)] for n, v in enumerate(values)]
    stood = values[min(j, len(values) - 1)] - values[i] if kind == "frozen" else 0
    return [v if n < i else values[i] if n < j else v - stood for n, v in enumerate(values)]


def _with_ends(
    rng: Random, sent: list[tuple[float, float, dict[str, str]]], scale: float
) -> list[tuple[float, float, dict[str, str]]]:
    """Transaction.Begin and .End: the same register, a zero, a session's own, a lifetime one, a sentinel."""
    first, last = sent[0], sent[-1]
    odd = (0.0, first[1] + 4_000_000 / scale, (2**31 - 1) / scale, first[1] - 20 / scale, 10 / scale)
    begin = first[1] if rng.random() < 0.5 else rng.choice(odd)
    delivered = last[1] - first[1]
    odd = (
        delivered,
        begin + delivered,
        last[1] + 5_000_000 / scale,
        last[1] - 300 / scale,
        last[1] - 600 / scale,
        0.0,
    )
    end = last[1] if rng.random() < 0.5 else rng.choice(odd)
    apart = rng.choice((0.0, 0.1, 1.0))
    out = list(sent)
    if rng.random() < 0.8:
        out.insert(0, (max(first[0] - apart, 0.0), begin, {"context": BEGIN}))
    if rng.random() < 0.8:
        out.append((last[0] + apart, end, {"context": END}))
    return out


def _power(rng: Random, session: Session, times: list[float]) -> Session:
    unit = rng.choice((None, "W", "kW"))
    scale = 1.0 if unit == "kW" else 1000.0
    noise = rng.choice((0.0, 0.0, 0.01))
    if rng.random() < 0.2:
        times = times[:: rng.choice((2, 3))]
    gain = rng.choice((1.0, 1.0, 1.0, 0.7, 1.3))
    odd_at = rng.choice(times) if times and rng.random() < 0.15 else None
    for t in times:
        kw = gain * session.kw_at(t) * (1.0 + round(rng.uniform(-noise, noise), 4))
        if t == odd_at:
            kw = rng.choice((1.3 * kw, 1.9 * kw, 2.1 * kw, 401.0, 1_000.0))
        if kw == 0.0 and rng.random() < 0.1:
            kw = rng.choice((-0.005, -0.099, -0.1, -3.0, 0.02))
        session = session.reading(t, kw * scale, POWER, unit)
    return _by_phase(rng, session, POWER, 0.1)


def _by_phase(rng: Random, session: Session, measurand: str, share: float) -> Session:
    """Sends single phases in place of totals, now and then with one missing."""
    if rng.random() >= share:
        return session
    names = rng.choice((("L1", "L2", "L3"), ("L1-N", "L2-N", "L3-N"), ("L1",)))
    sent: list[Sent] = []
    for one in session.sent:
        if one[2] != measurand:
            sent.append(one)
            continue
        for name in names:
            if rng.random() > 0.02:
                sent.append((one[0], one[1] / len(names), *one[2:4], name, *one[5:]))
    return replace(session, sent=tuple(sent))


def _currents(rng: Random, session: Session, times: list[float]) -> Session:
    dc = rng.random() < 0.3
    volts = rng.choice((400.0, 310.0)) if dc else rng.choice((230.0, 120.0, 80.0))
    phases = 0 if dc else rng.choice((0, 1, 3, 3))
    for i, t in enumerate(times):
        amperes = session.kw_at(t) * 1000.0 / volts
        if phases and rng.random() < 0.1:
            phases = rng.choice((1, 3))
        for phase in range(1, 4) if phases else (None,):
            carries = amperes / max(phases, 1) if phase is None or phase <= phases else 0.4
            name = None if phase is None else f"L{phase}"
            session = session.reading(t, round(carries, 2), CURRENT, "A", phase=name)
            if i % 2 == 0 or rng.random() < 0.8:
                session = session.reading(t, volts, VOLTAGE, "V", phase=name if rng.random() < 0.9 else None)
    return session


def _soc(rng: Random, session: Session, times: list[float]) -> Session:
    soc = rng.choice((0.0, 10.0, 50.0, 77.0, 78.0, 79.0, 80.0, 94.0, 95.0, 96.0))
    whole = max(session.kwh_at(session.length), 0.1)
    rises = rng.choice((0.0, 1.0, 2.0, 15.0, 30.0))
    name = rng.choice((SOC, SOC, "soc", "Display.PresentSOC"))
    for t in times:
        value = soc + rises * session.kwh_at(t) / whole
        value = rng.choice((0.0, 255.0)) if rng.random() < 0.02 else min(round(value, 1), 100.0)
        if rng.random() < 0.9:
            session = session.reading(t, value, name, rng.choice((None, "Percent")))
    return session


def _offers(rng: Random, session: Session, times: list[float]) -> Session:
    follows, sparse = rng.random() < 0.5, rng.random() < 0.4
    highest = max(kw for _, kw in session.pieces)
    offer = rng.choice((0.0, 0.99, 1.0, 1.39, 1.4, 3.7, 11.0))
    measurand, factor, unit = rng.choice(
        ((POWER_OFFERED, 1000.0, "W"), (POWER_OFFERED, 1.0, "kW"), (CURRENT_OFFERED, 1000.0 / 230.0, "A"))
    )
    if rng.random() < 0.1:
        measurand = measurand.replace(".Offered", ".Import.Offered")
    before = None
    for t in times:
        if follows:
            value = max(session.kw_at(t), offer if rng.random() < 0.5 else 0.0)
        else:
            value = offer if rng.random() < 0.9 else rng.choice((0.0, 1.4, highest))
        if not sparse or value != before:
            session = session.reading(t, round(value * factor, 3), measurand, unit)
        before = value
    return session


def _export(rng: Random, session: Session, times: list[float]) -> Session:
    exported = 0.0
    measurand = rng.choice((POWER_EXPORT, EXPORT_REGISTER, "Energy.Active.Export.Interval"))
    for t in times:
        watts = rng.choice((0.0, 99.0, 100.0, 5_000.0)) if session.kw_at(t) <= 0.3 else 0.0
        exported += watts / 60.0
        session = session.reading(t, watts if measurand == POWER_EXPORT else round(exported, 1), measurand)
    return session


# ------------------------------------------------------------------------------------------- Hypothesis


@st.composite
def sessions(draw: st.DrawFn) -> Session:
    """The same kinds of sessions, drawn so that a failing one shrinks to a small one."""
    kilowatts = st.sampled_from((0.0, 0.29, 0.3, 0.31, 0.99, 1.0, 2.75, 3.68, 5.49, 5.5, 11.0, 50.0))
    lasting = st.sampled_from((*LASTING_MIN, *LONG_MIN))
    pieces = draw(st.lists(st.tuples(lasting, kilowatts), min_size=1, max_size=5))
    session = charging(*pieces)
    every_s = max(draw(st.sampled_from((10.0, 30.0, 60.0, 300.0, 900.0))), session.length)
    lost = draw(st.sets(st.integers(0, 60), max_size=5))
    times = [t for i, t in enumerate(session.times(every_s)) if i not in lost]
    rng = Random(draw(st.integers(0, 255)))
    if draw(st.booleans()):
        times = sorted({max(0.0, round(t + rng.uniform(-0.3, 0.3), 3)) for t in times})
    parts = draw(st.sets(st.sampled_from(sorted(_PARTS)), min_size=1, max_size=4))
    for name in sorted(parts):
        session = _PARTS[name](rng, session, times)
    for change in draw(st.lists(st.sampled_from(DISORDERS), max_size=2)):
        session = replace(session, sent=tuple(change(rng, list(session.sent))))
    return session.declare(
        managed=draw(st.sampled_from((False, False, True))),
        over=draw(st.sampled_from((True, True, False))),
        rated_kw=draw(st.sampled_from((None, None, 11.0, 150.0))),
        started=draw(st.sampled_from((None, None, -5.0))),
        ended=draw(st.sampled_from((None, None, session.length + 5.0))),
    )


_PARTS: dict[str, Callable[[Random, Session, list[float]], Session]] = {
    "register": _register,
    "power": _power,
    "currents": _currents,
    "soc": _soc,
    "offers": _offers,
    "export": _export,
}
