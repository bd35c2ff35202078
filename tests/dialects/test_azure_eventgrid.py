"""Event Grid: two schemas, lists, and the proof that an address is ours."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed
from listener.dialects import azure_eventgrid
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64
PUSHED = "Microsoft.ContainerRegistry.ImagePushed"
VALIDATION = "Microsoft.EventGrid.SubscriptionValidationEvent"


def data(**changes: object) -> dict[str, Any]:
    return {
        "id": "inner",
        "timestamp": "2026-11-23T00:38:12.3Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": DIGEST,
            "repository": "shop/web",
            "tag": "v1",
        },
        "request": {"host": "acme.azurecr.io"},
    } | changes


def grid(kind: str = PUSHED, **changes: object) -> dict[str, Any]:
    return {"id": "outer", "eventType": kind, "eventTime": "2026-11-23T00:38:13Z", "data": data()} | changes


def cloud(**changes: object) -> dict[str, Any]:
    return {"specversion": "1.0", "id": "outer", "type": PUSHED, "source": "/s", "data": data()} | changes


def delivery(body: object, **headers: str) -> Delivery:
    raw = body if isinstance(body, bytes) else json.dumps(body).encode()
    return Delivery({name.replace("_", "-"): value for name, value in headers.items()}, {}, raw)


def parse(body: object, **headers: str) -> Parsed:
    return azure_eventgrid.parse(delivery(body, **headers))


@pytest.mark.parametrize(
    ("body", "headers"),
    [
        pytest.param([grid()], {"aeg_event_type": "Notification"}, id="Event Grid's schema"),
        pytest.param(grid(), {}, id="alone"),
        pytest.param(cloud(), {}, id="CloudEvent"),
        pytest.param([cloud()], {}, id="CloudEvents in a list"),
        pytest.param(data(), {"ce_type": PUSHED, "ce_id": "outer", "ce_specversion": "1.0"}, id="binary CloudEvent"),
    ],
)
def test_a_push_in_every_schema(body: object, headers: dict[str, str]) -> None:
    assert azure_eventgrid.recognises(delivery(body, **headers))
    (push,) = parse(body, **headers).pushes
    assert (push.registry, push.repository, push.tag, push.digest) == ("acme.azurecr.io", "shop/web", "v1", DIGEST)
    assert push.event_id == "outer"


def test_without_an_id_outside_the_inner_one_counts() -> None:
    assert parse([grid(id=None)]).pushes[0].event_id == "inner"


def test_every_event_of_a_batch_counts_in_order() -> None:
    tags = ["c", "a", "b"]
    batch = [grid(data=data(target=data()["target"] | {"tag": tag})) for tag in tags]
    assert [push.tag for push in parse(batch).pushes] == tags


@pytest.mark.parametrize(
    "event",
    [
        pytest.param(grid("Microsoft.ContainerRegistry.ImageDeleted"), id="deletion that says push inside"),
        pytest.param(grid("Microsoft.ContainerRegistry.ChartPushed"), id="chart"),
        pytest.param(grid("Microsoft.Storage.BlobCreated"), id="of another service"),
        pytest.param(cloud(type="Microsoft.ContainerRegistry.ImageDeleted"), id="deletion as CloudEvent"),
        pytest.param(grid(data=data(target=data()["target"] | {"tag": ""})), id="by digest"),
        pytest.param(grid(data=data(action="delete")), id="contradicts itself"),
    ],
)
def test_what_is_not_for_us_is_ignored(event: dict[str, Any]) -> None:
    parsed = parse([event, grid()])
    assert len(parsed.pushes) == len(parsed.ignored) == 1
    assert parsed.refused == ()


@pytest.mark.parametrize(
    ("event", "why"),
    [
        pytest.param(7, '"eventType"', id="a number"),
        pytest.param({}, '"eventType"', id="empty"),
        pytest.param(grid(data=None), '"data" must be', id="no data"),
        pytest.param(grid(data="x"), '"data" must be', id="data is a text"),
        pytest.param(grid(data=data(action=None)), '"action" is missing', id="no action inside"),
        pytest.param(grid(VALIDATION, data={}), "validationCode", id="a proof without a code"),
        pytest.param(grid(VALIDATION, data=None), "validationCode", id="a proof without data"),
        pytest.param(grid(VALIDATION, data={"validationCode": "x" * 257}), "validationCode", id="a long code"),
        pytest.param(grid(VALIDATION, data={"validationCode": "a\nb"}), "validationCode", id="a code in two lines"),
    ],
)
def test_a_bad_event_is_refused_alone(event: object, why: str) -> None:
    parsed = parse([event, grid()])
    assert len(parsed.pushes) == 1
    assert why in parsed.refused[0].why
    assert parsed.reply is None


def test_the_code_is_sent_back() -> None:
    proof = grid(VALIDATION, data={"validationCode": "512d38b6", "validationUrl": "https://evil.example.test/"})
    parsed = parse([proof], aeg_event_type="SubscriptionValidation")
    assert parsed.reply == {"validationResponse": "512d38b6"}
    assert (parsed.pushes, parsed.refused, parsed.confirm) == ((), (), None)


@pytest.mark.parametrize("body", [b"", b"x", b"7", b'"x"'])
def test_what_is_no_list_and_no_event_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery, match="Event Grid"):
        parse(body, aeg_event_type="Notification")


@pytest.mark.parametrize(
    ("body", "headers", "known"),
    [
        pytest.param(b"", {"aeg_event_type": "Notification"}, True, id="header"),
        pytest.param([grid()], {}, True, id="schema"),
        pytest.param([{"source": "aws.ecr"}], {}, False, id="Amazon's list"),
        pytest.param([{"repository": "a", "tag": "b"}], {}, False, id="our own list"),
        pytest.param(cloud(type="zotregistry.image.updated"), {}, False, id="another's CloudEvent"),
        pytest.param([], {}, False, id="empty list"),
        pytest.param(b"\xff", {}, False, id="no JSON"),
    ],
)
def test_recognises(body: object, headers: dict[str, str], known: bool) -> None:
    assert azure_eventgrid.recognises(delivery(body, **headers)) is known
