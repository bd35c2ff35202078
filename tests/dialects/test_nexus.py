"""Nexus' webhooks of repositories."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Parsed, PushEvent
from listener.dialects import nexus
from listener.errors import MalformedDelivery
from tests.dialects.bodies import DIGEST, GONE, SIGNATURE_TAG, changed, delivery, only_ignored, only_refused, pushed

HEADERS = {"x-nexus-webhook-id": "rm:repository:component", "x-nexus-webhook-delivery": "d-1"}
COMMON = {
    "timestamp": "2026-11-23T00:38:12.345+00:00",
    "nodeId": "E57A174B",
    "initiator": "ci-bot/203.0.113.40",
    "repositoryName": "docker-hosted",
    "action": "CREATED",
}
COMPONENT = {**COMMON, "component": {"id": "1", "format": "docker", "name": "team/web", "version": "v1"}}
ASSET = {**COMMON, "asset": {"id": "1", "format": "docker", "name": "/v2/team/web/manifests/v1"}}
PUSHED = PushEvent(
    registry=None,
    repository="team/web",
    tag="v1",
    digest=None,
    media_type=None,
    timestamp=datetime(2026, 11, 23, 0, 38, 12, 345_000, tzinfo=UTC),
    actor="ci-bot",
    event_id="d-1",
)


def parse(body: dict[str, Any], changes: dict[str, object], headers: dict[str, str] | None = None) -> Parsed:
    return nexus.parse(delivery(changed(body, changes), HEADERS if headers is None else headers))


@pytest.mark.parametrize(
    ("body", "changes", "becomes"),
    [
        pytest.param(COMPONENT, {}, {}, id="component"),
        pytest.param(COMPONENT, {"action": "UPDATED"}, {}, id="a moved tag"),
        pytest.param(COMPONENT, {"timestamp": "2026-11-23T00:38:12.345+0000"}, {}, id="a zone without a colon"),
        pytest.param(COMPONENT, {"timestamp": GONE}, {"timestamp": None}, id="no time"),
        pytest.param(COMPONENT, {"initiator": "anonymous"}, {"actor": "anonymous"}, id="no address"),
        pytest.param(COMPONENT, {"initiator": GONE}, {"actor": None}, id="by nobody"),
        pytest.param(ASSET, {}, {}, id="asset"),
        pytest.param(ASSET, {"asset.name": "v2/team/web/manifests/v1"}, {}, id="asset without the first slash"),
        pytest.param(
            ASSET, {"asset.name": "/v2/v2/manifests/manifests/v1"}, {"repository": "v2/manifests"}, id="odd names"
        ),
        pytest.param(ASSET, {"component": None}, {}, id="a null beside it"),
    ],
)
def test_a_push(body: dict[str, Any], changes: dict[str, object], becomes: dict[str, Any]) -> None:
    assert parse(body, changes) == pushed(PUSHED, **becomes)


def test_a_push_without_the_headers_has_no_id() -> None:
    assert parse(COMPONENT, {}, {}) == pushed(PUSHED, event_id=None)


@pytest.mark.parametrize(
    ("body", "changes", "why"),
    [
        pytest.param(COMPONENT, {"action": "DELETED"}, "only what was created", id="deleted"),
        pytest.param({**COMMON, "components": ["1"]}, {"action": "PURGED"}, "only what was created", id="purged"),
        pytest.param(COMPONENT, {"component.format": "maven2"}, "format maven2 is not docker", id="maven"),
        pytest.param(ASSET, {"asset.format": GONE}, "format unknown", id="no format"),
        pytest.param(COMPONENT, {"component.version": DIGEST}, "by digest", id="component by digest"),
        pytest.param(ASSET, {"asset.name": f"/v2/team/web/manifests/{DIGEST}"}, "by digest", id="asset by digest"),
        pytest.param(ASSET, {"asset.name": f"/v2/-/blobs/{DIGEST}"}, "no manifest", id="blob"),
        pytest.param(ASSET, {"asset.name": "/manifests/v1"}, "no manifest", id="another path"),
        pytest.param(ASSET, {"asset.name": GONE}, "no manifest", id="no path"),
        pytest.param(COMPONENT, {"component.version": SIGNATURE_TAG}, "a signature", id="signature"),
    ],
)
def test_what_is_not_for_us_is_ignored(body: dict[str, Any], changes: dict[str, object], why: str) -> None:
    assert only_ignored(parse(body, changes), why)


@pytest.mark.parametrize("kind", ["rm:audit", "rm:repository", "iq:policyManagement"])
def test_other_webhooks_are_ignored(kind: str) -> None:
    found = delivery({"nodeId": "x", "audit": {}}, {"x-nexus-webhook-id": kind})
    assert only_ignored(nexus.parse(found), "only components and assets")


@pytest.mark.parametrize(
    ("body", "changes", "why"),
    [
        pytest.param(COMMON, {}, 'neither "component" nor "asset"', id="a push of nothing"),
        pytest.param(
            COMPONENT, {"component.name": GONE, "repositoryName": GONE}, "repository is missing", id="no name"
        ),
        pytest.param(COMPONENT, {"component.version": GONE}, "the tag is missing", id="no version"),
        pytest.param(COMPONENT, {"component.version": 1.0}, "a tag must be a text", id="version is a number"),
        pytest.param(COMPONENT, {"component.name": "team//web"}, "no repository name", id="no name by the grammar"),
        pytest.param(ASSET, {"asset.name": "/v2/../manifests/v1"}, "no repository name", id="path traversal"),
    ],
)
def test_an_unusable_push_is_refused(body: dict[str, Any], changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(body, changes), why)


@pytest.mark.parametrize("body", [b"", [], {}, {"action": 1}])
def test_another_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedDelivery, match="Nexus"):
        nexus.parse(delivery(body, HEADERS))


def test_is_recognised_by_its_header_alone() -> None:
    assert nexus.recognises(delivery(b"", HEADERS))
    assert not nexus.recognises(delivery(COMPONENT))
