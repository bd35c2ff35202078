"""What a person writes on a command line, a row per form."""

from __future__ import annotations

import pytest

from listener.core import names
from listener.core.names import InvalidName, Kind, TagName, TagSource
from listener.core.streams import StreamKey

DIGEST = "sha256:" + "a" * 64


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("web:prod", TagName("", "web", "prod"), id="stream and tag"),
        pytest.param("web", TagName("", "web", ""), id="stream alone"),
        pytest.param("shop/web:prod", TagName("shop", "web", "prod"), id="with a namespace"),
        pytest.param("web:_v1.0-rc_1", TagName("", "web", "_v1.0-rc_1"), id="all that a tag may hold"),
        pytest.param("web:" + "a" * 128, TagName("", "web", "a" * 128), id="the longest tag"),
        pytest.param("my.web-app:1", TagName("", "my.web-app", "1"), id="dots and dashes in the stream"),
    ],
)
def test_a_tag_of_a_stream(text: str, expected: TagName) -> None:
    assert names.parse_tag(text) == expected


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("web:", "the tag is missing after the colon", id="a colon and no tag"),
        pytest.param("web:-x", "'-x' is no tag", id="a tag that begins with a dash"),
        pytest.param("web:.x", "'.x' is no tag", id="a tag that begins with a dot"),
        pytest.param("web:a:b", "'a:b' is no tag", id="two colons"),
        pytest.param("web:" + "a" * 129, "is no tag", id="a tag that is too long"),
        pytest.param("web:über", "is no tag", id="a letter outside ASCII"),
        pytest.param(":prod", "'' is no name of a stream", id="no stream"),
        pytest.param("", "'' is no name of a stream", id="nothing"),
        pytest.param("Web:prod", "'Web' is no name of a stream", id="a capital"),
        pytest.param("a--b:prod", "'a--b' is no name of a stream", id="two dashes"),
        pytest.param("/web:prod", "'' is no namespace", id="an empty namespace"),
        pytest.param("a/b/web:prod", "'a/b' is no namespace", id="two slashes"),
        pytest.param("../web:prod", "'..' is no namespace", id="a way out"),
        pytest.param(f"web@{DIGEST}", "is no name of a stream", id="a digest"),
    ],
)
def test_what_is_no_tag_of_a_stream(text: str, why: str) -> None:
    with pytest.raises(InvalidName) as refused:
        names.parse_tag(text)
    assert why in str(refused.value)


def test_a_tag_that_no_registry_would_take_can_be_named_to_delete_it() -> None:
    assert names.parse_tag("web:-x", any_tag=True) == TagName("", "web", "-x")


def test_a_name_without_a_namespace_is_completed_and_one_with_a_namespace_stays() -> None:
    assert names.parse_tag("web:prod").within("shop").full == "shop/web:prod"
    assert names.parse_tag("shop/web:prod").within("other").key == StreamKey("shop", "web")


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("web:1", TagSource(Kind.IMAGE_STREAM_TAG, "1", "web"), id="a tag of a stream"),
        pytest.param(
            "shop/web:1", TagSource(Kind.IMAGE_STREAM_TAG, "1", "web", "shop"), id="a tag of another namespace"
        ),
        pytest.param(f"web@{DIGEST}", TagSource(Kind.IMAGE_STREAM_IMAGE, DIGEST, "web"), id="an image of a stream"),
        pytest.param(
            "shop/web@sha256:ab", TagSource(Kind.IMAGE_STREAM_IMAGE, "sha256:ab", "web", "shop"), id="half a digest"
        ),
        pytest.param("ruby", TagSource(Kind.DOCKER_IMAGE, "ruby"), id="a name alone"),
        pytest.param("library/ruby", TagSource(Kind.DOCKER_IMAGE, "library/ruby"), id="a path alone"),
        pytest.param(
            "quay.io/team/web:1", TagSource(Kind.DOCKER_IMAGE, "quay.io/team/web:1"), id="a registry by its dot"
        ),
        pytest.param("r:5000/web:1", TagSource(Kind.DOCKER_IMAGE, "r:5000/web:1"), id="a registry by its port"),
        pytest.param("localhost/web:1", TagSource(Kind.DOCKER_IMAGE, "localhost/web:1"), id="localhost"),
        pytest.param(f"quay.io/web@{DIGEST}", TagSource(Kind.DOCKER_IMAGE, f"quay.io/web@{DIGEST}"), id="by digest"),
    ],
)
def test_the_kind_of_a_source_by_its_looks(text: str, expected: TagSource) -> None:
    assert names.parse_source(text) == expected


@pytest.mark.parametrize(
    ("text", "kind", "expected"),
    [
        pytest.param(
            "web:1", Kind.DOCKER_IMAGE, TagSource(Kind.DOCKER_IMAGE, "web:1"), id="an image of the default registry"
        ),
        pytest.param("web", Kind.IMAGE_STREAM_TAG, TagSource(Kind.IMAGE_STREAM_TAG, "latest", "web"), id="latest"),
        pytest.param(
            "web@ab",
            Kind.IMAGE_STREAM_IMAGE,
            TagSource(Kind.IMAGE_STREAM_IMAGE, "ab", "web"),
            id="an image of a stream",
        ),
    ],
)
def test_the_kind_of_a_source_as_it_is_said(text: str, kind: Kind, expected: TagSource) -> None:
    assert names.parse_source(text, kind) == expected


@pytest.mark.parametrize(
    ("text", "kind", "why"),
    [
        pytest.param("https://quay.io/web", None, "without a scheme", id="a scheme"),
        pytest.param("Ruby", None, "lower case", id="a capital"),
        pytest.param("web@", None, "names no image of a stream", id="no digest"),
        pytest.param("web@a@b", None, "names no image of a stream", id="two digests"),
        pytest.param("a/b/web:1", None, "'a/b' is no namespace", id="a path and a tag"),
        pytest.param("web", Kind.IMAGE_STREAM_IMAGE, "names no image of a stream", id="no image where one is said"),
        pytest.param(
            "quay.io/web:1", Kind.IMAGE_STREAM_TAG, "'quay.io' is no namespace", id="no tag where one is said"
        ),
    ],
)
def test_what_is_no_source(text: str, kind: Kind | None, why: str) -> None:
    with pytest.raises(InvalidName) as refused:
        names.parse_source(text, kind)
    assert why in str(refused.value)


def test_a_source_is_written_as_the_api_names_it() -> None:
    assert str(names.parse_source("shop/web:1")) == "web:1"
    assert str(names.parse_source("shop/web@sha256:ab")) == "web@sha256:ab"
    assert str(names.parse_source("quay.io/team/web:1")) == "quay.io/team/web:1"
