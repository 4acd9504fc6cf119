"""The reliability diagram as SVG: how sure the verdicts of each bin were, and how often they were right."""

from collections.abc import Iterator, Sequence
from typing import Final

from chargewatch.evaluate.scorecard import Calibration

_SIDE: Final = 420.0
_MARGIN: Final = 50.0
_COLOURS: Final = ("#3b6fd4", "#d4843b")


def draw_reliability(calibrations: Sequence[Calibration]) -> str:
    """Returns an SVG: a dot a bin (area by weight), a colour a prevalence; on the diagonal confidence is right."""
    size = _SIDE + 2 * _MARGIN
    lines = [
        (
            f'<svg xmlns="http://www.w3.org/2000/svg" width="{size}" height="{size}"'
            f' font-family="sans-serif" font-size="12">'
            f'<rect width="100%" height="100%" fill="white"/>'
            f'<rect x="{_MARGIN}" y="{_MARGIN}" width="{_SIDE}" height="{_SIDE}" fill="none" stroke="#bbb"/>'
            f'<line x1="{_x(0)}" y1="{_y(0)}" x2="{_x(1)}" y2="{_y(1)}" stroke="#999" stroke-dasharray="4"/>'
            f'<text x="{_x(0.35)}" y="{_y(0) + 32}">mean confidence, 0 to 1</text>'
            f'<text x="{_MARGIN}" y="20">share of verdicts that are right, 0 to 1</text>'
        )
    ]
    for number, calibration in enumerate(calibrations):
        lines += _dots(calibration, _COLOURS[number % len(_COLOURS)], 60.0 + 18.0 * number + _MARGIN)
    return "\n".join([*lines, "</svg>"]) + "\n"


def _dots(calibration: Calibration, colour: str, label_y: float) -> Iterator[str]:
    for b in calibration.bins:
        radius = 3.0 + 14.0 * b.weight**0.5
        yield (
            f'<circle cx="{_x(b.mean_confidence):.1f}" cy="{_y(b.share_right):.1f}" r="{radius:.1f}"'
            f' fill="{colour}" opacity="0.5"/>'
        )
    yield (
        f'<text x="{_x(0.04)}" y="{label_y}" fill="{colour}">prevalence {calibration.prevalence:.3f}:'
        f" ECE {calibration.ece:.3f}, Brier {calibration.brier:.4f}</text>"
    )


def _x(share: float) -> float:
    return _MARGIN + _SIDE * share


def _y(share: float) -> float:
    return _MARGIN + _SIDE * (1.0 - share)
