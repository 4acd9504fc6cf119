"""Hostile requests to every call of a served process: only documented refusals, nothing stored, nothing repeated."""

import sys
from collections import Counter

import pytest

from tests.hostile.api_document import calls
from tests.hostile.campaign import FEWEST_A_CALL, Campaign, corpus, table
from tests.hostile.served import serving
from tests.hostile.stage import UnknownPlace, known_places

pytestmark = pytest.mark.skipif(sys.platform == "win32", reason="signals")

SEED = 1
PER_CALL = 24


def run(seed: int, per_call: int) -> None:
    with serving() as service:
        outcome = Campaign(service, seed, per_call).run()
    print(table(outcome))
    assert not outcome.findings, "\n".join(finding.text() for finding in outcome.findings[:10])
    assert not outcome.other_faults
    sent = Counter(call for call, kind in outcome.counts)
    assert sent, "nothing was sent"


def test_a_sample_of_hostile_requests_to_every_call() -> None:
    run(SEED, PER_CALL)


@pytest.mark.soak
def test_all_hostile_requests_to_every_call() -> None:
    run(SEED, 0)


@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.soak)])
def test_the_corpus_is_large_distinct_and_always_the_same(every: int) -> None:
    """Made twice of every fourth call, in soak of each."""
    with serving() as service:
        listed = calls(service.document(), ("/v1", "/ocpi"))
    known = known_places(listed)
    for number, call in enumerate(listed):
        attacks = corpus(call, known)
        sent = {(a.method, a.target, tuple(a.headers), a.body) for a in attacks}
        assert len(sent) == len(attacks), call.name
        assert not call.writes or len(attacks) >= FEWEST_A_CALL, call.name
        assert number % every or attacks == corpus(call, known), call.name
        canaries = [attack.canary for attack in attacks if attack.canary]
        assert len(set(canaries)) == len(canaries), call.name
        assert sum(attack.refused for attack in attacks) > len(attacks) // 20, call.name


def test_a_path_parameter_that_nobody_has_named_is_told() -> None:
    path = {"get": {"parameters": [{"name": "widget_id", "in": "path"}], "responses": {"200": {}}}}
    document = {"paths": {"/v1/widgets/{widget_id}": path}, "components": {}}
    with pytest.raises(UnknownPlace, match="widget_id"):
        known_places(calls(document))
