"""Artifactory's predefined webhook."""

from __future__ import annotations

from typing import Any

import pytest

from listener.core.events import Parsed, PushEvent
from listener.dialects import jfrog
from listener.errors import MalformedDelivery
from tests.dialects.bodies import DIGEST, GONE, SIGNATURE_TAG, changed, delivery, only_ignored, only_refused, pushed

BODY = {
    "domain": "docker",
    "event_type": "pushed",
    "data": {
        "repo_key": "docker-local",
        "path": "team/web/v1/manifest.json",
        "name": "manifest.json",
        "sha256": "a" * 64,
        "size": 1206,
        "image_name": "team/web",
        "image_type": "docker",
        "tag": "v1",
    },
    "subscription_key": "images",
    "jpd_origin": "https://acme.jfrog.io",
    "source": "jfrog/ci-bot",
}
PUSHED = PushEvent("acme.jfrog.io", "docker-local/team/web", "v1", DIGEST, None, None, "jfrog/ci-bot", None)


def parse(changes: dict[str, object]) -> Parsed:
    return jfrog.parse(delivery(changed(BODY, changes)))


@pytest.mark.parametrize(
    ("changes", "becomes"),
    [
        pytest.param({}, {}, id="as it is"),
        pytest.param({"data.name": "list.manifest.json"}, {}, id="index"),
        pytest.param({"data.name": GONE, "data.image_type": GONE}, {}, id="an older payload"),
        pytest.param({"data.name": "layer.tar"}, {"digest": None}, id="the checksum of another file"),
        pytest.param({"data.sha256": GONE}, {"digest": None}, id="no checksum"),
        pytest.param({"data.sha256": DIGEST}, {}, id="a checksum that is a digest"),
        pytest.param({"jpd_origin": ""}, {"registry": None}, id="no base URL"),
        pytest.param({"jpd_origin": GONE}, {"registry": None}, id="no origin"),
        pytest.param(
            {"jpd_origin": "http://JFrog.example.com:8082/artifactory/"},
            {"registry": "jfrog.example.com:8082"},
            id="a port and a path",
        ),
        pytest.param(
            {"jpd_origin": "https://acme.jfrog.io@evil.example.com"},
            {"registry": "acme.jfrog.io@evil.example.com"},
            id="a user in front of the host makes it another",
        ),
        pytest.param(
            {"data.repo_key": "docker-remote-cache"}, {"repository": "docker-remote-cache/team/web"}, id="cache"
        ),
        pytest.param({"source": GONE}, {"actor": None}, id="by nobody"),
    ],
)
def test_a_push(changes: dict[str, object], becomes: dict[str, Any]) -> None:
    assert parse(changes) == pushed(PUSHED, **becomes)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"event_type": "deleted"}, "only an image that was pushed", id="deleted"),
        pytest.param({"event_type": "promoted"}, "only an image that was pushed", id="promoted"),
        pytest.param({"domain": "artifact", "event_type": "deployed"}, "only an image", id="a file"),
        pytest.param({"domain": "artifact"}, "only an image", id="another domain"),
        pytest.param({"data.tag": DIGEST}, "by digest", id="tag is a digest"),
        pytest.param({"data.tag": SIGNATURE_TAG}, "a signature", id="signature"),
    ],
)
def test_what_is_not_for_us_is_ignored(changes: dict[str, object], why: str) -> None:
    assert only_ignored(parse(changes), why)


@pytest.mark.parametrize(
    ("changes", "why"),
    [
        pytest.param({"data": GONE}, "the repository is missing", id="no data"),
        pytest.param({"data.repo_key": GONE}, "the repository is missing", id="half a name"),
        pytest.param({"data.tag": ""}, "the tag is missing", id="empty tag"),
        pytest.param({"data.tag": 1}, "a tag must be a text", id="tag is a number"),
        pytest.param({"data.image_name": "a b"}, "no repository name", id="no name by the grammar"),
        pytest.param({"data.sha256": "a" * 63}, "the digest is none", id="short checksum"),
        pytest.param({"data.sha256": "A" * 64}, "the digest is none", id="checksum in capitals"),
        pytest.param({"data.sha256": 7}, "the digest is none", id="checksum is a number"),
    ],
)
def test_an_unusable_push_is_refused(changes: dict[str, object], why: str) -> None:
    assert only_refused(parse(changes), why)


@pytest.mark.parametrize("body", [b"", [], {}, {"domain": "docker"}, {"event_type": "pushed"}, BODY["data"]])
def test_another_body_is_malformed(body: object) -> None:
    with pytest.raises(MalformedDelivery, match="JFrog"):
        jfrog.parse(delivery(body))


def test_recognises() -> None:
    assert jfrog.recognises(delivery(BODY))
    assert jfrog.recognises(delivery(b"", {"x-jfrog-event-auth": "x"}))
    assert not jfrog.recognises(delivery(changed(BODY, {"data": GONE})))
    assert not jfrog.recognises(delivery(b"[]"))
