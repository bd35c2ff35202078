"""Azure's own webhooks: what distribution's events do not already show."""

from __future__ import annotations

import json
from typing import Any

import pytest

from listener.core.events import Delivery
from listener.dialects import azure_acr
from listener.errors import MalformedDelivery

DIGEST = "sha256:" + "a" * 64


def event(**changes: object) -> dict[str, Any]:
    made = {
        "id": "e-1",
        "timestamp": "2026-11-23T00:38:12.343145347Z",
        "action": "push",
        "target": {
            "mediaType": "application/vnd.oci.image.index.v1+json",
            "digest": DIGEST,
            "repository": "shop/web",
            "tag": "v1",
        },
        "request": {"host": "Acme.azurecr.io"},
    } | changes
    return {key: value for key, value in made.items() if value is not None}


def delivery(body: object) -> Delivery:
    return Delivery({}, {}, body if isinstance(body, bytes) else json.dumps(body).encode())


def test_a_push() -> None:
    (push,) = azure_acr.parse(delivery(event())).pushes
    assert (push.registry, push.repository, push.tag, push.digest) == ("acme.azurecr.io", "shop/web", "v1", DIGEST)
    assert push.actor is None


@pytest.mark.parametrize("action", ["delete", "quarantine", "chart_push", "chart_delete", "ping", "to come"])
def test_other_actions_are_ignored(action: str) -> None:
    parsed = azure_acr.parse(delivery(event(action=action)))
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert parsed.ignored[0].why == "only a push moves a tag"


@pytest.mark.parametrize("body", [b"", b" \n"])
def test_a_ping_may_have_no_body(body: bytes) -> None:
    parsed = azure_acr.parse(delivery(body))
    assert (parsed.pushes, parsed.refused) == ((), ())
    assert parsed.ignored[0].what == "ping"


def test_an_unusable_push_is_refused() -> None:
    (remark,) = azure_acr.parse(delivery(event(target={"tag": "v1", "repository": "shop/web"}))).refused
    assert remark.what == "push shop/web:v1"


@pytest.mark.parametrize("body", [b"x", b"[]", b"{}", b'{"events": []}', b'{"action": 1}'])
def test_what_is_no_event_is_malformed(body: bytes) -> None:
    with pytest.raises(MalformedDelivery, match='"action" and "target"'):
        azure_acr.parse(delivery(body))


@pytest.mark.parametrize(
    ("body", "known"),
    [
        pytest.param(event(), True, id="push"),
        pytest.param(event(request=None), True, id="chart, without a request"),
        pytest.param(event(target=None, action="ping"), True, id="ping"),
        pytest.param({"action": "created", "package": {}}, False, id="Gitea without its headers"),
        pytest.param({"action": "INSERT", "digest": "x"}, False, id="Google"),
        pytest.param({"target": {"a": 1}}, False, id="no action"),
        pytest.param([event()], False, id="list"),
        pytest.param(b"", False, id="empty"),
    ],
)
def test_recognises(body: object, known: bool) -> None:
    assert azure_acr.recognises(delivery(body)) is known
