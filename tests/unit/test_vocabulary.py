"""The vocabulary of OCPP 1.6, 2.0.1 and 2.1: unique names, defaults, any case."""

from collections.abc import Mapping

import numpy as np
import pytest

from chargewatch.domain import vocabulary
from chargewatch.domain.vocabulary import (
    CONTEXT_CODES,
    CONTEXTS,
    DEFAULT_CONTEXT,
    DEFAULT_FORMAT,
    DEFAULT_LOCATION,
    DEFAULT_MEASURAND,
    DEFAULT_UNITS,
    FORMAT_CODES,
    FORMATS,
    LOCATION_CODES,
    LOCATIONS,
    MEASURAND_CODES,
    MEASURANDS,
    PHASE_CODES,
    PHASES,
    UNIT_CODES,
    UNITS,
    UNKNOWN,
    Measurand,
    Quantity,
    canonical,
)
from chargewatch.ingest import channels
from chargewatch.ingest.builder import kind_of

TABLES = [
    (tuple(m.value for m in MEASURANDS), MEASURAND_CODES),
    (tuple(u.name for u in UNITS), UNIT_CODES),
    (PHASES, PHASE_CODES),
    (LOCATIONS, LOCATION_CODES),
    (CONTEXTS, CONTEXT_CODES),
    (FORMATS, FORMAT_CODES),
]


@pytest.mark.parametrize(("names", "codes"), TABLES)
def test_names_are_unique_in_any_case_and_codes_are_their_places(
    names: tuple[str, ...], codes: Mapping[str, int]
) -> None:
    assert len(codes) == len(names) < np.iinfo(np.int8).max
    for place, name in enumerate(names):
        for spelling in (name, name.upper(), name.lower(), name.swapcase()):
            assert codes[spelling.casefold()] == place
            assert canonical(spelling, codes, names) == name


@pytest.mark.parametrize(("names", "codes"), TABLES)
def test_an_unknown_name_stays_as_it_was_sent(names: tuple[str, ...], codes: Mapping[str, int]) -> None:
    assert canonical("Vendor.Thing", codes, names) == "Vendor.Thing"


def test_every_measurand_has_a_default_unit_that_is_known() -> None:
    for measurand in Measurand:
        assert DEFAULT_UNITS[measurand].casefold() in UNIT_CODES, measurand


@pytest.mark.parametrize(
    ("measurand", "unit"),
    [
        ("Energy.Active.Import.Register", "Wh"),
        ("Energy.Active.Import.Interval", "Wh"),
        ("Energy.Active.Net", "Wh"),
        ("Energy.Reactive.Export.Register", "varh"),
        ("Energy.Apparent.Import", "VAh"),
        ("Energy.Active.Setpoint.Interval", "Wh"),
        ("EnergyRequest.Bulk", "Wh"),
        ("Power.Active.Import", "W"),
        ("Power.Reactive.Import", "var"),
        ("Power.Factor", "1"),
        ("Power.Offered", "W"),
        ("Current.Import", "A"),
        ("Voltage", "V"),
        ("Voltage.Maximum", "V"),
        ("Frequency", "Hertz"),
        ("Temperature", "Celsius"),
        ("SoC", "Percent"),
        ("RPM", "RPM"),
        ("Display.PresentSOC", "Percent"),
        ("Display.RemainingTimeToTargetSOC", "s"),
        ("Display.BatteryEnergyCapacity", "Wh"),
    ],
)
def test_default_units_are_those_of_ocpp(measurand: str, unit: str) -> None:
    assert DEFAULT_UNITS[Measurand(measurand)] == unit


def test_the_measurands_of_ocpp_1_6_and_2_0_1_are_all_there() -> None:
    energy = [
        f"Energy.{kind}.{way}.{form}"
        for kind in ("Active", "Reactive")
        for way in ("Export", "Import")
        for form in ("Register", "Interval")
    ]
    others = (
        *("Energy.Active.Net", "Energy.Reactive.Net", "Energy.Apparent.Net", "Energy.Apparent.Import"),
        *("Energy.Apparent.Export", "Current.Export", "Current.Import", "Current.Offered", "Frequency"),
        *("Power.Active.Export", "Power.Active.Import", "Power.Factor", "Power.Offered", "RPM", "SoC"),
        *("Power.Reactive.Export", "Power.Reactive.Import", "Temperature", "Voltage"),
    )
    assert {m.casefold() for m in (*energy, *others)} <= set(MEASURAND_CODES)


def test_the_units_phases_locations_and_contexts_of_ocpp_are_all_there() -> None:
    units = ("Wh", "kWh", "varh", "kvarh", "W", "kW", "VA", "kVA", "var", "kvar", "A", "V", "Celsius")
    more_units = ("Fahrenheit", "K", "Percent", "VAh", "kVAh", "Hertz")
    assert {u.casefold() for u in units + more_units} <= set(UNIT_CODES)
    phases = ("L1", "L2", "L3", "N", "L1-N", "L2-N", "L3-N", "L1-L2", "L2-L3", "L3-L1")
    assert {p.casefold() for p in phases} < set(PHASE_CODES)
    locations = ("Cable", "EV", "Inlet", "Outlet", "Body", "Upstream")
    assert {p.casefold() for p in locations} == set(LOCATION_CODES)
    samples = ("Sample.Clock", "Sample.Periodic", "Trigger", "Other")
    events = ("Interruption.Begin", "Interruption.End", "Transaction.Begin", "Transaction.End")
    assert {c.casefold() for c in samples + events} == set(CONTEXT_CODES)


@pytest.mark.parametrize(
    ("unit", "value", "expected"),
    [
        ("kWh", 1.5, 1500.0),
        ("kW", 11.0, 11_000.0),
        ("Fahrenheit", 212.0, 100.0),
        ("K", 273.15, 0.0),
        ("kvar", 2, 2000.0),
    ],
)
def test_conversions(unit: str, value: float, expected: float) -> None:
    row = UNITS[UNIT_CODES[unit.casefold()]]
    assert value * row.factor + row.offset == pytest.approx(expected)


def test_defaults() -> None:
    kind = kind_of(None, None, None, None, None)
    assert MEASURANDS[kind.measurand] is DEFAULT_MEASURAND is Measurand.ENERGY_ACTIVE_IMPORT_REGISTER
    assert UNITS[kind.unit].name == "Wh"
    assert (PHASES[kind.phase], LOCATIONS[kind.location], CONTEXTS[kind.context]) == (
        "",
        "Outlet",
        "Sample.Periodic",
    )
    assert (DEFAULT_LOCATION, DEFAULT_CONTEXT, DEFAULT_FORMAT) == ("Outlet", "Sample.Periodic", "Raw")
    assert (kind.unit_assumed, kind.signed) == (True, False)
    assert kind_of("", "", "", "", "") == kind


def test_codes_of_names_in_any_case_and_of_unknown_ones() -> None:
    assert kind_of("SOC", "PERCENT", "l1", "ev", "TRIGGER", "signeddata") == kind_of(
        "SoC", "Percent", "L1", "EV", "Trigger", "SignedData"
    )
    unknown = kind_of("x", "x", "x", "x", "x")
    assert unknown[:5] == (UNKNOWN,) * 5
    assert UNITS[kind_of("Power.Active.Import", None, None, None, None).unit].name == "W"


def test_every_channel_is_fed_and_has_a_phase_rule() -> None:
    assert set(channels.CHANNEL_OF_MEASURAND.tolist()) == {-1, *(int(c) for c in channels.Channel)}
    assert set(channels.PHASE_RULES) == set(channels.Channel)


def test_lookups_have_one_entry_for_each_code_and_one_for_unknown() -> None:
    assert len(channels.CHANNEL_OF_MEASURAND) == len(MEASURANDS) + 1
    assert len(channels.QUANTITY_OF_MEASURAND) == len(MEASURANDS) + 1
    assert len(channels.QUANTITY_OF_UNIT) == len(channels.FACTOR_OF_UNIT) == len(UNITS) + 1
    assert len(channels.CONTEXT_RANK) == len(CONTEXTS) + 1
    assert len(channels.LOCATION_RANK) == len(LOCATIONS) + 1
    assert len(channels.PHASE_NUMBER) == len(PHASES) + 1
    assert channels.CHANNEL_OF_MEASURAND[UNKNOWN] == -1
    assert channels.QUANTITY_OF_UNIT[UNKNOWN] != channels.QUANTITY_OF_MEASURAND[UNKNOWN]


def test_every_quantity_is_one_of_a_unit() -> None:
    assert {u.quantity for u in UNITS} == set(Quantity)
    assert vocabulary.UNKNOWN == -1
