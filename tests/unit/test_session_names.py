"""Names of sessions made from foreign ids always are ids, and different ones for different ids."""

import pytest

from chargewatch.domain.ids import session_external_id
from chargewatch.ingest.session_push import ocpi_session, transaction_session

GROWS = "\u0958"  # two characters in Unicode normal form C
LONG = [
    GROWS * 127,
    GROWS * 255,
    "e\u0301" * 255,
    "x" * 255,
    "x" * 10_000,
    "\U0001f50c" * 255,
    "%" * 255,
    "\u0301" * 300,
]


@pytest.mark.parametrize("foreign", LONG, ids=[f"{text[:1]!r} {len(text)} times" for text in LONG])
def test_a_long_foreign_id_becomes_an_id(foreign: str) -> None:
    for name in (
        transaction_session("CP-1", foreign),
        transaction_session("s" * 255, foreign, "20250304T101530Z"),
        ocpi_session("NL", "ABC", foreign),
    ):
        assert session_external_id(name) == name
    middle = len(foreign) // 2
    other = foreign[:middle] + "z" + foreign[middle:]
    assert transaction_session("CP-1", foreign) != transaction_session("CP-1", other)


def test_equal_ids_in_other_forms_are_one_session() -> None:
    composed, decomposed = "\u00e9" * 200, "e\u0301" * 200
    assert transaction_session("CP-1", composed) == transaction_session("CP-1", decomposed)
