"""Harbor's two payloads."""

from __future__ import annotations

from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import harbor
from listener.errors import MalformedDelivery
from tests.dialects.bodies import DIGEST, GONE, SIGNATURE_TAG, changed, delivery, only_ignored, only_refused, pushed

RESOURCE = {"digest": DIGEST, "tag": "v1", "resource_url": "harbor.example.com:8443/shop/back/api:v1"}
DATA = {
    "resources": [RESOURCE],
    "repository": {"name": "back/api", "namespace": "shop", "repo_full_name": "shop/back/api", "repo_type": "private"},
}
DEFAULT = {"type": "PUSH_ARTIFACT", "occur_at": 1795394292, "operator": "robot$ci", "event_data": DATA}
CLOUD_EVENT = {
    "specversion": "1.0",
    "id": "e-1",
    "requestid": "r-1",
    "source": "/projects/2/webhook/policies/15",
    "type": "harbor.artifact.pushed",
    "datacontenttype": "application/json",
    "time": "2026-11-23T00:38:12Z",
    "data": DATA,
    "operator": "robot$ci",
}
PUSHED = PushEvent(
    registry="harbor.example.com:8443",
    repository="shop/back/api",
    tag="v1",
    digest=DIGEST,
    media_type=None,
    timestamp=datetime(2026, 11, 23, 0, 38, 12, tzinfo=UTC),
    actor="robot$ci",
    event_id=None,
)


def structured(**changes: Any) -> Delivery:
    headers = {"content-type": "application/cloudevents+json"}
    return delivery(changed(CLOUD_EVENT, changes), headers)


def parse(changes: dict[str, object]) -> Parsed:
    return harbor.parse(delivery(changed(DEFAULT, changes)))


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        pytest.param({}, {}, id="as it is"),
        pytest.param({"type": "pushImage"}, {}, id="Harbor 1"),
        pytest.param({"operator": "harbor-jobservice"}, {"actor": "harbor-jobservice"}, id="by replication"),
        pytest.param({"operator": ""}, {"actor": None}, id="by nobody"),
        pytest.param({"occur_at": GONE}, {"timestamp": None}, id="no time"),
        pytest.param({"occur_at": 0}, {"timestamp": None}, id="time 0"),
        pytest.param({"occur_at": 10**300}, {"timestamp": None}, id="a time nobody lives to see"),
        pytest.param({"event_data.resources.0.resource_url": GONE}, {"registry": None}, id="no host"),
        pytest.param(
            {"event_data.resources.0.resource_url": "https://H.example.com/shop/back/api:v1"},
            {"registry": "h.example.com"},
            id="host with a scheme, in capitals",
        ),
        pytest.param({"event_data.resources.0.digest": ""}, {"digest": None}, id="no digest"),
        pytest.param({"event_data.repository.repo_full_name": GONE}, {}, id="the name in two pieces"),
        pytest.param({"event_data.resources.0.tag": "RC1"}, {"tag": "RC1"}, id="capitals in the tag"),
        pytest.param({"event_data.custom_attributes": {"a": [1]}}, {}, id="unknown members"),
    ],
)
def test_a_push_of_the_default_payload(changes: dict[str, object], becomes: dict[str, Any]) -> None:
    assert parse(changes) == pushed(PUSHED, **becomes)


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(structured(), id="structured"),
        pytest.param(delivery(CLOUD_EVENT, {"content-type": "application/json"}), id="a proxy rewrote the type"),
        pytest.param(
            delivery(
                DATA,
                {
                    "content-type": "application/json",
                    "ce-type": "harbor.artifact.pushed",
                    "ce-id": "e-1",
                    "ce-time": "2026-11-23T00:38:12Z",
                    "ce-operator": "robot$ci",
                },
            ),
            id="binary, as a broker sends it on",
        ),
    ],
)
def test_a_push_as_a_cloud_event_has_an_id(found: Delivery) -> None:
    assert harbor.recognises(found)
    assert harbor.parse(found) == pushed(PUSHED, event_id="e-1")


def test_every_resource_counts_and_a_bad_one_is_refused_alone() -> None:
    resources = [
        RESOURCE,
        changed(RESOURCE, {"tag": "a/b"}),
        "v2",
        changed(RESOURCE, {"tag": "v3"}),
        changed(RESOURCE, {"tag": DIGEST}),
    ]
    parsed = parse({"event_data.resources": resources})
    assert [found.tag for found in parsed.pushes] == ["v1", "v3"]
    assert [remark.what for remark in parsed.refused] == ["push shop/back/api:a/b", "resources[2]"]
    assert [remark.what for remark in parsed.ignored] == [f"push shop/back/api@{DIGEST}"]


@pytest.mark.parametrize(
    "kind",
    [
        "PULL_ARTIFACT",
        "DELETE_ARTIFACT",
        "SCANNING_COMPLETED",
        "SCANNING_STOPPED",
        "SCANNING_FAILED",
        "QUOTA_EXCEED",
        "QUOTA_WARNING",
        "REPLICATION",
        "TAG_RETENTION",
        "pullImage",
        "CREATE_TAG",
        "push_artifact",
    ],
)
def test_only_a_pushed_artifact_is_a_push(kind: str) -> None:
    assert only_ignored(parse({"type": kind}), "only a pushed artifact")
    assert only_ignored(parse({"type": kind, "event_data": {}}), "only a pushed artifact")


@pytest.mark.parametrize(
    "kind",
    [
        "harbor.artifact.pulled",
        "harbor.artifact.deleted",
        "harbor.scan.completed",
        "harbor.quota.exceeded",
        "harbor.replication.status.changed",
        "harbor.tag_retention.finished",
    ],
)
def test_only_a_pushed_artifact_is_a_push_among_cloud_events(kind: str) -> None:
    assert only_ignored(harbor.parse(structured(type=kind)), "only a pushed artifact")


@pytest.mark.parametrize(
    ("tag", "why"),
    [
        pytest.param(DIGEST, "by digest", id="a digest in the place of the tag"),
        pytest.param("", "by digest", id="empty tag"),
        pytest.param(None, "by digest", id="null"),
        pytest.param(SIGNATURE_TAG, "a signature", id="signature"),
    ],
)
def test_what_no_workload_can_follow_is_ignored(tag: object, why: str) -> None:
    assert only_ignored(parse({"event_data.resources.0.tag": tag}), why)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"event_data.resources": []}, '"resources" are missing', id="no resources"),
        pytest.param({"event_data": GONE}, '"resources" are missing', id="no data"),
        pytest.param({"event_data": "x"}, '"resources" are missing', id="data of another type"),
        pytest.param({"event_data.repository": GONE}, "the repository is missing", id="no repository"),
        pytest.param({"event_data.repository.repo_full_name": "../x"}, "no repository name", id="path traversal"),
        pytest.param({"event_data.resources.0.tag": 7}, "a tag must be a text", id="tag is a number"),
        pytest.param({"event_data.resources.0.tag": "sha256:short"}, "no tag", id="no digest either"),
        pytest.param({"event_data.resources.0.digest": "sha256:short"}, "the digest is none", id="short digest"),
    ],
)
def test_an_unusable_push_is_refused(changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(changes), why)


@pytest.mark.parametrize(
    "body",
    [
        pytest.param(b"", id="empty"),
        pytest.param([DEFAULT], id="list"),
        pytest.param({"event_data": DATA}, id="no type"),
        pytest.param({"type": 1}, id="type is a number"),
        pytest.param(changed(DEFAULT, {"event_data.resources": [0] * 10_001}), id="too many resources"),
    ],
)
def test_another_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedDelivery):
        harbor.parse(delivery(body))


@pytest.mark.parametrize(
    ("body", "known"),
    [(DEFAULT, True), (CLOUD_EVENT, True), ({"type": "x"}, False), ([], False), (b"\xff", False)],
    ids=["default", "CloudEvent", "another", "list", "no JSON"],
)
def test_recognises(body: object, known: bool) -> None:
    assert harbor.recognises(delivery(body)) is known


def test_recognises_no_other_cloud_event() -> None:
    assert not harbor.recognises(structured(type="zotregistry.image.updated"))
