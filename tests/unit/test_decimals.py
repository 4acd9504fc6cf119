"""The grammar of numbers as text, and their JSON spelling."""

import json
import math

import pytest
from hypothesis import given
from hypothesis import strategies as st

from chargewatch.domain.decimals import LONGEST, json_number, parse_decimal


@pytest.mark.parametrize(
    ("text", "value", "spelling"),
    [
        ("0", 0.0, "0"),
        ("11.1", 11.1, "11.1"),
        ("5.50", 5.5, "5.50"),
        ("+5", 5.0, "5"),
        (".5", 0.5, "0.5"),
        ("-.5", -0.5, "-0.5"),
        ("5.", 5.0, "5"),
        ("007", 7.0, "7"),
        ("-007.10", -7.1, "-7.10"),
        ("000", 0.0, "0"),
        ("0.0", 0.0, "0.0"),
        ("1e3", 1000.0, "1e3"),
        ("5.E+3", 5000.0, "5e+3"),
        (".5E-02", 0.005, "0.5e-02"),
        ("1e-999", 0.0, "1e-999"),
        ("9" * LONGEST, float("9" * LONGEST), "9" * LONGEST),
    ],
)
def test_numbers(text: str, value: float, spelling: str) -> None:
    assert parse_decimal(text) == value
    assert json_number(text) == spelling
    assert float(json.loads(spelling)) == value


def test_the_sign_of_zero_is_kept() -> None:
    assert math.copysign(1.0, parse_decimal("-0.0")) == -1.0
    assert json_number("-0.0") == "-0.0"


@pytest.mark.parametrize(
    "text",
    [
        "",
        " ",
        "1,5",
        " 1",
        "1 ",
        "0x1",
        "1_000",
        "NaN",
        "nan",
        "Infinity",
        "-inf",
        "１",
        "٣",
        "1e",
        "e5",
        ".",
        "+",
        "--1",
        "1.2.3",
        "1e5.0",
        "1e999",
        "-1e999",
        "9" * (LONGEST + 1),
        "1\n",
        "1\x00",
        "−1",
        "1e+",
        "true",
    ],
)
def test_no_numbers(text: str) -> None:
    with pytest.raises(ValueError, match="expected a number"):
        parse_decimal(text)
    with pytest.raises(ValueError, match="expected a number"):
        json_number(text)


@given(st.text(alphabet="0123456789.+-eE", max_size=12))
def test_the_spelling_is_json_and_the_same_number(text: str) -> None:
    try:
        value = parse_decimal(text)
    except ValueError:
        return
    assert float(json.loads(json_number(text))) == value == float(text)


@given(st.floats(allow_nan=False, allow_infinity=False))
def test_every_float_survives_as_text(value: float) -> None:
    assert parse_decimal(repr(value)) == value
    assert json.loads(json_number(repr(value))) == value
