"""The three ways in which CloudEvents are sent."""

from __future__ import annotations

import json
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Delivery
from listener.dialects import cloud_events
from listener.dialects.payload import Findings
from listener.errors import MalformedDelivery

EVENT: dict[str, Any] = {
    "specversion": "1.0",
    "type": "dev.example.pushed",
    "source": "/here",
    "subject": "web",
    "id": "e-1",
    "time": "2026-11-23T00:38:06.5Z",
    "operator": "admin",
    "data": {"a": 1},
}
HEADERS = {f"ce-{name}": value for name, value in EVENT.items() if name != "data"}


def read(body: object, **headers: str) -> tuple[list[cloud_events.CloudEvent], Findings]:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    findings = Findings()
    given = {name.replace("_", "-"): value for name, value in headers.items()}
    return list(cloud_events.read(Delivery(given, {}, raw), "a CloudEvent", findings)), findings


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param(EVENT, {"content-type": "application/cloudevents+json; charset=utf-8"}, id="structured"),
        pytest.param(EVENT, {"content-type": "application/json"}, id="structured, a proxy rewrote the type"),
        pytest.param(
            EVENT, {"content-type": "application/cloudevents+json", "ce-type": "other"}, id="structured, stray header"
        ),
        pytest.param([EVENT], {"content-type": "application/cloudevents-batch+json"}, id="batch"),
        pytest.param({"a": 1}, {"content-type": "application/json", **HEADERS}, id="binary"),
        pytest.param(
            {**EVENT, "data": None, "data_base64": "eyJhIjogMX0="}, {"content-type": "x"}, id="data as base64"
        ),
    ],
)
def test_all_forms_say_the_same(body: object, headers: dict[str, str]) -> None:
    (event,), _ = read(body, **headers)
    assert (event.type, event.source, event.subject, event.id) == ("dev.example.pushed", "/here", "web", "e-1")
    assert event.time == datetime(2026, 11, 23, 0, 38, 6, 500_000, tzinfo=UTC)
    assert event.attributes["operator"] == "admin"
    assert event.data == {"a": 1}


@pytest.mark.parametrize(
    ("value", "means"),
    [
        pytest.param("plain", "plain", id="as it is"),
        pytest.param("a%20b", "a b", id="percent"),
        pytest.param("Euro%20%E2%82%AC", "Euro €", id="UTF-8"),
        pytest.param("a%2520b", "a%20b", id="one round only"),
        pytest.param("100%", "100%", id="no code behind the sign"),
        pytest.param('"a b"', "a b", id="quoted"),
        pytest.param(r'"a \"b\" \\"', 'a "b" \\', id="escaped inside quotes"),
        pytest.param("%FF", "\ufffd", id="no UTF-8"),
    ],
)
def test_headers_are_decoded_once(value: str, means: str) -> None:
    (event,), _ = read(b"{}", **{**HEADERS, "ce-subject": value})
    assert event.subject == means


def test_an_event_without_data_is_legal() -> None:
    (event,), _ = read(b"", **HEADERS)
    assert event.data is None


def test_what_is_no_event_in_a_batch_is_refused_alone() -> None:
    found, findings = read([EVENT, 7, {"specversion": "1.0"}, {**EVENT, "data": None, "data_base64": "?"}, EVENT])
    assert len(found) == 2
    refused = findings.parsed().refused
    assert [remark.what for remark in refused] == ["events[1]", "events[2]", "events[3]"]
    assert "must be a JSON object" in refused[0].why
    assert '"data_base64" is no base64' in refused[2].why


@pytest.mark.parametrize(
    ("body", "headers", "told"),
    [
        pytest.param({}, {}, 'no "specversion" and "type"', id="no event"),
        pytest.param({"specversion": "1.0"}, {}, 'no "specversion" and "type"', id="no type"),
        pytest.param(7, {}, 'no "specversion" and "type"', id="a number"),
        pytest.param(b"x", {}, "no JSON", id="no JSON"),
        pytest.param(b"x", HEADERS, "no JSON", id="data is no JSON"),
        pytest.param(b"[" * 10_000, HEADERS, "nested too deeply", id="deep data"),
        pytest.param([7] * 10_001, {}, "at most 10000", id="a batch without end"),
    ],
)
def test_what_is_no_event_at_all_is_malformed(body: object, headers: dict[str, str], told: str) -> None:
    with pytest.raises(MalformedDelivery, match=told):
        read(body, **headers)


def test_data_within_data_may_not_be_deeper_than_a_body() -> None:
    deep = "W1tb" * 40 + "XV1d" * 40  # [[[ and ]]]
    _, findings = read({**EVENT, "data": None, "data_base64": deep})
    # One event that is not in a batch: its position is 0 all the same.
    assert "nested too deeply" in findings.parsed().refused[0].why


@pytest.mark.parametrize(
    ("body", "headers", "types"),
    [
        pytest.param(EVENT, {}, ("dev.example.pushed",), id="structured"),
        pytest.param([EVENT, 7, EVENT], {}, ("dev.example.pushed",) * 2, id="batch"),
        pytest.param({}, HEADERS, ("dev.example.pushed",), id="binary"),
        pytest.param({"type": "x"}, {}, (), id="no version"),
        pytest.param(b"\xff", {}, (), id="no JSON"),
        pytest.param(b"[" * 10_000, {}, (), id="deep"),
    ],
)
def test_types_are_told_without_raising(body: object, headers: dict[str, str], types: tuple[str, ...]) -> None:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    assert cloud_events.types(Delivery(headers, {}, raw)) == types
