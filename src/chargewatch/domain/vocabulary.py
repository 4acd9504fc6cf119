"""Measurands, units, phases, locations and contexts of OCPP 1.6, 2.0.1 and 2.1.

Sources: OCPP 1.6 (edition 2) section 7.28 to 7.45; OCPP 2.0.1 part 2, appendix 3 (MeasurandEnumType,
PhaseEnumType, LocationEnumType, ReadingContextEnumType, standardized units of measure); OCPP 2.1
part 2 for the additional measurands. Every table is in a fixed order: a position is a code that
columns of readings carry (``int8``), so entries are only ever appended.
"""

from collections.abc import Mapping
from enum import StrEnum
from typing import Final, NamedTuple

UNKNOWN: Final = -1


class Measurand(StrEnum):
    """What a reading measures. The value is the standard's own spelling."""

    ENERGY_ACTIVE_IMPORT_REGISTER = "Energy.Active.Import.Register"
    ENERGY_ACTIVE_IMPORT_INTERVAL = "Energy.Active.Import.Interval"
    ENERGY_ACTIVE_EXPORT_REGISTER = "Energy.Active.Export.Register"
    ENERGY_ACTIVE_EXPORT_INTERVAL = "Energy.Active.Export.Interval"
    ENERGY_ACTIVE_NET = "Energy.Active.Net"
    ENERGY_REACTIVE_IMPORT_REGISTER = "Energy.Reactive.Import.Register"
    ENERGY_REACTIVE_IMPORT_INTERVAL = "Energy.Reactive.Import.Interval"
    ENERGY_REACTIVE_EXPORT_REGISTER = "Energy.Reactive.Export.Register"
    ENERGY_REACTIVE_EXPORT_INTERVAL = "Energy.Reactive.Export.Interval"
    ENERGY_REACTIVE_NET = "Energy.Reactive.Net"
    ENERGY_APPARENT_NET = "Energy.Apparent.Net"
    ENERGY_APPARENT_IMPORT = "Energy.Apparent.Import"
    ENERGY_APPARENT_EXPORT = "Energy.Apparent.Export"
    POWER_ACTIVE_IMPORT = "Power.Active.Import"
    POWER_ACTIVE_EXPORT = "Power.Active.Export"
    POWER_REACTIVE_IMPORT = "Power.Reactive.Import"
    POWER_REACTIVE_EXPORT = "Power.Reactive.Export"
    POWER_OFFERED = "Power.Offered"
    POWER_FACTOR = "Power.Factor"
    CURRENT_IMPORT = "Current.Import"
    CURRENT_EXPORT = "Current.Export"
    CURRENT_OFFERED = "Current.Offered"
    VOLTAGE = "Voltage"
    FREQUENCY = "Frequency"
    TEMPERATURE = "Temperature"
    SOC = "SoC"
    RPM = "RPM"
    # OCPP 2.1
    CURRENT_EXPORT_OFFERED = "Current.Export.Offered"
    CURRENT_EXPORT_MINIMUM = "Current.Export.Minimum"
    CURRENT_IMPORT_OFFERED = "Current.Import.Offered"
    CURRENT_IMPORT_MINIMUM = "Current.Import.Minimum"
    DISPLAY_PRESENT_SOC = "Display.PresentSOC"
    DISPLAY_MINIMUM_SOC = "Display.MinimumSOC"
    DISPLAY_TARGET_SOC = "Display.TargetSOC"
    DISPLAY_MAXIMUM_SOC = "Display.MaximumSOC"
    DISPLAY_REMAINING_TIME_TO_MINIMUM_SOC = "Display.RemainingTimeToMinimumSOC"
    DISPLAY_REMAINING_TIME_TO_TARGET_SOC = "Display.RemainingTimeToTargetSOC"
    DISPLAY_REMAINING_TIME_TO_MAXIMUM_SOC = "Display.RemainingTimeToMaximumSOC"
    DISPLAY_CHARGING_COMPLETE = "Display.ChargingComplete"
    DISPLAY_BATTERY_ENERGY_CAPACITY = "Display.BatteryEnergyCapacity"
    DISPLAY_INLET_HOT = "Display.InletHot"
    ENERGY_ACTIVE_IMPORT_CABLE_LOSS = "Energy.Active.Import.CableLoss"
    ENERGY_ACTIVE_IMPORT_LOCAL_GENERATION_REGISTER = "Energy.Active.Import.LocalGeneration.Register"
    ENERGY_ACTIVE_SETPOINT_INTERVAL = "Energy.Active.Setpoint.Interval"
    ENERGY_REQUEST_TARGET = "EnergyRequest.Target"
    ENERGY_REQUEST_MINIMUM = "EnergyRequest.Minimum"
    ENERGY_REQUEST_MAXIMUM = "EnergyRequest.Maximum"
    ENERGY_REQUEST_MINIMUM_V2X = "EnergyRequest.Minimum.V2X"
    ENERGY_REQUEST_MAXIMUM_V2X = "EnergyRequest.Maximum.V2X"
    ENERGY_REQUEST_BULK = "EnergyRequest.Bulk"
    POWER_ACTIVE_SETPOINT = "Power.Active.Setpoint"
    POWER_ACTIVE_RESIDUAL = "Power.Active.Residual"
    POWER_EXPORT_MINIMUM = "Power.Export.Minimum"
    POWER_EXPORT_OFFERED = "Power.Export.Offered"
    POWER_IMPORT_OFFERED = "Power.Import.Offered"
    POWER_IMPORT_MINIMUM = "Power.Import.Minimum"
    VOLTAGE_MINIMUM = "Voltage.Minimum"
    VOLTAGE_MAXIMUM = "Voltage.Maximum"


class Quantity(StrEnum):
    """The physical quantity of a unit; readings whose unit has another quantity are not analysed."""

    ACTIVE_ENERGY = "active_energy"
    REACTIVE_ENERGY = "reactive_energy"
    APPARENT_ENERGY = "apparent_energy"
    ACTIVE_POWER = "active_power"
    REACTIVE_POWER = "reactive_power"
    APPARENT_POWER = "apparent_power"
    CURRENT = "current"
    VOLTAGE = "voltage"
    TEMPERATURE = "temperature"
    FREQUENCY = "frequency"
    RATIO = "ratio"
    ANGULAR_SPEED = "angular_speed"
    TIME = "time"
    OTHER = "other"


class Unit(NamedTuple):
    """A unit of measure: ``value × factor + offset`` is in Wh, W, A, V, °C, Hz, per cent, 1/min or s."""

    name: str
    quantity: Quantity
    factor: float = 1.0
    offset: float = 0.0


UNITS: Final[tuple[Unit, ...]] = (
    Unit("Wh", Quantity.ACTIVE_ENERGY),
    Unit("kWh", Quantity.ACTIVE_ENERGY, 1000.0),
    Unit("varh", Quantity.REACTIVE_ENERGY),
    Unit("kvarh", Quantity.REACTIVE_ENERGY, 1000.0),
    Unit("VAh", Quantity.APPARENT_ENERGY),
    Unit("kVAh", Quantity.APPARENT_ENERGY, 1000.0),
    Unit("W", Quantity.ACTIVE_POWER),
    Unit("kW", Quantity.ACTIVE_POWER, 1000.0),
    Unit("var", Quantity.REACTIVE_POWER),
    Unit("kvar", Quantity.REACTIVE_POWER, 1000.0),
    Unit("VA", Quantity.APPARENT_POWER),
    Unit("kVA", Quantity.APPARENT_POWER, 1000.0),
    Unit("A", Quantity.CURRENT),
    Unit("kA", Quantity.CURRENT, 1000.0),
    Unit("V", Quantity.VOLTAGE),
    Unit("kV", Quantity.VOLTAGE, 1000.0),
    Unit("Celsius", Quantity.TEMPERATURE),
    Unit("Celcius", Quantity.TEMPERATURE),  # spelt so in OCPP 1.6 J schemas
    Unit("Fahrenheit", Quantity.TEMPERATURE, 5 / 9, -160 / 9),
    Unit("K", Quantity.TEMPERATURE, 1.0, -273.15),
    Unit("Percent", Quantity.RATIO),
    Unit("Hertz", Quantity.FREQUENCY),
    Unit("Hz", Quantity.FREQUENCY),
    Unit("RPM", Quantity.ANGULAR_SPEED),
    Unit("s", Quantity.TIME),
    Unit("ASU", Quantity.OTHER),
    Unit("B", Quantity.OTHER),
    Unit("dB", Quantity.OTHER),
    Unit("dBm", Quantity.OTHER),
    Unit("Deg", Quantity.OTHER),
    Unit("kPa", Quantity.OTHER),
    Unit("lx", Quantity.OTHER),
    Unit("m", Quantity.OTHER),
    Unit("ms2", Quantity.OTHER),
    Unit("N", Quantity.OTHER),
    Unit("Ohm", Quantity.OTHER),
    Unit("RH", Quantity.OTHER),
    Unit("vdop", Quantity.OTHER),
    Unit("rad", Quantity.OTHER),
    Unit("1", Quantity.OTHER),
)

PHASES: Final = ("", "L1", "L2", "L3", "N", "L1-N", "L2-N", "L3-N", "L1-L2", "L2-L3", "L3-L1")
LOCATIONS: Final = ("Outlet", "Inlet", "Cable", "EV", "Body", "Upstream")
CONTEXTS: Final = (
    "Transaction.Begin",
    "Transaction.End",
    "Sample.Periodic",
    "Sample.Clock",
    "Interruption.Begin",
    "Interruption.End",
    "Trigger",
    "Other",
)
FORMATS: Final = ("Raw", "SignedData")

MEASURANDS: Final[tuple[Measurand, ...]] = tuple(Measurand)
DEFAULT_MEASURAND: Final = Measurand.ENERGY_ACTIVE_IMPORT_REGISTER
DEFAULT_CONTEXT: Final = "Sample.Periodic"
DEFAULT_LOCATION: Final = "Outlet"
DEFAULT_FORMAT: Final = "Raw"


def _default_unit(measurand: Measurand) -> str:
    """Returns the OCPP unit of ``measurand`` (OCPP 1.6 section 7.45, OCPP 2.0.1 UnitOfMeasureType)."""
    name = measurand.value
    if name.startswith("Display."):
        if "Time" in name:
            return "s"
        return "Wh" if name.endswith("Capacity") else "Percent"
    for prefix, unit in (
        ("Energy.Reactive", "varh"),
        ("Energy.Apparent", "VAh"),
        ("Energy", "Wh"),
        ("Power.Reactive", "var"),
        ("Power.Factor", "1"),
        ("Power", "W"),
        ("Current", "A"),
        ("Voltage", "V"),
        ("Frequency", "Hertz"),
        ("Temperature", "Celsius"),
        ("SoC", "Percent"),
        ("RPM", "RPM"),
    ):
        if name.startswith(prefix):
            return unit
    raise ValueError(f"no default unit for {name}")


DEFAULT_UNITS: Final[Mapping[Measurand, str]] = {m: _default_unit(m) for m in MEASURANDS}


def _codes(names: tuple[str, ...]) -> Mapping[str, int]:
    return {name.casefold(): code for code, name in enumerate(names)}


MEASURAND_CODES: Final = _codes(tuple(m.value for m in MEASURANDS))
UNIT_CODES: Final = _codes(tuple(u.name for u in UNITS))
PHASE_CODES: Final = _codes(PHASES)
LOCATION_CODES: Final = _codes(LOCATIONS)
CONTEXT_CODES: Final = _codes(CONTEXTS)
FORMAT_CODES: Final = _codes(FORMATS)


def canonical(name: str, codes: Mapping[str, int], names: tuple[str, ...]) -> str:
    """Returns the standard's spelling of ``name``, or ``name`` unchanged when the standards lack it."""
    code = codes.get(name.casefold(), UNKNOWN)
    return name if code == UNKNOWN else names[code]
