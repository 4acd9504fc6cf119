"""Frames that real stations and systems sent, one by one: what is read from each, and which notes it leaves."""

from typing import Any

import pytest

from chargewatch.ingest.foreign_json import Unreadable
from chargewatch.ingest.ocpi import OcpiId, read_session
from chargewatch.ingest.ocpp_frames import read_frame, read_message
from chargewatch.ingest.transactions import TransactionBook
from tests.ocpp_border import Seen, notes, outcome, seen, taken, verdict

REGISTER = "Energy.Active.Import.Register"
INTERVAL = "Energy.Active.Import.Interval"
POWER = "Power.Active.Import"
CURRENT = "Current.Import"


def values(samples: list[dict[str, Any]], at: str = "10:15:30Z", **payload: object) -> list[Any]:
    body = {"connectorId": 1, **payload}
    return [
        2,
        "m1",
        "MeterValues",
        body | {"meterValue": [{"timestamp": f"2025-03-04T{at}", "sampledValue": samples}]},
    ]


def sample(value: str, measurand: str | None = None, unit: str | None = None, **names: str) -> dict[str, Any]:
    sent = {"value": value, "measurand": measurand, "unit": unit, **names}
    return {name: text for name, text in sent.items() if text is not None}


def only(frames: list[object]) -> Any:
    """The one session of frames."""
    (push,) = taken(frames).values()
    return push


RAW = {"context": "Sample.Periodic", "format": "Raw"}
OUTLET = {**RAW, "location": "Outlet"}

DC_CCS_MIXED_UNITS = values(
    [
        sample("61.4", CURRENT, "A", **OUTLET),
        sample("20711.3406", REGISTER, "kWh", **OUTLET),
        sample("0.1012", INTERVAL, "kWh", **OUTLET),
        sample("24.3", POWER, "kW", **OUTLET),
        sample("396.1", "Voltage", "V", **OUTLET),
        sample("58", "SoC", "Percent", location="EV", **RAW),
        sample("200", "Current.Offered", "A", **OUTLET),
        sample("60000", "Power.Offered", "W", **OUTLET),
    ],
    "10:15:30.412Z",
    transactionId=1,
)


def test_dc_ccs_mixed_units() -> None:
    push = only([DC_CCS_MIXED_UNITS])
    at = "10:15:30.412"
    assert (push.session, push.station, push.connector_id) == ("CP-1:1", "CP-1", "1")
    assert seen(push.readings) == [
        Seen(at, CURRENT, "61.4", "A"),
        Seen(at, REGISTER, "20711.3406", "kWh"),
        Seen(at, INTERVAL, "0.1012", "kWh"),
        Seen(at, POWER, "24.3", "kW"),
        Seen(at, "Voltage", "396.1", "V"),
        Seen(at, "SoC", "58", "Percent", location="EV"),
        Seen(at, "Current.Offered", "200", "A"),
        Seen(at, "Power.Offered", "60000", "W"),
    ]
    assert notes(push) == {}


AC_3PH = values(
    [
        sample("231.10", "Voltage", "V", phase="L1-N", **RAW),
        sample("15.90", CURRENT, "A", phase="L1", **RAW),
        sample("3650", POWER, "W", phase="L1", **RAW),
        sample("229.80", "Voltage", "V", phase="L2-N", **RAW),
        sample("0.0", CURRENT, "A", phase="L2", **RAW),
        sample("0", POWER, "W", phase="L2", **RAW),
        sample("1204", REGISTER, "Wh", **RAW),
    ],
    transactionId=1741083000,
)


def test_ac_3ph_per_phase_power() -> None:
    push = only([AC_3PH])
    at = "10:15:30"
    assert push.session == "CP-1:1741083000"
    assert seen(push.readings) == [
        Seen(at, "Voltage", "231.10", "V", "L1-N"),
        Seen(at, CURRENT, "15.90", "A", "L1"),
        Seen(at, POWER, "3650", "W", "L1"),
        Seen(at, "Voltage", "229.80", "V", "L2-N"),
        Seen(at, CURRENT, "0.0", "A", "L2"),
        Seen(at, POWER, "0", "W", "L2"),
        Seen(at, REGISTER, "1204", "Wh"),
    ]
    assert notes(push) == {"phases_summed": 1}


def test_ac_register_dropout() -> None:
    dropout = values([sample("0", REGISTER, "Wh", **RAW)], "10:16:30.000Z", transactionId=1741083000)
    back = values([sample("1330", REGISTER, "Wh", **RAW)], "10:17:30.000Z", transactionId=1741083000)
    push = only([AC_3PH, dropout, back])
    assert [s.value for s in seen(push.readings) if s.measurand == REGISTER] == ["1204", "0", "1330"]
    (fall,) = verdict(push).anomalies
    assert (fall.category, fall.severity) == ("KWH_DECREASE", "warning")


STOP_BEFORE_IT = [
    2,
    "m2",
    "StopTransaction",
    {
        "meterStop": 1850412,
        "timestamp": "2025-03-04T12:00:00Z",
        "idTag": "TAG",
        "transactionData": [],
        "reason": "Local",
        "transactionId": 1741083100,
    },
]
AFTER_STOP = values(
    [sample("1850416.3", REGISTER, "Wh", context="Sample.Periodic", location="Outlet")], "12:00:05Z"
)


def test_after_stop_no_transaction() -> None:
    alone = outcome(TransactionBook("CP-1"), AFTER_STOP)
    assert alone.push is None
    assert "none is known to run on this connector" in (alone.ignored or "")


def test_stop_before_it() -> None:
    before = values([sample("1850100", REGISTER, "Wh")], "11:55:00Z", transactionId=1741083100)
    push = only([before, STOP_BEFORE_IT, AFTER_STOP])
    assert (push.session, push.connector_id, push.stop_reason) == ("CP-1:1741083100", "1", "Local")
    assert seen(push.readings) == [
        Seen("11:55:00", REGISTER, "1850100", "Wh"),
        Seen("12:00:00", REGISTER, "1850412", "Wh", context="Transaction.End"),
        Seen("12:00:05", REGISTER, "1850416.3", "Wh"),
    ]
    assert (notes(push), verdict(push).anomalies) == ({}, ())


def test_session_relative_register() -> None:
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 3911870, "timestamp": "2025-03-04T10:00:00Z"}
    push = only(
        [
            [2, "s", "StartTransaction", start],
            values(
                [sample("0.118", REGISTER, "kWh", context="Sample.Periodic")], "10:01:00Z", transactionId=55
            ),
            values(
                [sample("0.236", REGISTER, "kWh", context="Sample.Periodic")], "10:02:00Z", transactionId=55
            ),
        ]
    )
    assert push.session == "CP-1:55"
    assert seen(push.readings) == [
        Seen("10:00:00", REGISTER, "3911870", "Wh", context="Transaction.Begin"),
        Seen("10:01:00", REGISTER, "0.118", "kWh"),
        Seen("10:02:00", REGISTER, "0.236", "kWh"),
    ]
    assert (notes(push), verdict(push).anomalies) == ({"register_mixed": 1}, ())


INT64_MAX = values(
    [
        sample("0.000", CURRENT, "A", context="Sample.Periodic", location="Outlet", phase="L1"),
        sample("396.700", "Voltage", "V", context="Sample.Periodic", location="Outlet", phase="L1-L2"),
    ],
    transactionId=9223372036854775807,
)


def test_int64_max_transaction_id() -> None:
    assert outcome(TransactionBook("CP-1"), INT64_MAX).ignored is not None
    push = only([values([sample("5", POWER, "kW")], "10:15:00Z", transactionId=3), INT64_MAX])
    assert push.session == "CP-1:3"
    assert seen(push.readings)[1:] == [
        Seen("10:15:30", CURRENT, "0.000", "A", "L1"),
        Seen("10:15:30", "Voltage", "396.700", "V", "L1-L2"),
    ]
    assert notes(push) == {}


def test_a_larger_transaction_id_than_a_float_can_count_is_kept_to_the_digit() -> None:
    push = only([values([sample("1", POWER, "kW")], transactionId=9223372036854775806)])
    assert push.session == "CP-1:9223372036854775806"


TRIGGERED = values(
    [
        sample("8312.500", POWER, "W", context="Trigger", location="Outlet"),
        sample("15.100", "Current.Offered", "A", context="Trigger", location="Outlet"),
        sample("512044.000", REGISTER, "Wh", context="Trigger", location="Outlet"),
    ],
    connectorId=2,
)


def test_trigger_context_alfen() -> None:
    book = TransactionBook("CP-1")
    assert outcome(book, TRIGGERED).ignored is not None
    push = only(
        [values([sample("512000", REGISTER, "Wh")], "10:15:00Z", transactionId=3, connectorId=2), TRIGGERED]
    )
    assert seen(push.readings)[1:] == [
        Seen("10:15:30", POWER, "8312.500", "W", context="Trigger"),
        Seen("10:15:30", "Current.Offered", "15.100", "A", context="Trigger"),
        Seen("10:15:30", REGISTER, "512044.000", "Wh", context="Trigger"),
    ]
    assert notes(push) == {}


def test_cheap_ac_zero_phases() -> None:
    body = {**RAW, "location": "Body"}
    frame = values(
        [
            sample("226.40", "Voltage", "V", phase="L1-N", **body),
            sample("6.10", CURRENT, "A", phase="L1-N", **body),
            sample("1.38", POWER, "kW", **body),
            sample("412", REGISTER, "Wh", **body),
            sample("0.00", "Voltage", "V", phase="L2-N", **body),
        ],
        "10:15:31Z",
        transactionId=12,
    )
    push = only([frame])
    at = "10:15:31"
    assert seen(push.readings) == [
        Seen(at, "Voltage", "226.40", "V", "L1-N", "Body"),
        Seen(at, CURRENT, "6.10", "A", "L1-N", "Body"),
        Seen(at, POWER, "1.38", "kW", "", "Body"),
        Seen(at, REGISTER, "412", "Wh", "", "Body"),
        Seen(at, "Voltage", "0.00", "V", "L2-N", "Body"),
    ]
    assert notes(push) == {}


def test_microocpp_min() -> None:
    frame = values(
        [
            sample("8123", REGISTER, "Wh", context="Sample.Periodic"),
            sample("10871.44", POWER, "W", context="Sample.Periodic"),
        ],
        "10:15:31.580Z",
        transactionId=144,
    )
    push = only([frame])
    assert seen(push.readings) == [
        Seen("10:15:31.580", REGISTER, "8123", "Wh"),
        Seen("10:15:31.580", POWER, "10871.44", "W"),
    ]
    assert notes(push) == {}


def test_energy_only() -> None:
    frame = values(
        [sample("981.5", REGISTER, "Wh", **OUTLET)], "10:15:33.000Z", transactionId=14, connectorId=4
    )
    push = only([frame])
    assert push.connector_id == "4"
    assert seen(push.readings) == [Seen("10:15:33", REGISTER, "981.5", "Wh")]
    assert notes(push) == {}


def test_all_defaults() -> None:
    push = only([values([{"value": "12345"}], "10:15:33Z", transactionId=7)])
    assert seen(push.readings) == [Seen("10:15:33", REGISTER, "12345", "")]
    assert push.readings[0].source.known_unit == "Wh"
    assert notes(push) == {"unit_assumed": 1}


def test_stop_with_soc() -> None:
    at = "2025-03-04T10:45:00+00:00"
    samples = [
        sample("154110", REGISTER, "Wh", context="Transaction.Begin"),
        sample("21", "SoC", "Percent", context="Transaction.Begin"),
        sample("63", "SoC", "Percent", context="Transaction.End"),
    ]
    data = [{"timestamp": at, "sampledValue": samples}]
    payload = {"meterStop": 155920, "reason": "EVDisconnected", "transactionId": 1, "timestamp": at}
    push = only([[2, "m3", "StopTransaction", payload | {"transactionData": data}]])
    assert (push.session, push.connector_id, push.stop_reason) == ("CP-1:1", None, "EVDisconnected")
    assert seen(push.readings) == [
        Seen("10:45:00", REGISTER, "155920", "Wh", context="Transaction.End"),
        Seen("10:45:00", REGISTER, "154110", "Wh", context="Transaction.Begin"),
        Seen("10:45:00", "SoC", "21", "Percent", context="Transaction.Begin"),
        Seen("10:45:00", "SoC", "63", "Percent", context="Transaction.End"),
    ]
    assert (notes(push), verdict(push).anomalies) == ({}, ())


def test_not_arrays() -> None:
    value = {
        "timestamp": "2025-03-04T10:37:27.000Z",
        "sampledValue": sample("0.18", CURRENT, "A", phase="L1", context="Transaction.End", format="Raw"),
    }
    payload = {"connectorId": 1, "transactionId": 400001, "meterValue": value}
    push = only([[2, "m4", "MeterValues", payload]])
    assert seen(push.readings) == [Seen("10:37:27", CURRENT, "0.18", "A", "L1", context="Transaction.End")]
    with pytest.raises(Unreadable) as refused:
        read_message(read_frame(b'[2, "m4", "MeterValues", {"connectorId": 1, "meterValue": "broken"}]'))
    assert (refused.value.pointer, refused.value.code) == ("/3/meterValue", "type_error")


def test_no_phase_no_context() -> None:
    frame = values(
        [sample("16.0", CURRENT, "A"), sample("5210", REGISTER, "Wh", context="Transaction.Begin")],
        "10:15:33Z",
        transactionId=9,
    )
    push = only([frame])
    assert seen(push.readings) == [
        Seen("10:15:33", CURRENT, "16.0", "A"),
        Seen("10:15:33", REGISTER, "5210", "Wh", context="Transaction.Begin"),
    ]
    assert notes(push) == {}


def test_ocpp201_update() -> None:
    unit = {"unit": "Wh"}
    samples = [
        {"value": 1520.0, "context": "Sample.Periodic", "measurand": REGISTER, "unitOfMeasure": unit},
        {
            "value": 507.0,
            "context": "Sample.Periodic",
            "measurand": REGISTER,
            "phase": "L1",
            "unitOfMeasure": unit,
        },
    ]
    payload = {
        "eventType": "Updated",
        "timestamp": "2025-03-04T10:15:33.100Z",
        "triggerReason": "MeterValuePeriodic",
        "seqNo": 4,
        "transactionInfo": {"transactionId": "tx-1", "chargingState": "Charging"},
        "meterValue": [{"timestamp": "2025-03-04T10:15:33.000Z", "sampledValue": samples}],
    }
    push = only([[2, "t1", "TransactionEvent", payload]])
    assert (push.session, push.evse_id, push.connector_id) == ("CP-1:tx-1", None, None)
    assert seen(push.readings) == [
        Seen("10:15:33", REGISTER, "1520.0", "Wh"),
        Seen("10:15:33", REGISTER, "507.0", "Wh", "L1"),
    ]
    assert notes(push) == {}


def test_int32_max_register() -> None:
    payload = {
        "meterStop": 2147483647,
        "timestamp": "2025-03-04T15:21:00Z",
        "transactionId": 77,
        "reason": "PowerLoss",
    }
    samples = [
        values([sample(f"{5000 + 600 * i}", REGISTER, "Wh")], f"15:{i:02}:00Z", transactionId=77)
        for i in range(4)
    ]
    push = only([*samples, [2, "m5", "StopTransaction", payload]])
    assert seen(push.readings)[-1] == Seen(
        "15:21:00", REGISTER, "2147483647", "Wh", context="Transaction.End"
    )
    assert notes(push)["register_mixed"] == 1
    assert verdict(push).anomalies == ()


def test_clock_reset() -> None:
    start = {"connectorId": 1, "idTag": "TAG", "meterStart": 411000, "timestamp": "2000-01-01T00:03:12Z"}
    frame = [2, "m6", "StartTransaction", start]
    book = TransactionBook("CP-1")
    waiting = outcome(book, frame)
    assert (waiting.push, waiting.ignored) == (None, None)
    samples = [
        values([sample(f"{411000 + i}", REGISTER, "Wh")], f"10:{i:02}:00Z", transactionId=8) for i in range(4)
    ]
    push = only([frame, *samples])
    assert (push.session, push.started_us) == ("CP-1:8", None)
    assert seen(push.readings)[0] == Seen("00:03:12", REGISTER, "411000", "Wh", context="Transaction.Begin")
    assert len(push.readings) == 5
    assert (notes(push), verdict(push).anomalies) == ({"clock_fault": 1}, ())


def test_ocpi_session_odd() -> None:
    odd = (
        b'{"id": "x", "country_code": "gr", "party_id": "emu", "start_date_time": "2025-03-04T15:38:39.877000",'
        b' "end_date_time": null, "kwh": 0.0, "auth_method": "COMMAND", "location_id": "l", "evse_uid": "u",'
        b' "connector_id": "", "currency": "EUR", "charging_periods": [], "total_cost": null, "status": "COMPLETED",'
        b' "last_updated": "2025-03-04T12:44:50.468169"}'
    )
    push, passed_over = read_session(odd, OcpiId("GR", "EMU", "x"), 0)
    assert (push.session, push.station, push.connector_id) == ("GR*EMU*x", "u", None)
    assert push.started_us == push.ended_us
    assert seen(push.readings) == [Seen("15:38:39.877", REGISTER, "0.0", "kWh", context="Transaction.End")]
    assert (list(passed_over), notes(push)) == ([], {})
