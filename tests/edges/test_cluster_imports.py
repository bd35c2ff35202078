"""ImageStreamImports: how OpenShift is asked, what it answers, and how it is told from other clusters."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from listener.core.history import TagHistory, TagItem
from listener.core.imports import ImportAnswer, Imported
from listener.core.outcomes import End
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.edges.cluster import Cluster
from listener.errors import ClusterRefused, ClusterUnavailable
from tests.cluster_under_test import ClusterUnderTest
from tests.edges.api_server import Answer, api_server, refuses, says

WEB = Stream(StreamKey("shop", "web"), "u1", "42", 1, "", "", (), ())
PROD = SpecTag("prod", "DockerImage", "", "r.example/shop/web:1", scheduled=True, import_mode="PreserveOriginal")
NEW = SpecTag("new", "DockerImage", "", "r.example/shop/web:new", insecure=True, import_mode="")
DIGEST = "sha256:" + "a" * 64
SUCCESS = {"status": {"metadata": {}, "status": "Success"}, "tag": "prod", "image": {"metadata": {"name": DIGEST}}}
FAILURE = {"status": {"status": "Failure", "reason": "NotFound", "message": "not there", "code": 404}}


def answer(*images: Any, **status: Any) -> Answer:
    return says(201, {"kind": "ImageStreamImport", "metadata": {}, "spec": {}, "status": {"images": images, **status}})


async def test_each_tag_is_asked_for_with_its_own_policies(tmp_path: Path) -> None:
    async with api_server(tmp_path, answer(SUCCESS, FAILURE)) as server:
        await server.cluster.import_images(WEB, [PROD, NEW])
    (asked,) = server.asked
    assert (asked.method, asked.path) == (
        "POST",
        "/apis/image.openshift.io/v1/namespaces/shop/imagestreamimports",
    )
    assert json.loads(asked.body) == {
        "apiVersion": "image.openshift.io/v1",
        "kind": "ImageStreamImport",
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1"},
        "spec": {
            "import": True,
            "images": [
                {
                    "from": {"kind": "DockerImage", "name": "r.example/shop/web:1"},
                    "to": {"name": "prod"},
                    "importPolicy": {"insecure": False, "scheduled": True, "importMode": "PreserveOriginal"},
                    "referencePolicy": {"type": "Source"},
                },
                {
                    "from": {"kind": "DockerImage", "name": "r.example/shop/web:new"},
                    "to": {"name": "new"},
                    "importPolicy": {"insecure": True, "scheduled": False},
                    "referencePolicy": {"type": "Source"},
                },
            ],
        },
    }


async def test_the_answer_tells_of_each_tag_and_how_the_stream_is_now(tmp_path: Path) -> None:
    item = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": "r.example/shop/web", "image": DIGEST}
    stream = {
        "metadata": {"name": "web", "namespace": "shop", "uid": "u1", "resourceVersion": "43", "generation": 1},
        "status": {"tags": [{"tag": "prod", "items": [{**item, "generation": 2}]}]},
    }
    async with api_server(tmp_path, answer(SUCCESS, FAILURE, **{"import": stream})) as server:
        outcome = await server.cluster.import_images(WEB, [PROD, NEW])
    history = TagHistory("prod", (TagItem(item["created"], "r.example/shop/web", DIGEST, 2),))
    after = replace(WEB, resource_version="43", tags=(history,))
    images = (Imported(DIGEST), Imported(reason="NotFound", message="not there"))
    assert (outcome.end, outcome.stored) == (End.APPLIED, ImportAnswer(images, after))


@pytest.mark.parametrize(
    ("image", "expected"),
    [
        ({"status": {}}, Imported(message="unknown error prevented import")),
        ({"status": {"status": "Success"}}, Imported(message="unknown error prevented import")),
        ({**SUCCESS, **FAILURE}, Imported(reason="NotFound", message="not there")),
    ],
)
async def test_an_image_without_success_is_a_failure(tmp_path: Path, image: Any, expected: Imported) -> None:
    async with api_server(tmp_path, answer(image, **{"import": None})) as server:
        outcome = await server.cluster.import_images(WEB, [PROD])
    assert outcome.stored == ImportAnswer((expected,))


@pytest.mark.parametrize(
    ("given", "end", "may_pass"),
    [
        (refuses(404, "gone", details={"name": "web", "kind": "imagestream"}), End.GONE, False),
        (refuses(409, "it was updated"), End.STALE, False),
        (refuses(403, "you may not"), End.REFUSED, True),
        (refuses(422, "the registry is not allowed", details={"name": "web"}), End.REFUSED, False),
        (refuses(429, "later"), End.THROTTLED, False),
        (refuses(500, "a bug"), End.UNREACHABLE, False),
        (refuses(503, "no endpoints"), End.UNREACHABLE, False),
        (says(201, {"status": {}}), End.UNREACHABLE, False),
        (answer(), End.UNREACHABLE, False),
        (answer(SUCCESS, SUCCESS), End.UNREACHABLE, False),
        (says(201, b"no JSON"), End.UNREACHABLE, False),
    ],
)
async def test_every_other_answer_is_an_end(tmp_path: Path, given: Answer, end: End, may_pass: bool) -> None:
    async with api_server(tmp_path, given) as server:
        outcome = await server.cluster.import_images(WEB, [PROD])
    assert (outcome.end, outcome.may_pass, outcome.stored) == (end, may_pass, None)


# Discovery


def listing(*names: str) -> Answer:
    return says(200, {"resources": [{"name": name, "kind": "Any"} for name in names]})


@pytest.mark.parametrize(
    ("given", "expected"),
    [
        (listing("imagestreams", "imagestreamimports"), True),
        (listing("imagestreams", "imagestreams/status"), False),
        (refuses(404, "no such group"), False),
        (says(404, b"404 page not found\n"), False),
        (refuses(403, "not for you"), ClusterRefused),
        (refuses(401, "who are you"), ClusterRefused),
        (refuses(503, "the aggregated server is down"), ClusterUnavailable),
        (says(200, b"[]"), ClusterUnavailable),
    ],
)
async def test_discovery_tells_what_is_served(tmp_path: Path, given: Answer, expected: bool | type[Exception]) -> None:
    async with api_server(tmp_path, given) as server:
        asking = server.cluster.serves("image.openshift.io/v1", "imagestreamimports")
        if isinstance(expected, bool):
            assert await asking is expected
        else:
            with pytest.raises(expected):
                await asking
    assert [asked.path for asked in server.asked] == ["/apis/image.openshift.io/v1"]


async def test_a_cluster_with_our_definition_is_no_openshift(cluster: ClusterUnderTest) -> None:
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as ours:
        assert await ours.serves("image.openshift.io/v1", "imagestreams")
        assert not await ours.serves("image.openshift.io/v1", "imagestreamimports")
        assert not await ours.serves("no.such.group/v1", "imagestreamimports")
