"""Sessions with falls of SoC, lost phases, odd voltages and hot stations, around the limits of their definitions.

Drawn from a ``random.Random``: on a simple truth, or on top of ``tests.nasty_sessions``.
"""

from dataclasses import replace
from random import Random

from hypothesis import strategies as st

from tests.disorders import DISORDERS
from tests.nasty_sessions import nasty_session
from tests.sessions import (
    BEGIN,
    CLOCK,
    CURRENT,
    CURRENT_OFFERED,
    POWER,
    POWER_EXPORT,
    POWER_OFFERED,
    SOC,
    VOLTAGE,
    Session,
    charging,
)

SHARES = (0.5, 0.69, 0.7, 0.71, 0.84, 0.85, 0.9, 1.0, 1.0, 1.0)
NOMINALS = (120.0, 208.0, 230.0, 230.0, 230.0, 235.0, 240.0, 277.0, 400.0)
OFF_SHARES = (0.8, 0.87, 0.889, 0.89, 0.891, 0.95, 1.0, 1.1, 1.109, 1.11, 1.111, 1.15, 0.0, 0.1)
AMPERES = (2.9, 3.0, 6.0, 10.0, 16.0, 32.0)
LOST_A = (0.0, 0.0, 0.4, 0.5, 0.51)


def nasty_electrical(rng: Random) -> Session:
    """Draws one session."""
    if rng.random() < 0.3:
        session = nasty_session(rng)
        every_s = max(rng.choice((10.0, 60.0, 300.0)), session.length)
    else:
        session, every_s = _simple(rng)
    times = [t for t in session.times(every_s) if rng.random() > 0.02]
    for part in rng.sample(sorted(PARTS), rng.choice((1, 1, 2, 3))):
        session = PARTS[part](rng, session, times)
    for change in rng.sample(DISORDERS, rng.choice((0, 0, 0, 1, 2))):
        session = replace(session, sent=tuple(change(rng, list(session.sent))))
    return session


def _simple(rng: Random) -> tuple[Session, float]:
    """A level with steps down and up, as power or a register."""
    level = rng.choice((1.0, 3.7, 11.0, 22.0, 50.0, 150.0))
    pieces = [(rng.choice((3.0, 10.0, 20.0)), level)]
    for _ in range(rng.choice((1, 1, 2, 4))):
        low = level * rng.choice((*SHARES, 0.0, 0.2))
        pieces += [
            (rng.choice((0.5, 1.0, 2.0, 4.0, 15.0)), low),
            (rng.choice((1.0, 5.0, 20.0)), level * rng.choice(SHARES)),
        ]
    if rng.random() < 0.3:
        pieces.append((20.0, rng.choice((0.0, 0.3, 0.31))))
    session = charging(*pieces)
    every_s = max(rng.choice((10.0, 30.0, 60.0, 60.0, 120.0, 300.0)), session.length)
    if rng.random() < 0.8:
        session = session.power(every_s=every_s)
    if rng.random() < 0.5:
        session = session.register(
            every_s=every_s * rng.choice((1, 1, 3)), resolution_wh=rng.choice((1, 10, 100))
        )
    return (
        session.declare(
            managed=rng.random() < 0.15,
            over=rng.random() < 0.7,
            rated_kw=rng.choice((None, None, 11.0, 150.0)),
        ),
        every_s,
    )


def _soc(rng: Random, session: Session, times: list[float]) -> Session:
    soc, step = (
        rng.choice((20.0, 60.0, 69.0, 70.0, 89.0, 90.0, 91.0, 97.0, 99.0)),
        rng.choice((0.0, 0.2, 1.0)),
    )
    for t in times[:: rng.choice((1, 1, 5))]:
        soc = min(soc + step, 100.0)
        if rng.random() < 0.05:
            soc -= rng.choice((1.0, 2.0, 2.9, 3.0, 3.1, 20.0))
        if rng.random() < 0.03:
            step = rng.choice((-1.0, -0.5, 0.5))
        sent = rng.choice((0.0, 255.0, 65_535.0, soc - 10.0)) if rng.random() < 0.03 else soc
        session = session.reading(t, round(sent, 1), SOC, "Percent", context=_context(rng))
    return session


def _context(rng: Random) -> str | None:
    return rng.choice((CLOCK, BEGIN, "Trigger")) if rng.random() < 0.02 else None


def _phases(rng: Random, session: Session, times: list[float]) -> Session:
    """Currents or powers by phase; now and then some phases stop, all pause, or one takes over."""
    measurand, volts = rng.choice(((CURRENT, 1.0), (CURRENT, 1.0), (POWER, 230.0)))
    if measurand == POWER:
        session = session.altered(POWER, lambda _at, _w: None)
    names = rng.choice((("L1", "L2", "L3"), ("L1", "L2", "L3"), ("L1-N", "L2-N", "L3-N"), ("L1", "L2")))
    level = rng.choice(AMPERES)
    now = [level] * len(names)
    if rng.random() < 0.2:
        now[-1] = rng.choice((0.0, 2.9))
    usual = list(now)
    for t in times:
        event = rng.random()
        if event < 0.08:
            gone = rng.sample(range(len(names)), rng.choice((1, 1, 1, 2)))
            share = rng.choice((0.49, 0.5, 0.51, 1.0, 1.0, 1.0, 1.4, 2.0))
            now = [rng.choice(LOST_A) if i in gone else a * share for i, a in enumerate(usual)]
        elif event < 0.12:
            now = [0.0] * len(names)
        elif event < 0.25:
            now = list(usual)
        elif event < 0.27:
            now = [a * 0.2 for a in usual]
        for name, a in zip(names, now, strict=True):
            if rng.random() > 0.01:
                session = session.reading(
                    t, round(a * volts, 2), measurand, None, phase=name, context=_context(rng)
                )
        if rng.random() < 0.02:
            session = session.reading(t, 16.0 * volts, measurand, None, phase="L1", location="Inlet")
    return session


def _voltages(rng: Random, session: Session, times: list[float]) -> Session:
    names = rng.choice(
        (("L1", "L2", "L3"), ("L1", "L2", "L3"), ("L1-N",), (None,), (None,), ("L1-L2", "L2-L3"))
    )
    nominal, share = rng.choice(NOMINALS), dict.fromkeys(names, 1.0)
    usual = rng.choice((0.975, 0.976, 1.0, 1.0, 1.024, 1.025, 1.1, 1.3))
    for t in times:
        for name in names:
            if rng.random() < 0.1:
                share[name] = rng.choice((usual, usual, rng.choice(OFF_SHARES)))
            session = session.reading(
                t, round(nominal * share[name], 1), VOLTAGE, "V", phase=name, context=_context(rng)
            )
        if rng.random() < 0.05:
            session = session.reading(t, rng.choice((0.0, 16.0)), CURRENT, "A", phase=names[0])
    return session


def _temperatures(rng: Random, session: Session, times: list[float]) -> Session:
    unit = rng.choice((None, "Celsius", "Fahrenheit"))
    for location in rng.sample(
        (None, "Outlet", "Cable", "Body", "EV", "Inlet", "Moon"), rng.choice((1, 1, 2))
    ):
        celsius = rng.choice((40.0, 57.0, 59.9, 60.0, 70.0))
        for t in times[:: rng.choice((1, 1, 4, 10))]:
            if rng.random() < 0.1:
                celsius += rng.choice((-3.0, -2.0, -1.9, 1.0, 3.0, 10.0))
            value = celsius * 9 / 5 + 32 if unit == "Fahrenheit" else celsius
            session = session.reading(
                t, round(value, 1), "Temperature", unit, location=location, context=_context(rng)
            )
    return session


def _offers(rng: Random, session: Session, times: list[float]) -> Session:
    measurand, factor = rng.choice(((POWER_OFFERED, 1000.0), (CURRENT_OFFERED, 1000.0 / 690.0)))
    highest = max((kw for _, kw in session.pieces), default=11.0)
    follows = rng.random() < 0.5
    for t in times:
        kw = max(session.kw_at(t), 1.4) if follows else highest
        session = session.reading(t, round(kw * factor, 3), measurand)
    return session


def _export(rng: Random, session: Session, times: list[float]) -> Session:
    for t in times:
        watts = rng.choice((0.0, 0.0, 0.0, 99.0, 100.0, 5_000.0))
        session = session.reading(t, watts, POWER_EXPORT)
    return session


PARTS = {
    "soc": _soc,
    "phases": _phases,
    "voltages": _voltages,
    "temperatures": _temperatures,
    "offers": _offers,
    "export": _export,
}


@st.composite
def electrical_sessions(draw: st.DrawFn) -> Session:
    """The same parts, drawn so that a failing session shrinks to a small one."""
    kilowatts = st.sampled_from((0.0, 0.3, 0.31, 5.0, 7.0, 7.1, 8.5, 10.0, 50.0))
    lasting = st.sampled_from((1.0, 2.0, 5.0, 20.0))
    session = charging(*draw(st.lists(st.tuples(lasting, kilowatts), min_size=1, max_size=5)))
    every_s = max(draw(st.sampled_from((10.0, 30.0, 60.0, 300.0))), session.length)
    session = session.power(every_s=every_s)
    if draw(st.booleans()):
        session = session.register(every_s=every_s)
    rng = Random(draw(st.integers(0, 1023)))
    for name in sorted(draw(st.sets(st.sampled_from(sorted(PARTS)), min_size=1, max_size=3))):
        session = PARTS[name](rng, session, session.times(every_s))
    for change in draw(st.lists(st.sampled_from(DISORDERS), max_size=1)):
        session = replace(session, sent=tuple(change(rng, list(session.sent))))
    return session.declare(managed=draw(st.sampled_from((False, False, True))))
