"""Files of results, the suite as files, pictures, and the report."""

import json
import math
from itertools import islice
from pathlib import Path
from typing import Any
from xml.etree import ElementTree

import msgspec
import pyarrow as pa
import pyarrow.csv as arrow_csv
import pyarrow.parquet as pq
import pytest

from chargewatch.domain.categories import Category
from chargewatch.evaluate.cases import Case, Split
from chargewatch.evaluate.columns import judge
from chargewatch.evaluate.examples import Gallery
from chargewatch.evaluate.outcomes import Outcome
from chargewatch.evaluate.peers import PeerResult
from chargewatch.evaluate.real import evaluate_real, real_data, why_not
from chargewatch.evaluate.reliability_plot import draw_reliability
from chargewatch.evaluate.report import Report, as_json, as_markdown, tables_of
from chargewatch.evaluate.result_rows import ResultsFileError, read_results
from chargewatch.evaluate.run import SeedReport, evaluate_results, evaluate_seed, intervals_over_seeds
from chargewatch.evaluate.suite import SuiteSize, suite
from chargewatch.evaluate.suite_files import write_suite
from chargewatch.evaluate.truth import State, truth_of
from chargewatch.simulate import simulate_session

PLACES = json.dumps(
    [{"category": "ENERGY_PIT", "bucket_range": {"start_unit": 2, "end_unit": 3}, "score": 0.9}]
)
ROWS: list[dict[str, Any]] = [
    {
        "session_id": "a",
        "is_anomaly": True,
        "anomaly_score": 0.9,
        "anomaly_confidence": 0.8,
        "anomalies": PLACES,
    },
    {
        "session_id": "b",
        "is_anomaly": False,
        "anomaly_score": 0.1,
        "anomaly_confidence": 0.7,
        "anomalies": "[]",
    },
    {
        "session_id": "c",
        "is_anomaly": None,
        "anomaly_score": None,
        "anomaly_confidence": None,
        "anomalies": "[]",
    },
]


def write_rows(path: Path, rows: list[dict[str, Any]]) -> Path:
    if path.suffix == ".parquet":
        pq.write_table(pa.Table.from_pylist(rows), path)
    elif path.suffix == ".csv":
        arrow_csv.write_csv(pa.Table.from_pylist(rows), path)
    else:
        path.write_bytes(msgspec.json.Encoder().encode_lines(rows))
    return path


@pytest.mark.parametrize("ending", [".parquet", ".csv", ".ndjson"])
def test_results_are_the_same_in_every_format(tmp_path: Path, ending: str) -> None:
    found = read_results(write_rows(tmp_path / f"results{ending}", ROWS))
    assert list(found) == ["a", "b", "c"]
    assert found["a"] == (0.9, True, 0.8, {Category.ENERGY_PIT: frozenset({2, 3})}, False)
    assert found["b"][:4] == (0.1, False, 0.7, {})
    assert not found["c"].is_anomaly
    assert math.isnan(found["c"].confidence)


def test_categories_alone_count_without_a_place(tmp_path: Path) -> None:
    rows = [
        {"session_id": "a", "is_anomaly": True, "anomaly_score": 1.0, "categories": "ENERGY_PIT;SOC_DROP"}
    ]
    found = read_results(write_rows(tmp_path / "r.csv", rows))["a"]
    assert found.units == {Category.ENERGY_PIT: frozenset(), Category.SOC_DROP: frozenset()}


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"is_anomaly": "maybe"}, "is_anomaly must be true or false"),
        ({"anomaly_confidence": 1.2}, "between 0 and 1"),
        ({"anomalies": '[{"category": "NO_SUCH"}]'}, "NO_SUCH"),
        (
            {"anomalies": '[{"category": "ENERGY_PIT", "bucket_range": {"start_unit": 0, "end_unit": 24}}]'},
            "0 to 23",
        ),
        ({"anomalies": "{"}, "row 1"),
    ],
)
def test_a_row_that_makes_no_sense_is_named(tmp_path: Path, change: dict[str, Any], message: str) -> None:
    with pytest.raises(ResultsFileError, match=message):
        read_results(write_rows(tmp_path / "r.ndjson", [{**ROWS[0], **change}]))


def test_a_file_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(ResultsFileError, match="needed are session_id"):
        read_results(write_rows(tmp_path / "r.ndjson", [{"session_id": "a"}]))
    with pytest.raises(ResultsFileError, match="a second result"):
        read_results(write_rows(tmp_path / "r.ndjson", [ROWS[0], ROWS[0]]))
    with pytest.raises(ResultsFileError, match="cannot be read"):
        read_results(tmp_path / "missing.parquet")
    with pytest.raises(ResultsFileError, match="results are"):
        read_results(tmp_path / "r.xlsx")


def test_a_suite_is_written_with_what_is_true(tmp_path: Path) -> None:
    cases = list(islice(suite(2, SuiteSize(1, 1, 2)), 90))
    counted: list[int] = []
    files = write_suite(tmp_path / "suite", iter(cases), counted.append)
    rows = pq.read_table(files.cases).to_pylist()
    assert [row["session_id"] for row in rows] == [c.session.session_id for c in cases]
    assert [row["stratum"] for row in rows] == [c.stratum for c in cases]
    assert [row["state"] for row in rows] == [truth_of(c).state for c in cases]
    assert counted == list(range(1, 91))
    readings = pq.read_table(files.fleet.readings)
    assert readings.num_rows == sum(len(c.session.readings) for c in cases)


def test_results_of_the_truth_are_perfect_and_silence_is_not() -> None:
    cases = list(suite(1, SuiteSize.scaled(0.001)))
    truths = [truth_of(c) for c in cases]
    anomalous = sum(t.state is State.ANOMALOUS for t in truths)
    results = {
        t.session_id: Outcome(float(bool(t.units)), bool(t.units), 1.0, t.units)
        for t in truths
        if t.state is State.ANOMALOUS
    }
    report = evaluate_results("truth", {**results, "stranger": Outcome(0.0, False, 1.0, {})}, 1, 0.001)
    assert (report.card.precision.value, report.card.recall.value, report.card.overlap) == (1.0, 1.0, 1.0)
    assert (report.absent, report.unknown) == (len(truths) - anomalous, 1)
    with pytest.raises(ValueError, match="know none of the"):
        evaluate_results("other", {"stranger": Outcome(0.0, False, 1.0, {})}, 1, 0.001)


def test_pictures_are_svg_and_at_most_ten_a_category(tmp_path: Path) -> None:
    gallery = Gallery(tmp_path / "examples")
    sessions = [simulate_session(seed, fault=Category.ZERO_SESSION, sampling_s=60.0) for seed in range(16)]
    sessions += [simulate_session(seed, fault=Category.KWH_DECREASE, kind="dc") for seed in range(2)]
    cases = [Case(s, s.labels[0].category.value, Split.TRAINING) for s in sessions]
    for case, verdict in zip(cases, judge(sessions), strict=True):
        gallery.show(case, truth_of(case), verdict)
    files = list((tmp_path / "examples").iterdir())
    assert sum(file.name.startswith("ZERO_SESSION") for file in files) == 10
    assert sum(file.name.startswith("KWH_DECREASE") for file in files) == 2
    for file in files:
        assert ElementTree.parse(file).getroot().tag.endswith("svg")


@pytest.fixture(scope="module")
def seeds() -> tuple[SeedReport, SeedReport]:
    return evaluate_seed(0, 0.001), evaluate_seed(1, 0.001)


def test_a_report_says_everything_as_json_and_markdown(seeds: tuple[SeedReport, SeedReport]) -> None:
    peers = (PeerResult("fake", "not measured: fake is not installed"),)
    both = (msgspec.structs.replace(seeds[0], peers=peers), seeds[1])
    report = Report("standard", 0.001, both, intervals_over_seeds(both), None)
    decoded = json.loads(as_json(report))
    assert [s["seed"] for s in decoded["seeds"]] == [0, 1]
    assert decoded["seeds"][0]["card"]["precision"][0] == both[0].card.precision.value
    assert decoded["over_seeds"]["CSAR-2"]["F1"][0] == pytest.approx(
        (both[0].card.f1.value + both[1].card.f1.value) / 2
    )
    text = as_markdown(report)
    assert "not measured: fake is not installed" in text
    for table in tables_of(report):
        assert f"## {table.title}" in text
        assert all(len(row) == len(table.columns) for row in table.rows)


def test_the_reliability_diagram_has_a_dot_a_bin(seeds: tuple[SeedReport, SeedReport]) -> None:
    calibration = seeds[0].card.calibration
    root = ElementTree.fromstring(draw_reliability(calibration))
    dots = [node for node in root if node.tag.endswith("circle")]
    assert len(dots) == sum(len(c.bins) for c in calibration) > 0
    assert all(50 <= float(dot.attrib[axis]) <= 470 for dot in dots for axis in ("cx", "cy"))


def test_the_same_seed_gives_the_same_figures(seeds: tuple[SeedReport, SeedReport]) -> None:
    first, second = (msgspec.structs.replace(s, seconds=0.0) for s in (seeds[0], evaluate_seed(0, 0.001)))
    assert msgspec.json.encode(first) == msgspec.json.encode(second)


def test_real_sessions_are_counted_and_every_flag_listed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.delenv("CHARGEWATCH_EVAL_DATA", raising=False)
    assert real_data() is None
    assert "CHARGEWATCH_EVAL_DATA" in why_not()
    monkeypatch.setenv("CHARGEWATCH_EVAL_DATA", str(tmp_path))
    assert real_data() is None
    assert "no readings_dc_real.parquet" in why_not()
    readings = [
        {"session_id": name, "timestamp": f"2026-03-01T08:{i:02d}:00Z", "value": value, "unit": "kWh"}
        for name, values in (("good", range(10)), ("falls", (5, 6, 7, 8, 2, 3, 4, 5, 6, 7)))
        for i, value in enumerate(values)
    ]
    pq.write_table(pa.Table.from_pylist(readings), tmp_path / "readings_dc_real.parquet")
    file = real_data()
    assert file is not None
    report = evaluate_real(file, now_us=1_800_000_000_000_000)
    assert (report.sessions, report.flagged) == (2, 1)
    assert [(f.session_id, f.category) for f in report.flags] == [("falls", "KWH_DECREASE")]
    assert report.flags[0].evidence
    assert report.upper_per_thousand == pytest.approx(1000 * math.sqrt(0.95))
