"""What the client sends and how it reads answers: digits, times, ids, conditions, compression, errors, pages."""

import doctest
import gzip
import inspect
import json
import threading
from datetime import UTC, date, datetime, timedelta, timezone
from decimal import Decimal
from typing import Any

import httpx
import msgspec
import pytest

from chargewatch import client as package
from chargewatch.client import (
    ApiError,
    AsyncClient,
    CallFailed,
    Client,
    Forbidden,
    MeterValue,
    NotFound,
    StoredMeterValue,
    TooLarge,
    Unauthorized,
    Unprocessable,
    bodies,
    errors,
)
from tests.scripted_api import KEY, STATE, Course, ScriptedApi, answer, problem

AT = "2026-02-27T10:00:00Z"


def sent(do: Any, **options: Any) -> httpx.Request:
    (request,) = Course([answer()], do, options=options).requests
    return request


def body_of(do: Any) -> Any:
    return json.loads(sent(do).content)


@pytest.mark.parametrize(
    ("value", "text"),
    [
        (5, "5"),
        (-3, "-3"),
        (0.1, "0.1"),
        (1e22, "1e22"),
        (Decimal("0.50"), '"0.50"'),
        (Decimal("123456789012345678901234567890.10"), '"123456789012345678901234567890.10"'),
        (Decimal("1E+3"), '"1E+3"'),
        ("11.10", '"11.10"'),
        (2**70, f'"{2**70}"'),
    ],
)
def test_no_digit_of_a_value_is_lost(value: Any, text: str) -> None:
    request = sent(lambda client: client.update_session("s", [MeterValue(AT, value)]))
    assert request.content == b'{"meter_values":[{"timestamp":"%s","value":%s}]}' % (
        AT.encode(),
        text.encode(),
    )


@pytest.mark.parametrize("value", [True, float("nan"), float("inf"), Decimal("NaN"), None, b"1", [1]])
def test_values_that_are_no_numbers_are_refused_at_once(value: Any) -> None:
    with pytest.raises(ValueError, match="value must be a finite number"):
        MeterValue(AT, value)


def test_figures_of_numpy_are_numbers() -> None:
    numpy = pytest.importorskip("numpy")
    assert MeterValue(AT, numpy.float64(0.1)).value == 0.1
    assert type(MeterValue(AT, numpy.float64(0.1)).value) is float


@pytest.mark.parametrize(
    ("raw", "value"),
    [
        (b"0.50", Decimal("0.50")),
        (b"7", Decimal(7)),
        (b"1.50e5", Decimal("1.50e5")),
        (b"123456789012345678901234567890.10", Decimal("123456789012345678901234567890.10")),
        (b'"signed \\u00fc"', "signed ü"),
    ],
)
def test_stored_values_come_back_with_their_digits(raw: bytes, value: Any) -> None:
    text = b'{"timestamp": "%s", "value": %s, "measurand": "SoC"}' % (AT.encode(), raw)
    found = msgspec.json.decode(text, type=StoredMeterValue).value
    assert (found, str(found), type(found)) == (value, str(value), type(value))


def test_times_go_out_as_they_are_and_never_without_a_zone() -> None:
    plus_one = timezone(timedelta(hours=1))
    body = body_of(
        lambda client: client.create_session(
            "s",
            "CP",
            [
                MeterValue(datetime(2026, 2, 27, 10, microsecond=5, tzinfo=UTC), 1),
                MeterValue("2026-02-27T10:00:00", 1),
            ],
            started_at=datetime(2026, 2, 27, 9, tzinfo=plus_one),
        )
    )
    assert [value["timestamp"] for value in body["meter_values"]] == ["2026-02-27T10:00:00.000005Z", AT[:-1]]
    assert body["started_at"] == "2026-02-27T09:00:00+01:00"
    naive = datetime(2026, 2, 27, 10)  # noqa: DTZ001 - what is to be refused
    for attempt in (
        lambda client: client.update_session("s", [MeterValue(naive, 1)]),
        lambda client: client.update_session("s", ended_at=naive),
        lambda client: client.create_session("s", "CP", started_at=naive),
        lambda client: client.list_sessions(date_from=naive),
    ):
        course = Course([answer()], attempt)
        assert isinstance(course.error, ValueError)
        assert "needs a time zone" in str(course.error)
        assert course.requests == []


def test_what_is_not_given_is_not_sent() -> None:
    assert body_of(lambda client: client.create_session("s", "CP")) == {
        "session_id": "s",
        "charging_station_id": "CP",
    }
    assert body_of(lambda client: client.update_session("s")) == {"meter_values": []}
    full = body_of(
        lambda client: client.replace_session(
            "s",
            [MeterValue(AT, 1, "SoC", "Percent", location="EV")],
            metadata={},
            managed=False,
            stop_reason="Local",
        )
    )
    assert full == {
        "metadata": {},
        "managed": False,
        "stop_reason": "Local",
        "meter_values": [
            {"timestamp": AT, "value": 1, "measurand": "SoC", "unit": "Percent", "location": "EV"}
        ],
    }


@pytest.mark.parametrize(
    ("name", "path"),
    [("a b", "a%20b"), ("50%", "50%25"), ("a?b#c", "a%3Fb%23c"), ("é", "%C3%A9"), ("e\u0301", "%C3%A9")],
)
def test_ids_are_encoded_in_paths(name: str, path: str) -> None:
    request = sent(lambda client: client.update_session(name))
    assert request.url.raw_path == f"/v1/sessions/{path}".encode()


@pytest.mark.parametrize("name", ["", ".", "..", "a/b", " a", "a\n", "x" * 256])
def test_ids_that_would_name_another_address_are_refused(name: str) -> None:
    for do in (
        lambda client: client.get_session(name),
        lambda client: client.delete_session(name),
        lambda client: client.update_session(name),
    ):
        course = Course([answer()], do)
        assert isinstance(course.error, ValueError)
        assert course.requests == []


def test_conditions_become_headers() -> None:
    request = sent(lambda client: client.update_session("s", if_match=3, idempotency_key="k"))
    assert (request.headers["If-Match"], request.headers["Idempotency-Key"]) == ('"3"', "k")
    assert sent(lambda client: client.delete_session("s", if_match="*")).headers["If-Match"] == "*"
    for key in ("", "a b", "ü", "x" * 256, "a\r\nb: c"):
        with pytest.raises(ValueError, match="idempotency_key"):
            ScriptedApi([answer()]).blocking(lambda c, k=key: c.update_session("s", idempotency_key=k), {})


def test_an_unchanged_session_is_none() -> None:
    course = Course([httpx.Response(304)], lambda client: client.get_session_if_changed("s", 2, raw=True))
    assert (course.error, course.result) == (None, None)
    (request,) = course.requests
    assert request.headers["If-None-Match"] == '"2"'
    assert request.url.query == b"raw=true"


def test_unchanged_thresholds_are_none() -> None:
    course = Course([httpx.Response(304)], lambda client: client.get_thresholds_if_changed(4))
    assert (course.error, course.result) == (None, None)
    (request,) = course.requests
    assert (request.method, request.url.path, request.headers["If-None-Match"]) == (
        "GET",
        "/v1/thresholds",
        '"4"',
    )


def test_filters_become_parameters() -> None:
    page = {"items": [], "total": 0, "page": 1, "page_size": 20, "next_cursor": None}
    course = Course(
        [answer(200, page)],
        lambda client: client.list_sessions(
            is_anomaly=True,
            was_anomalous=False,
            min_score=0.5,
            date_from=date(2026, 2, 27),
            date_to=datetime(2026, 2, 28, tzinfo=UTC),
            connector_id="1 & 2",
            page=2,
        ),
    )
    assert dict(course.requests[0].url.params) == {
        "is_anomaly": "true",
        "was_anomalous": "false",
        "min_score": "0.5",
        "date_from": "2026-02-27",
        "date_to": "2026-02-28T00:00:00+00:00",
        "connector_id": "1 & 2",
        "page": "2",
    }
    with pytest.raises(TypeError, match="colour"):
        ScriptedApi([answer()]).blocking(lambda client: client.list_sessions(colour="red"), {})  # type: ignore[call-arg]


def test_every_request_says_who_asks_and_for_what() -> None:
    request = sent(lambda client: client.update_session("s"))
    assert request.headers["Authorization"] == f"Bearer {KEY}"
    assert request.headers["Accept"] == "application/json"
    assert request.headers["Content-Type"] == "application/json"
    assert request.headers["User-Agent"].startswith("chargewatch-python/")


def test_large_bodies_are_compressed() -> None:
    many = [MeterValue(AT, i) for i in range(1000)]
    large = sent(lambda client: client.update_session("s", many))
    assert large.headers["Content-Encoding"] == "gzip"
    assert len(json.loads(gzip.decompress(large.content))["meter_values"]) == 1000
    assert len(large.content) < 8192
    small = sent(lambda client: client.update_session("s", many[:100]))
    assert "Content-Encoding" not in small.headers
    plain = sent(lambda client: client.update_session("s", many), compress_from=None)
    assert len(json.loads(plain.content)["meter_values"]) == 1000
    length = len(plain.content)
    for least, compressed in ((length, True), (length + 1, False)):
        request = sent(lambda client: client.update_session("s", many), compress_from=least)
        assert ("Content-Encoding" in request.headers) is compressed


def test_errors_say_what_the_problem_document_says() -> None:
    wrong = {
        "loc": ["meter_values", 0, "value"],
        "pointer": "/meter_values/0/value",
        "msg": "m",
        "type": "value_error",
    }
    body = {"code": "validation_error", "detail": "D.", "request_id": "r-9", "errors": [wrong], "title": "T"}
    course = Course([answer(422, body, Retry_After="7")], lambda client: client.update_session("s"))
    error = course.error
    assert type(error) is Unprocessable
    assert (error.status, error.code, error.detail, error.request_id) == (
        422,
        "validation_error",
        "D.",
        "r-9",
    )
    assert (error.retry_after, error.problem["title"]) == (7.0, "T")
    assert error.errors[0].loc == ("meter_values", 0, "value")
    assert str(error) == "422 validation_error: D. (request r-9)"


@pytest.mark.parametrize(
    ("status", "kind"), [(401, Unauthorized), (403, Forbidden), (404, NotFound), (413, TooLarge)]
)
def test_errors_of_proxies_are_of_the_same_kinds(status: int, kind: type[ApiError]) -> None:
    for content in (b"<html>", b"", b"\xff", b"[]", b'{"code": 5}'):
        response = httpx.Response(status, content=content, headers={"X-Request-Id": "r-2"})
        error = Course([response], lambda client: client.get_session("s")).error
        assert type(error) is kind
        assert (error.code, error.request_id, error.problem) == (f"http_{status}", "r-2", {})


def test_every_exception_of_a_call_is_a_call_failed() -> None:
    public = [getattr(package, name) for name in package.__all__]
    errors = [one for one in public if inspect.isclass(one) and issubclass(one, Exception)]
    of_calls = {one for one in errors if not one.__name__.startswith("Webhook")}
    assert all(issubclass(one, CallFailed) for one in of_calls)
    assert {one.__name__ for one in of_calls if issubclass(one, ApiError)} >= {"Conflict", "RateLimited"}


def pages() -> list[httpx.Response]:
    item = {
        **dict.fromkeys(("charging_station_id", "status"), "x"),
        **dict.fromkeys(("started_at", "created_at"), AT),
        **dict.fromkeys(("evse_id", "connector_id", "is_anomaly", "anomaly_score", "anomaly_confidence")),
        "last_analyzed_at": None,
        "anomaly_count": 0,
        "categories": [],
        "was_anomalous": False,
    }
    answers = []
    for number, cursor in ((0, "c 1"), (1, "c2"), (2, None)):
        items = [
            item | {"session_id": f"{number}{i}", "external_session_id": f"{number}{i}"} for i in range(2)
        ]
        page = {"items": items, "total": 6, "page": None, "page_size": 2, "next_cursor": cursor}
        answers.append(answer(200, page))
    return answers


def gathered(listed: Any, field: str) -> Any:
    """The values of a field in a walk; to be awaited where the walk is asynchronous."""
    if not hasattr(listed, "__aiter__"):
        return [getattr(item, field) for item in listed]

    async def rest() -> list[str]:
        return [getattr(item, field) async for item in listed]

    return rest()


def test_a_walk_goes_through_all_pages_by_their_cursors() -> None:
    course = Course(
        pages(), lambda client: gathered(client.iterate_sessions(is_anomaly=True, page=1), "session_id")
    )
    assert course.result == ["00", "01", "10", "11", "20", "21"]
    assert [dict(request.url.params) for request in course.requests] == [
        {"page_size": "100", "is_anomaly": "true", "page": "1"},
        {"page_size": "100", "is_anomaly": "true", "cursor": "c 1"},
        {"page_size": "100", "is_anomaly": "true", "cursor": "c2"},
    ]


@pytest.mark.parametrize("total", [0, 1, 2, 3, 4])
def test_a_walk_by_page_numbers_ends_with_the_last_page(total: int) -> None:
    counts = {"total_sessions": 1, "anomalous_sessions": 0, "max_anomaly_score": 0, "last_anomaly_at": None}
    stations = [counts | {"charging_station_id": str(n), "external_station_id": str(n)} for n in range(total)]
    answers = [
        answer(200, {"items": stations[at : at + 2], "total": total, "page": 1 + at // 2, "page_size": 2})
        for at in range(0, total + 2, 2)
    ]

    def walk(client: Any) -> Any:
        return gathered(client.iterate_stations(page_size=2), "external_station_id")

    course = Course(answers, walk)
    assert course.result == [str(n) for n in range(total)]
    pages = [request.url.params.get("page") for request in course.requests]
    assert pages == [None, "2", "3"][: max(1, -(-total // 2))]


def test_a_walk_asks_for_a_page_only_when_it_is_wanted() -> None:
    api = ScriptedApi([*pages()[:1], problem(401)])
    read: list[str] = []

    def walk(client: Client) -> None:
        for item in client.iterate_sessions():
            read.append(item.session_id)

    with pytest.raises(Unauthorized):
        api.blocking(walk, {})
    assert read == ["00", "01"]


@pytest.mark.parametrize("kind", [Client, AsyncClient])
@pytest.mark.parametrize(
    ("url", "key"),
    [("127.0.0.1:8000", "k"), ("", "k"), ("ftp://x", "k"), ("http://u:p@x", "k"), ("http://x", "")],
)
def test_addresses_and_keys_that_cannot_work_are_refused(kind: type[Client], url: str, key: str) -> None:
    with pytest.raises(ValueError, match="must"):
        kind(url, key)


def test_a_client_never_shows_its_key() -> None:
    assert "hunter2" not in repr(Client("http://x.test/api", "hunter2"))


def test_an_address_may_have_a_path() -> None:
    api = ScriptedApi([answer()])
    with Client("http://x.test/charge/", "k", transport=httpx.MockTransport(api)) as client:
        client.update_session("s")
    assert str(api.requests[0].url) == "http://x.test/charge/v1/sessions/s"


def test_methods_show_their_own_signature_and_words() -> None:
    with Client("http://x.test", "k") as client:
        assert list(inspect.signature(client.list_sessions).parameters)[:2] == ["page", "page_size"]
        assert "if_match" in inspect.signature(client.update_session).parameters
        assert (client.update_session.__doc__ or "").startswith("Adds readings")
        assert inspect.signature(client.update_session).return_annotation is package.SessionState


def test_the_examples_in_docstrings() -> None:
    for module in (bodies, errors):
        results = doctest.testmod(module)
        assert (results.failed, results.attempted) == (0, 1)


def test_one_client_serves_many_threads() -> None:
    api = ScriptedApi([answer()])
    failures: list[Exception] = []
    with Client("http://x.test", "k", transport=httpx.MockTransport(api)) as client:

        def push(number: int) -> None:
            try:
                for _ in range(20):
                    assert client.update_session(f"s-{number}").version == STATE["version"]
            except Exception as error:  # noqa: BLE001 - to be shown by the test
                failures.append(error)

        threads = [threading.Thread(target=push, args=(n,)) for n in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    assert failures == []
    assert len(api.requests) == 160
