"""Versions as entity tags (RFC 9110): what a condition names, however it is written."""

import pytest

from chargewatch.server.platform.entity_tags import (
    entity_tag,
    versions_of_if_match,
    versions_of_if_none_match,
)

CASES = [
    (['"3"'], {3}, {3}),
    (['W/"3"'], set(), {3}),
    (['"1","2"', 'W/"3"'], {1, 2}, {1, 2, 3}),
    (['  "1" ,\t"2"  '], {1, 2}, {1, 2}),
    (['"1", , "2"'], {1, 2}, {1, 2}),
    (["*"], {1, 2, 3}, {1, 2, 3}),
    (['"1, 2"', "3", '"3', '3"', 'w/"3"'], set(), set()),
    (['"03"', '"0"', '"-1"', '"\u0663"', '"9999999999999999999999"'], set(), set()),
    ([""], set(), set()),
]


@pytest.mark.parametrize(("lines", "strong", "weak"), CASES, ids=range(len(CASES)))
def test_the_versions_that_a_condition_names(lines: list[str], strong: set[int], weak: set[int]) -> None:
    wanted = versions_of_if_match(lines)
    assert wanted is not None
    assert {v for v in range(4) if v in wanted} == strong
    assert {v for v in range(4) if v in versions_of_if_none_match(lines)} == weak


def test_no_condition_is_not_one_that_fails() -> None:
    assert versions_of_if_match([]) is None
    assert 1 not in versions_of_if_none_match([])
    assert 7 in (versions_of_if_match([entity_tag(7)]) or ())
