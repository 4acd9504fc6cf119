"""A report of the benchmark: as JSON, and as plain tables from which the terminal and Markdown are made."""

import math
from collections.abc import Iterator, Sequence
from typing import Final, NamedTuple

import msgspec

from chargewatch import __version__
from chargewatch.csar2.detect import MODEL_ID, MODEL_VERSION
from chargewatch.evaluate.intervals import Interval
from chargewatch.evaluate.metrics import RELIABILITY_BINS
from chargewatch.evaluate.peers import PeerResult
from chargewatch.evaluate.real import RealReport
from chargewatch.evaluate.run import SeedReport
from chargewatch.evaluate.scorecard import NORMAL, NOTHING, ONE_FAULT, FalseAlarms, Scorecard, all_alarms

_COUNTS: Final = (
    "Simulated sessions. An anomaly counts when the readings prove it and it lies in the last 6 h; the other faults "
    "({unproven} sessions, {flagged} of them flagged) count nowhere."
)


class Report(msgspec.Struct, frozen=True):
    """All figures of a run. ``real`` are figures on real sessions, never mixed with the simulated ones.

    ``alarms_over_seeds``: CSAR-2's false alarms by stratum, over all seeds together; empty with one seed.
    """

    suite: str
    scale: float
    seeds: tuple[SeedReport, ...]
    over_seeds: dict[str, dict[str, Interval]]
    real: RealReport | None
    alarms_over_seeds: tuple[FalseAlarms, ...] = ()
    package_version: str = __version__
    model_id: str = MODEL_ID
    model_version: str = MODEL_VERSION


class TextTable(NamedTuple):
    """A table of text; every row has as many cells as there are columns."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]
    note: str = ""


def as_json(report: Report) -> bytes:
    """Returns the report as JSON; figures that there are none of are null."""
    return msgspec.json.format(msgspec.json.encode(report), indent=1) + b"\n"


def as_markdown(report: Report) -> str:
    """Returns the report as Markdown."""
    seeds = ", ".join(str(s.seed) for s in report.seeds)
    head = (
        f"# chargewatch {report.package_version}, benchmark `{report.suite}`\n\n"
        f"Seeds {seeds}, scale {report.scale:g}. Model {report.model_id} {report.model_version}.\n"
    )
    return head + "".join(map(markdown_table, tables_of(report)))


def markdown_table(table: TextTable) -> str:
    """Returns a table as Markdown, with its title as a heading."""
    lines = ["| " + " | ".join(cells) + " |" for cells in (table.columns, *table.rows)]
    lines.insert(1, "|" + "---|" * len(table.columns))
    note = f"\n{table.note}\n" if table.note else ""
    return f"\n## {table.title}\n{note}\n" + "\n".join(lines) + "\n"


def tables_of(report: Report) -> Iterator[TextTable]:
    """Yields the tables: methods, categories, false alarms, confusion, calibration by seed; over seeds; real."""
    for seed in report.seeds:
        title = f"seed {seed.seed}"
        yield _methods(title, seed)
        yield _categories(title, seed.card)
        yield _hard(title, seed.card)
        yield _mechanisms(title, seed.card)
        yield _strata(title, seed.card)
        yield _confusion(title, seed.card)
        if seed.card.calibration:
            yield _calibration(title, seed.card)
            yield _reliability(title, seed.card)
        if seed.measured is not None:
            yield _injected(title, seed.measured)
    if len(report.seeds) > 1:
        yield _over_seeds(report)
    if report.alarms_over_seeds:
        yield TextTable(
            "over seeds: false alarms",
            _ALARM_COLUMNS,
            tuple(map(_alarm_row, report.alarms_over_seeds)),
            _BOUND,
        )
    if report.real is not None:
        yield _real(report.real)
        yield _flags(report.real)


def _methods(title: str, seed: SeedReport) -> TextTable:
    card = seed.card
    rows = [_method(card, None)]
    for peer in seed.peers:
        rows.append(_method(peer.card, peer) if peer.card else _unmeasured(peer))
    note = _COUNTS.format(unproven=card.unproven, flagged=card.unproven_flagged)
    note += f" {card.normals} normal and {card.anomalies} anomalous sessions;"
    note += f" AUPRC without skill: {card.prevalence:.3f}."
    if seed.absent or seed.unknown:
        note += f" {seed.absent} sessions had no result, {seed.unknown} results no session."
    if seed.peers:
        note += (
            " Peers: threshold at the 98 % quantile of held-out normals, frozen; the rules and the one-liner decide by"
            " themselves. At our rate: threshold set on the suite to at most CSAR-2's false alarms. Seconds: to learn"
            " and to judge, without features."
        )
    return TextTable(f"{title}: methods", _METHOD_COLUMNS, tuple(rows), note)


_METHOD_COLUMNS: Final = (
    "method",
    "precision",
    "recall",
    "F1",
    "recall, held-out",
    "false alarms / 1,000 (≤)",
    "AUROC",
    "AUPRC",
    "F1 by category",
    "at our rate: recall",
    "F1",
    "seconds",
)


def _method(card: Scorecard, peer: PeerResult | None) -> tuple[str, ...]:
    by_category = [c.f1 for c in card.categories if c.anomalies and not math.isnan(c.f1)]
    rate = peer.at_our_rate if peer else None
    return (
        card.method,
        _with_limits(card.precision),
        _with_limits(card.recall),
        _with_limits(card.f1),
        _number(card.recall_held_out),
        f"{card.false_alarms.per_thousand:.1f} ({card.false_alarms.upper_per_thousand:.1f})",
        _with_limits(card.auroc),
        _with_limits(card.auprc),
        _number(sum(by_category) / len(by_category) if by_category else math.nan),
        _number(rate.recall if rate else math.nan),
        _number(rate.f1 if rate else math.nan),
        f"{peer.seconds:.1f}" if peer else "–",
    )


def _unmeasured(peer: PeerResult) -> tuple[str, ...]:
    return (peer.name, peer.problem or "", *[""] * (len(_METHOD_COLUMNS) - 2))


def _categories(title: str, card: Scorecard) -> TextTable:
    rows = tuple(
        (
            c.category,
            str(c.anomalies),
            *map(_number, (c.precision, c.recall, c.f1, c.recall_training, c.recall_held_out, c.overlap)),
        )
        for c in card.categories
    )
    columns = ("category", "sessions", "precision", "recall", "F1", "training", "held-out", "overlap")
    note = (
        "Overlap: mean intersection over union of 15-minute units, 0 where missed; over all categories "
        f"{_number(card.overlap)}, over those with a definition {_number(card.overlap_defined)}. "
        "Training, held-out: recall on mechanisms that learning methods could, could not see."
    )
    return TextTable(f"{title}: categories", columns, rows, note)


def _hard(title: str, card: Scorecard) -> TextTable:
    note = (
        "A fault is a category of a session that counts; extra: categories that are no fault of their session. Without "
        f"UNUSUAL_PROFILE. {ONE_FAULT}: the sessions of the tables by category."
    )
    return TextTable(f"{title}: faults under harder conditions", _HARD_COLUMNS, _hard_rows(card), note)


_HARD_COLUMNS: Final = (
    *("stratum", "sessions", "faults", "found", "extra"),
    *("precision", "recall", "F1", "overlap"),
)


def _hard_rows(card: Scorecard) -> tuple[tuple[str, ...], ...]:
    return tuple(
        (
            s.stratum,
            str(s.sessions),
            str(s.faults),
            str(s.found),
            ", ".join(f"{category} {count}" for category, count in s.extras.items()) or "0",
            *map(_number, (s.precision, s.recall, s.f1, s.overlap)),
        )
        for s in card.fault_strata
    )


def _injected(title: str, card: Scorecard) -> TextTable:
    """Returns the figures on measured curves: all of them, then by category."""
    by_category = tuple(
        (
            c.category,
            str(c.anomalies),
            str(c.anomalies),
            str(round(c.recall * c.anomalies)) if c.anomalies else "0",
            str(c.reported - round(c.recall * c.anomalies)) if c.anomalies else str(c.reported),
            *map(_number, (c.precision, c.recall, c.f1, c.overlap)),
        )
        for c in card.categories
    )
    note = (
        "Measured DC sessions, each with one injected fault and a register made of their power; no simulated figure is"
        f" in here. {card.unproven} sessions whose readings do not prove the fault are left out."
    )
    return TextTable(
        f"{title}: real curves, injected", _HARD_COLUMNS, (*_hard_rows(card), *by_category), note
    )


def _mechanisms(title: str, card: Scorecard) -> TextTable:
    rows = tuple(
        (m.category, m.mechanism, m.split, str(m.anomalies), str(m.found), str(m.flagged))
        for m in card.mechanisms
    )
    columns = ("category", "mechanism", "split", "sessions", "found", "flagged at all")
    return TextTable(f"{title}: mechanisms", columns, rows)


def _strata(title: str, card: Scorecard) -> TextTable:
    rows = tuple(map(_alarm_row, all_alarms(card)))
    note = _BOUND
    if card.past_false_alarms:
        note += f" {card.past_false_alarms} normal sessions had a report before the last 6 h."
    return TextTable(f"{title}: false alarms", _ALARM_COLUMNS, rows, note)


_ALARM_COLUMNS: Final = ("stratum", "normals", "alarms", "per 1,000", "≤")
_BOUND: Final = "≤: one-sided exact (Clopper–Pearson) 95 % bound."


def _alarm_row(row: FalseAlarms) -> tuple[str, ...]:
    return (
        row.stratum,
        str(row.normals),
        str(row.alarms),
        f"{row.per_thousand:.1f}",
        f"{row.upper_per_thousand:.1f}",
    )


def _confusion(title: str, card: Scorecard) -> TextTable:
    order = [c.category for c in card.categories]
    columns = [*order, NOTHING]
    lines = [r for r in (NORMAL, *order) if r in card.confusion]
    rows = tuple((row, *(str(card.confusion[row].get(c, 0)) for c in columns)) for row in lines)
    note = "Rows: what is true. Columns: what is reported; a session with several counts in each."
    return TextTable(f"{title}: confusion", ("", *columns), rows, note)


def _calibration(title: str, card: Scorecard) -> TextTable:
    rows = tuple((f"{c.prevalence:.3f}", _number(c.ece), f"{c.brier:.4f}") for c in card.calibration)
    note = (
        "Of the confidence, taken as the probability that the verdict, true or false, is right; "
        f"ECE over {RELIABILITY_BINS} bins of equal mass."
    )
    return TextTable(f"{title}: calibration", ("prevalence", "ECE", "Brier"), rows, note)


def _reliability(title: str, card: Scorecard) -> TextTable:
    rows = tuple(
        (f"{c.prevalence:.3f}", f"{b.mean_confidence:.3f}", f"{b.share_right:.3f}", f"{b.weight:.3f}")
        for c in card.calibration
        for b in c.bins
    )
    columns = ("prevalence", "mean confidence", "share right", "weight")
    return TextTable(f"{title}: reliability", columns, rows, "Equal confidences share a bin.")


def _over_seeds(report: Report) -> TextTable:
    figures = list(next(iter(report.over_seeds.values())))
    rows = tuple(
        (method, *(_plus_minus(values[figure]) for figure in figures))
        for method, values in report.over_seeds.items()
    )
    note = f"Mean and 95 % t interval over {len(report.seeds)} seeds."
    return TextTable("over seeds", ("method", *figures), rows, note)


def _real(real: RealReport) -> TextTable:
    rows = ((str(real.sessions), str(real.flagged), f"{real.upper_per_thousand:.1f}"),)
    note = "Real sessions without labels; no simulated figure is in here. ≤: exact 95 % bound."
    return TextTable("real DC sessions", ("sessions", "flagged", "per 1,000 ≤"), rows, note)


def _flags(real: RealReport) -> TextTable:
    rows = tuple(
        (
            f.session_id,
            f.category,
            f"{f.start:%Y-%m-%d %H:%M:%S}",
            f"{f.end:%H:%M:%S}",
            f"{f.confidence:.2f}",
            f.evidence,
        )
        for f in real.flags
    )
    columns = ("session", "category", "from", "to", "confidence", "evidence")
    return TextTable("real DC sessions: flags", columns, rows, "" if rows else "None.")


def _number(value: float) -> str:
    return "–" if math.isnan(value) else f"{value:.3f}"


def _with_limits(interval: Interval) -> str:
    if math.isnan(interval.low):
        return _number(interval.value)
    return f"{interval.value:.3f} ({interval.low:.3f}–{interval.high:.3f})"


def _plus_minus(interval: Interval) -> str:
    if math.isnan(interval.value):
        return "–"
    return f"{interval.value:.3f} ± {interval.high - interval.value:.3f}"


def shown(tables: Sequence[TextTable], wanted: Sequence[str]) -> list[TextTable]:
    """Returns the tables whose title ends with one of ``wanted``."""
    return [t for t in tables if t.title.endswith(tuple(wanted))]
