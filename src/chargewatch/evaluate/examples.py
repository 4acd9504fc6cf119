"""Pictures of sessions, so that a person can check labels and verdicts: SVG, without any other package."""

from collections import Counter
from collections.abc import Iterator
from datetime import datetime
from pathlib import Path
from typing import Final
from xml.sax.saxutils import escape

from chargewatch.domain.verdict import Verdict
from chargewatch.evaluate.cases import Case
from chargewatch.evaluate.columns import columns_of
from chargewatch.evaluate.session_features import Signal, signals_of
from chargewatch.evaluate.truth import State, Truth
from chargewatch.simulate import SimulatedSession

EXAMPLES_EACH: Final = 10
_FONT: Final = 'font-family="sans-serif" font-size="12"'
_WIDTH, _PANEL, _LEFT, _RIGHT, _TOP, _GAP = 960, 110, 90, 20, 64, 26


class Gallery:
    """Draws the first examples of each category that come by: labelled ones, and false reports."""

    def __init__(self, folder: Path) -> None:
        """``folder`` is made when it does not exist; files of the same names are replaced."""
        self._folder = folder
        self.drawn: Counter[str] = Counter()
        folder.mkdir(parents=True, exist_ok=True)

    def show(self, case: Case, truth: Truth, verdict: Verdict) -> None:
        """Draws a case when its category has fewer than ten pictures."""
        if truth.state is State.UNPROVEN:
            return
        names = [c.value for c in truth.units]
        names += [f"false-{a.category.value}" for a in verdict.anomalies if a.category not in truth.caused]
        for name in names:
            if self.drawn[name] < EXAMPLES_EACH:
                self.drawn[name] += 1
                file = self._folder / f"{name}-{self.drawn[name]:02d}-{truth.mechanism or 'ordinary'}.svg"
                file.write_text(draw(case.session, verdict), encoding="utf-8")


def draw(session: SimulatedSession, verdict: Verdict) -> str:
    """Returns an SVG: a panel a signal over time, labels shaded in blue above, reports in red below."""
    signals = signals_of(columns_of([session]), 0)
    panels: list[tuple[str, Signal]] = [
        ("register, kWh", signals.register),
        ("power, kW", signals.power),
        ("SoC, %", signals.soc),
        ("offer, A or W", signals.offered),
        *((f"current {i}, A", c) for i, c in enumerate(signals.currents, start=1)),
        *((f"voltage {i}, V", v) for i, v in enumerate(signals.voltages, start=1)),
        ("temperature, °C", signals.temperature),
    ]
    sent = [(name, signal) for name, signal in panels if len(signal)]
    height = _TOP + len(sent) * (_PANEL + _GAP)
    hours = max(float(signals.instants_h[-1]), 1e-6)
    lines = [
        f'<svg xmlns="http://www.w3.org/2000/svg" width="{_WIDTH}" height="{height}" {_FONT}>',
        '<rect width="100%" height="100%" fill="white"/>',
        *_head(session, verdict),
    ]
    first = min(r.timestamp for r in session.readings)
    for number, (name, signal) in enumerate(sent):
        top = _TOP + number * (_PANEL + _GAP)
        lines += _spans(session, verdict, first, hours, top)
        lines += _panel(name, signal, hours, top)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _head(session: SimulatedSession, verdict: Verdict) -> Iterator[str]:
    labels = ", ".join(
        f"{x.category.value} {x.mechanism}{'' if x.visible else ' (not shown)'}" for x in session.labels
    )
    true = labels or (f"near-miss {session.near_miss}" if session.near_miss else "ordinary")
    said = ", ".join(f"{a.category.value} {a.score:.2f}" for a in verdict.anomalies) or "nothing"
    managed = ", managed" if session.managed else ""
    what = (
        f"{session.kind.upper()} {session.rated_power_kw:g} kW{managed}, {session.started_at:%Y-%m-%d %H:%M}"
    )
    for y, text in ((18, f"{session.session_id}: {what}"), (34, f"true: {true}"), (50, f"reported: {said}")):
        yield f'<text x="10" y="{y}">{escape(text)}</text>'


def _spans(
    session: SimulatedSession, verdict: Verdict, first: datetime, hours: float, top: float
) -> Iterator[str]:
    for label in session.labels:
        yield _shade(label.start, label.end, first, hours, top, "#3b6fd4")
    for anomaly in verdict.anomalies:
        span = anomaly.time_range
        yield _shade(span.start_timestamp, span.end_timestamp, first, hours, top + _PANEL / 2, "#d43b3b")


def _shade(start: datetime, end: datetime, first: datetime, hours: float, top: float, fill: str) -> str:
    left, right = (_x((at - first).total_seconds() / 3600.0, hours) for at in (start, end))
    width = max(right - left, 2.0)
    return (
        f'<rect x="{left:.1f}" y="{top:.1f}" width="{width:.1f}" height="{_PANEL / 2:.1f}" '
        f'fill="{fill}" opacity="0.18"/>'
    )


def _panel(name: str, signal: Signal, hours: float, top: float) -> Iterator[str]:
    low, high = float(signal.value.min()), float(signal.value.max())
    scale = (high - low) or 1.0
    points = " ".join(
        f"{_x(h, hours):.1f},{top + _PANEL - _PANEL * (v - low) / scale:.1f}"
        for h, v in zip(signal.at_h.tolist(), signal.value.tolist(), strict=True)
    )
    width = _WIDTH - _LEFT - _RIGHT
    yield f'<rect x="{_LEFT}" y="{top}" width="{width}" height="{_PANEL}" fill="none" stroke="#bbb"/>'
    yield f'<polyline points="{points}" fill="none" stroke="#222" stroke-width="1.2"/>'
    yield f'<text x="4" y="{top + 12}">{high:.6g}</text><text x="4" y="{top + _PANEL}">{low:.6g}</text>'
    yield f'<text x="{_LEFT + 4}" y="{top + _PANEL + 14}" fill="#666">{escape(name)}, over {hours:.2f} h</text>'


def _x(at_h: float, hours: float) -> float:
    return _LEFT + (_WIDTH - _LEFT - _RIGHT) * at_h / hours
