"""What else moves with a tag, and what a tag could be moved to."""

from __future__ import annotations

from typing import Any

import pytest

from listener.core import impacts
from listener.core.edits import EditRefused
from listener.core.history import TagHistory, TagItem
from listener.core.streams import SpecTag, Stream, StreamKey

A, B, C = ("sha256:" + letter * 64 for letter in "abc")
REPOSITORY = "r.example/shop/web"
WEB, OTHER = StreamKey("shop", "web"), StreamKey("lab", "copy")


def item(image: str) -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", f"{REPOSITORY}@{image}", image, 1)


def stream(key: StreamKey, *spec_tags: SpecTag, tags: dict[str, tuple[str, ...]], **more: Any) -> Stream:
    histories = tuple(TagHistory(tag, tuple(map(item, images))) for tag, images in sorted(tags.items()))
    return Stream(key, "u", "1", 1, "", "registry.cluster/shop/web", spec_tags, histories, **more)


def alias(name: str, source: str, namespace: str = "", **more: Any) -> SpecTag:
    return SpecTag(name, "ImageStreamTag", namespace, source, generation=1, **more)


@pytest.mark.parametrize(
    ("wanted", "pull_spec", "image"),
    [
        pytest.param("0", f"{REPOSITORY}@{B}", B, id="the current item"),
        pytest.param("1", f"{REPOSITORY}@{A}", A, id="an item by number"),
        pytest.param("sha256:aaa", f"{REPOSITORY}@{A}", A, id="the beginning of a digest"),
        pytest.param("aaaa", f"{REPOSITORY}@{A}", A, id="without its algorithm"),
        pytest.param(A, f"{REPOSITORY}@{A}", A, id="a digest of the history"),
        pytest.param(C, f"{REPOSITORY}@{C}", C, id="another digest"),
        pytest.param(f"quay.io/x/y@{C}", f"quay.io/x/y@{C}", C, id="any image by digest"),
        pytest.param("quay.io/x/y:1", "quay.io/x/y:1", "", id="any image by tag"),
    ],
)
def test_what_a_tag_could_point_at(wanted: str, pull_spec: str, image: str) -> None:
    found = impacts.destination(stream(WEB, tags={"latest": (B, A)}), "latest", wanted)
    assert (found.docker_image_reference, found.image) == (pull_spec, image)


def test_a_digest_of_a_tag_that_was_never_there_is_one_of_its_source() -> None:
    new = stream(WEB, SpecTag("new", "DockerImage", "", "quay.io/x/y:1"), tags={})
    assert impacts.destination(new, "new", A).docker_image_reference == f"quay.io/x/y@{A}"


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        pytest.param("2", "has no item 2: it holds 2", id="no such item"),
        pytest.param("ffff", "holds no image 'ffff'", id="no such beginning"),
        pytest.param("sha256:", "begins several images", id="several"),
        pytest.param("Not An Image", "write a number of the history, a digest or an image", id="nothing"),
    ],
)
def test_what_a_tag_could_not_point_at(wanted: str, why: str) -> None:
    with pytest.raises(EditRefused, match=why):
        impacts.destination(stream(WEB, tags={"latest": (B, A)}), "latest", wanted)


def test_a_digest_of_no_repository() -> None:
    with pytest.raises(EditRefused, match="shop/web:new names no repository"):
        impacts.destination(stream(WEB, tags={}), "new", A)


def moved(*streams: Stream, tag: str = "latest", image: str = B) -> dict[str, str]:
    before = {each.key: each for each in streams}
    after = impacts.move(before, WEB, tag, item(image), now="2026-01-02T00:00:00Z", limit=50)
    found = {}
    for key, name in impacts.moved_tags(before, after):
        resolved = after[key].resolve(name)
        found[f"{key}:{name}"] = resolved.pull_spec if resolved else ""
    return found


def test_a_tag_that_nobody_follows_moves_alone() -> None:
    assert moved(stream(WEB, tags={"latest": (A,), "v1": (A,)})) == {"shop/web:latest": f"{REPOSITORY}@{B}"}


def test_what_follows_it_moves_along_through_other_streams() -> None:
    web = stream(WEB, alias("prod", "latest"), tags={"latest": (A,), "prod": (A,)}, shared_with=frozenset({"lab"}))
    copy = stream(OTHER, alias("web", "web:prod", "shop"), tags={"web": (A,)})
    assert sorted(moved(web, copy)) == ["lab/copy:web", "shop/web:latest", "shop/web:prod"]


def test_what_is_not_shared_or_held_does_not_move_along() -> None:
    web = stream(WEB, alias("prod", "latest", hold=""), tags={"latest": (A,), "prod": (A,)})
    copy = stream(OTHER, alias("web", "web:latest", "shop"), tags={"web": (A,)})
    assert list(moved(web, copy)) == ["shop/web:latest"]


@pytest.mark.parametrize("hold", ["", A], ids=["where it is", "at an image"])
def test_a_held_tag_is_moved_all_the_same(hold: str) -> None:
    assert moved(stream(WEB, SpecTag("latest", hold=hold), tags={"latest": (A,)})) == {
        "shop/web:latest": f"{REPOSITORY}@{B}"
    }


def test_its_reference_policy_counts() -> None:
    local = stream(WEB, SpecTag("latest", "DockerImage", "", "quay.io/x", reference_policy="Local"), tags={})
    assert moved(local) == {"shop/web:latest": f"registry.cluster/shop/web@{B}"}


def test_where_it_is_already_nothing_moves() -> None:
    assert moved(stream(WEB, alias("prod", "latest"), tags={"latest": (B,), "prod": (B,)})) == {}


def test_tags_that_follow_each_other_come_to_an_end() -> None:
    web = stream(WEB, alias("a", "b"), alias("b", "latest"), alias("latest", "a"), tags={"latest": (A,)})
    assert moved(web) == {f"shop/web:{tag}": f"{REPOSITORY}@{B}" for tag in ("a", "b", "latest")}
