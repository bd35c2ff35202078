"""What a person asks of a tag: the patch that does it, and what is refused."""

from __future__ import annotations

from collections.abc import Mapping
from copy import deepcopy
from dataclasses import replace
from typing import Any

import jsonpatch
import pytest

from listener.core import edits
from listener.core.edits import Document, EditRefused, Found, Operation, Policies
from listener.core.history import Condition, TagHistory, TagItem
from listener.core.names import Kind, TagSource
from listener.core.streams import SpecTag, Stream, StreamKey

KEY = StreamKey("shop", "web")
TEST = {"op": "test", "path": "/metadata/resourceVersion", "value": "7"}
A, B, C = ("sha256:" + letter * 64 for letter in "abc")
DEFAULTS = {"importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Source"}}
HELD = {"imagestreams.dev/hold": "true"}

IMAGE = TagSource(Kind.DOCKER_IMAGE, "quay.io/team/web:1")
TAG = TagSource(Kind.IMAGE_STREAM_TAG, "latest", "web", "shop")
FOREIGN = TagSource(Kind.IMAGE_STREAM_IMAGE, A, "base", "build")

# As an owner may have written it, with what the API server adds.
OWNED = {
    "name": "prod",
    "annotations": {"owner": "shop"},
    "from": {"kind": "DockerImage", "name": "quay.io/team/web:0", "namespace": "odd"},
    "reference": True,
    "generation": 4,
    "importPolicy": {"importMode": "PreserveOriginal", "scheduled": True, "insecure": True},
    "referencePolicy": {"type": "Local"},
}


def item(image: str, *, reference: str = "", generation: int = 1) -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", reference or f"r.io/shop/web@{image}", image, generation)


def stream(*spec_tags: SpecTag, tags: tuple[TagHistory, ...] = (), **rest: Any) -> Stream:
    return Stream(
        KEY,
        "u1",
        "7",
        **{"generation": 4, "repository": "", **rest},
        status_repository="",
        spec_tags=spec_tags,
        tags=tags,
    )


def document(*spec_tags: Document, **rest: Any) -> dict[str, Any]:
    return {"metadata": {"name": "web", "resourceVersion": "7"}, "spec": {"tags": list(spec_tags)}, **rest}


def found(before: Document) -> Found:
    return Found(stream(), before)


def patched(before: Document, operations: tuple[Operation, ...]) -> Any:
    """What a server makes of it."""
    return jsonpatch.apply_patch(deepcopy(before), list(operations))


# Spec tags


@pytest.mark.parametrize(
    ("before", "source", "options", "expected"),
    [
        pytest.param(
            None,
            IMAGE,
            {},
            {"name": "prod", "from": {"kind": "DockerImage", "name": "quay.io/team/web:1"}, "generation": 0},
            id="new, from a registry",
        ),
        pytest.param(
            None,
            TAG,
            {},
            {"name": "prod", "from": {"kind": "ImageStreamTag", "name": "web:latest"}, "generation": 0},
            id="new, from a tag of the same namespace",
        ),
        pytest.param(
            None,
            FOREIGN,
            {},
            {
                "name": "prod",
                "from": {"kind": "ImageStreamImage", "name": f"base@{A}", "namespace": "build"},
                "generation": 0,
            },
            id="new, from an image of another namespace",
        ),
        pytest.param(
            None,
            IMAGE,
            {"reference": True, "policies": Policies(True, False, "PreserveOriginal", "Local")},
            {
                "name": "prod",
                "from": {"kind": "DockerImage", "name": "quay.io/team/web:1"},
                "generation": 0,
                "reference": True,
                "importPolicy": {"scheduled": True, "insecure": False, "importMode": "PreserveOriginal"},
                "referencePolicy": {"type": "Local"},
            },
            id="everything said",
        ),
        pytest.param(
            OWNED,
            IMAGE,
            {},
            {
                "name": "prod",
                "annotations": {"owner": "shop"},
                "from": {"kind": "DockerImage", "name": "quay.io/team/web:1"},
                "generation": 0,
                "importPolicy": {"importMode": "PreserveOriginal", "scheduled": True, "insecure": True},
                "referencePolicy": {"type": "Local"},
            },
            id="annotations and policies stay, the reference belonged to the source",
        ),
        pytest.param(
            OWNED,
            TAG,
            {},
            {
                "name": "prod",
                "annotations": {"owner": "shop"},
                "from": {"kind": "ImageStreamTag", "name": "web:latest"},
                "generation": 0,
                "importPolicy": {"importMode": "PreserveOriginal", "insecure": True},
                "referencePolicy": {"type": "Local"},
            },
            id="no schedule without a registry",
        ),
        pytest.param(
            OWNED,
            IMAGE,
            {"policies": Policies(scheduled=False, reference_policy="Source")},
            {
                "name": "prod",
                "annotations": {"owner": "shop"},
                "from": {"kind": "DockerImage", "name": "quay.io/team/web:1"},
                "generation": 0,
                "importPolicy": {"importMode": "PreserveOriginal", "scheduled": False, "insecure": True},
                "referencePolicy": {"type": "Source"},
            },
            id="only what is said changes",
        ),
        pytest.param(
            {"name": "prod", "annotations": HELD, "importPolicy": None},
            IMAGE,
            {"policies": Policies(insecure=True)},
            {
                "name": "prod",
                "annotations": HELD,
                "from": {"kind": "DockerImage", "name": "quay.io/team/web:1"},
                "generation": 0,
                "importPolicy": {"insecure": True},
            },
            id="a held placeholder stays held",
        ),
        pytest.param(
            {"name": "prod", "importPolicy": None},
            TAG,
            {},
            {
                "name": "prod",
                "from": {"kind": "ImageStreamTag", "name": "web:latest"},
                "generation": 0,
                "importPolicy": None,
            },
            id="a policy that is null",
        ),
    ],
)
def test_a_tag_gets_another_source_and_keeps_the_rest(
    before: Document | None, source: TagSource, options: Mapping[str, Any], expected: Document
) -> None:
    given = deepcopy(before)
    all_options = {"reference": False, "policies": Policies(), **options}
    assert edits.point(before, "prod", source, namespace="shop", **all_options) == expected
    assert before == given


def test_asking_for_an_import_again_changes_the_generation_only() -> None:
    assert edits.ask_again(OWNED, Policies()) == {**OWNED, "generation": 0}


def test_asking_for_an_import_with_a_policy_changes_that_one_too() -> None:
    after = edits.ask_again(OWNED, Policies(import_mode="Legacy"))
    assert after == {
        **OWNED,
        "generation": 0,
        "importPolicy": {"importMode": "Legacy", "scheduled": True, "insecure": True},
    }


@pytest.mark.parametrize(
    ("before", "at", "expected"),
    [
        pytest.param(None, "", {"name": "prod", "annotations": HELD}, id="pushed only: a placeholder"),
        pytest.param(
            OWNED, "", {**OWNED, "annotations": {"owner": "shop", **HELD}}, id="where it is, beside what is annotated"
        ),
        pytest.param(
            {"name": "prod", "annotations": None},
            A,
            {"name": "prod", "annotations": {"imagestreams.dev/hold": A}},
            id="at an image, annotations null",
        ),
        pytest.param(
            {"name": "prod", "annotations": HELD},
            A,
            {"name": "prod", "annotations": {"imagestreams.dev/hold": A}},
            id="from where it is to an image",
        ),
    ],
)
def test_a_tag_is_held(before: Document | None, at: str, expected: Document) -> None:
    assert edits.hold(before, "prod", at) == expected


@pytest.mark.parametrize(
    ("before", "expected"),
    [
        pytest.param({"name": "prod", "annotations": HELD}, None, id="a placeholder for the hold goes"),
        pytest.param(
            {"name": "prod", "annotations": HELD, "generation": 3, "reference": False, "from": None, **DEFAULTS},
            None,
            id="so does one with what server and service add",
        ),
        pytest.param(
            {"name": "prod", "annotations": {**HELD, "owner": "shop"}},
            {"name": "prod", "annotations": {"owner": "shop"}},
            id="a placeholder that says more stays",
        ),
        pytest.param(
            {"name": "prod", "annotations": HELD, "referencePolicy": {"type": "Local"}},
            {"name": "prod", "referencePolicy": {"type": "Local"}},
            id="a placeholder with a policy stays",
        ),
        pytest.param(
            {**OWNED, "annotations": {**HELD, "owner": "shop"}}, OWNED, id="a tag with a source stays as it was"
        ),
        pytest.param(
            {"name": "prod", "annotations": HELD, "from": {"kind": "DockerImage", "name": "web"}, **DEFAULTS},
            {"name": "prod", "from": {"kind": "DockerImage", "name": "web"}, **DEFAULTS},
            id="a source alone is enough to stay",
        ),
    ],
)
def test_a_tag_is_released(before: Document, expected: Document | None) -> None:
    assert edits.release(before) == expected


# Patches


def test_a_spec_tag_is_put_in_its_place_and_nowhere_else() -> None:
    before = document({"name": "a"}, OWNED, {"name": "z"})
    operations = edits.put(found(before), {"name": "prod"})
    assert operations == (TEST, {"op": "replace", "path": "/spec/tags/1", "value": {"name": "prod"}})
    assert patched(before, operations) == document({"name": "a"}, {"name": "prod"}, {"name": "z"})


@pytest.mark.parametrize(
    "spec",
    [
        pytest.param({"tags": [{"name": "a"}], "lookupPolicy": {"local": True}}, id="beside others"),
        pytest.param({"tags": [], "lookupPolicy": {"local": True}}, id="into an empty list"),
        pytest.param({"lookupPolicy": {"local": True}}, id="without a list"),
        pytest.param(None, id="without a spec"),
    ],
)
def test_new_spec_tags_are_put_at_the_end(spec: dict[str, Any] | None) -> None:
    before = document() | {"spec": spec}
    new = ({"name": "p"}, {"name": "q"})
    after = patched(before, edits.put(found(before), *new))
    known = spec or {}
    assert after["spec"] == {**known, "tags": [*known.get("tags", []), *new]}


def test_what_stands_there_already_needs_no_patch() -> None:
    assert edits.put(found(document(OWNED)), deepcopy(OWNED)) == ()


def test_several_tags_go_in_one_patch_without_those_that_are_right() -> None:
    before = document({"name": "a"}, {"name": "b"}, {"name": "c"})
    operations = edits.put(found(before), {"name": "a", "generation": 0}, {"name": "b"}, {"name": "c", "generation": 0})
    assert [operation["path"] for operation in operations] == [
        "/metadata/resourceVersion",
        "/spec/tags/0",
        "/spec/tags/2",
    ]
    after = patched(before, operations)
    assert after == document({"name": "a", "generation": 0}, {"name": "b"}, {"name": "c", "generation": 0})


def test_a_patch_for_a_stream_that_has_changed_does_not_apply() -> None:
    newer = document(OWNED) | {"metadata": {"name": "web", "resourceVersion": "8"}}
    with pytest.raises(jsonpatch.JsonPatchTestFailed):
        patched(newer, edits.put(found(document(OWNED)), {"name": "prod"}))


def test_a_spec_tag_is_removed() -> None:
    before = document({"name": "a"}, OWNED)
    operations = edits.remove(found(before), "prod")
    assert operations[0] == TEST
    assert patched(before, operations) == document({"name": "a"})


def test_a_spec_tag_that_is_not_there_needs_no_removal() -> None:
    assert edits.remove(found(document({"name": "a"})), "prod") == ()


def test_a_history_is_forgotten_by_its_place_in_the_document_and_the_summary_with_it() -> None:
    # The API keeps the order that somebody wrote; a Stream is sorted.
    before = document(status={"tags": [{"tag": "prod"}, {"tag": "latest"}], "summary": {"tags": "x", "updated": "y"}})
    known = stream(tags=(TagHistory("latest", (item(A),)), TagHistory("prod", (item(B),))))
    operations = edits.forget(Found(known, before), "prod")
    assert operations[0] == TEST
    assert patched(before, operations)["status"] == {
        "tags": [{"tag": "latest"}],
        "summary": {"tags": "latest", "updated": "2026-01-01T00:00:00Z"},
    }


def test_the_last_history_takes_the_summary_along() -> None:
    before = document(status={"tags": [{"tag": "prod"}], "summary": {"tags": "x", "updated": "y"}})
    known = stream(tags=(TagHistory("prod", (item(B),)),))
    assert patched(before, edits.forget(Found(known, before), "prod"))["status"] == {"tags": []}


@pytest.mark.parametrize("status", [None, {}, {"tags": None}, {"tags": [{"tag": "other"}]}])
def test_a_history_that_is_not_there_needs_no_patch(status: Document | None) -> None:
    assert edits.forget(found(document(status=status)), "prod") == ()


def test_a_stream_takes_a_repository_and_keeps_its_tags() -> None:
    before = document(OWNED)
    operations = edits.take_repository(found(before), "quay.io/team/web")
    assert operations[0] == TEST
    assert patched(before, operations)["spec"] == {"tags": [OWNED], "dockerImageRepository": "quay.io/team/web"}


def test_a_repository_that_a_stream_takes_already_needs_no_patch() -> None:
    known = stream(repository="quay.io/team/web")
    assert edits.take_repository(Found(known, document()), "quay.io/team/web") == ()


@pytest.mark.parametrize(
    ("spec", "is_on", "wanted"),
    [
        pytest.param({}, False, {"lookupPolicy": {"local": True}}, id="no spec"),
        pytest.param({"tags": [OWNED]}, False, {"tags": [OWNED], "lookupPolicy": {"local": True}}, id="no policy"),
        pytest.param({"lookupPolicy": {}}, False, {"lookupPolicy": {"local": True}}, id="an empty policy"),
        pytest.param(
            {"lookupPolicy": {"local": False, "x": 1}}, False, {"lookupPolicy": {"local": True, "x": 1}}, id="off"
        ),
        pytest.param({"lookupPolicy": {"local": True}}, True, {"lookupPolicy": {"local": False}}, id="on"),
    ],
)
def test_whether_images_may_name_the_tags_is_one_small_change(spec: Any, is_on: bool, wanted: Any) -> None:
    before = {**document(), "spec": spec}
    known = replace(stream(), local_lookup=is_on)
    operations = edits.look_up(Found(known, before), on=not is_on)
    assert operations[0] == TEST
    assert patched(before, operations)["spec"] == wanted
    assert edits.look_up(Found(known, before), on=is_on) == ()


SAID = {"name": "v1", "from": {"kind": "DockerImage", "name": "quay.io/team/web:1"}, "generation": 3}
CHECK = "openshift.io/image.dockerRepositoryCheck"


@pytest.mark.parametrize(
    ("repository", "is_checked", "tags"),
    [
        pytest.param("quay.io/team/web", True, (SAID,), id="both"),
        pytest.param("quay.io/team/web", True, (), id="a repository alone"),
        pytest.param("", True, (SAID,), id="tags alone"),
        pytest.param("quay.io/team/web", False, (SAID,), id="a repository that was never tried"),
        pytest.param("quay.io/team/web", False, (), id="nothing that was not asked for"),
    ],
)
def test_everything_is_asked_for_again_in_one_patch(
    repository: str, is_checked: bool, tags: tuple[Document, ...]
) -> None:
    spec_tags = [SpecTag("v1", "DockerImage", "", "quay.io/team/web:1", generation=3)] if tags else []
    aliases = [follows("v", "v1"), SpecTag("name", "DockerImage", "", "quay.io/web", reference=True)]
    known = stream(*spec_tags, *aliases, repository=repository, is_checked=is_checked)
    before = document(*tags, {"name": "v"}, {"name": "name"})
    before["metadata"] |= {"annotations": {"owner": "shop", CHECK: "2026-01-01T00:00:00Z" if is_checked else ""}}
    operations = edits.ask_all(Found(known, before), Policies())
    after = patched(before, operations)
    assert after["spec"] == {"tags": [*({**tag, "generation": 0} for tag in tags), {"name": "v"}, {"name": "name"}]}
    is_kept = is_checked and not repository
    assert after["metadata"]["annotations"] == {"owner": "shop", CHECK: "2026-01-01T00:00:00Z" if is_kept else ""}
    assert operations == () or operations[0] == TEST


def test_a_stream_that_comes_from_nowhere_has_nothing_to_import() -> None:
    with pytest.raises(EditRefused, match="shop/web has nothing to import"):
        edits.ask_all(Found(stream(follows("v", "v1")), document({"name": "v"})), Policies())


@pytest.mark.parametrize(
    ("is_checked", "generation", "expected"),
    [(True, 5, True), (True, 4, False), (True, None, False), (False, 5, False)],
    ids=["tried since", "tried before", "never tried", "asked for again"],
)
def test_whether_a_repository_was_tried(is_checked: bool, generation: int | None, expected: bool) -> None:
    known = (failed(generation),) if generation else ()
    assert edits.is_repository_done(stream(is_checked=is_checked, conditions=known), asked=5) is expected


# What is meant


def test_a_tag_is_pinned_to_the_image_that_it_points_at() -> None:
    known = stream(tags=(TagHistory("latest", (item(B), item(A))),))
    assert edits.pinned(TAG, known) == TagSource(Kind.IMAGE_STREAM_IMAGE, B, "web", "shop")


def test_a_tag_that_records_a_name_is_pinned_to_that_name() -> None:
    known = stream(tags=(TagHistory("latest", (item("", reference="quay.io/team/web:1"),)),))
    assert edits.pinned(TAG, known) == TagSource(Kind.DOCKER_IMAGE, "quay.io/team/web:1")


@pytest.mark.parametrize("tags", [(), (TagHistory("latest", waiting=(item(A),)),)], ids=["unknown", "only waiting"])
def test_a_tag_that_points_at_nothing_cannot_be_pinned(tags: tuple[TagHistory, ...]) -> None:
    with pytest.raises(EditRefused, match="shop/web:latest is not currently pointing to an image"):
        edits.pinned(TAG, stream(tags=tags))


def follows(name: str, target: str, namespace: str = "") -> SpecTag:
    return SpecTag(name, "ImageStreamTag", namespace, target)


IMPORTED = SpecTag("v1", "DockerImage", "", "quay.io/team/web:1")


@pytest.mark.parametrize(
    ("tags", "expected"),
    [
        pytest.param([IMPORTED], "v1", id="itself"),
        pytest.param([follows("v", "v1"), IMPORTED], "v1", id="what it follows"),
        pytest.param([follows("v", "web:w"), follows("w", "web:v1"), IMPORTED], "v1", id="to the end"),
        pytest.param([follows("v", "web:"), replace(IMPORTED, name="latest")], "latest", id="an empty tag is latest"),
        pytest.param([], None, id="not said"),
    ],
)
def test_what_is_imported_when_a_tag_is_asked_for(tags: list[SpecTag], expected: str | None) -> None:
    target = edits.import_target(stream(*tags), tags[0].name if tags else "v")
    assert (target.name if target else None) == expected


@pytest.mark.parametrize(
    ("tags", "why"),
    [
        pytest.param([SpecTag("v")], "tag v of ImageStream shop/web has no source", id="a placeholder"),
        pytest.param(
            [follows("v", "other:1")], "tag v of ImageStream shop/web follows other:1 of shop/other", id="other stream"
        ),
        pytest.param([follows("v", "web:1", "build")], "follows web:1 of build/web", id="other namespace"),
        pytest.param([follows("v", "v")], "the tags v -> v of ImageStream shop/web follow each other", id="itself"),
        pytest.param(
            [follows("v", "w"), follows("w", "x"), follows("x", "w")],
            "the tags v -> w -> x -> w of ImageStream shop/web follow each other",
            id="a circle that it leads into",
        ),
        pytest.param([follows("v", "w")], "tag v -> w of ImageStream shop/web follows a tag that", id="an end missing"),
        pytest.param(
            [follows("v", "w"), SpecTag("w", "ImageStreamImage", "", A)],
            f"tag v -> w of ImageStream shop/web points to ImageStreamImage {A}",
            id="an image of a history",
        ),
    ],
)
def test_a_tag_that_nothing_is_imported_to_is_refused(tags: list[SpecTag], why: str) -> None:
    with pytest.raises(EditRefused) as refused:
        edits.import_target(stream(*tags), "v")
    assert why in str(refused.value)


ELSEWHERE = item(A, reference=f"mirror.io/web@{A}")
HISTORY = TagHistory("prod", (item(C), item(B), item(A), item("", reference="quay.io/web:1")), waiting=(item("d"),))


@pytest.mark.parametrize(
    ("wanted", "expected"),
    [
        pytest.param("1", item(B), id="by number"),
        pytest.param("2", item(A), id="a greater number"),
        pytest.param(B, item(B), id="by digest"),
        pytest.param("sha256:b", item(B), id="by the beginning of a digest"),
        pytest.param("bbbbb", item(B), id="without the algorithm"),
        pytest.param("quay.io/web:1", item("", reference="quay.io/web:1"), id="by a recorded name"),
        pytest.param("d", item("d"), id="what waits"),
    ],
)
def test_an_item_of_the_history_is_chosen(wanted: str, expected: TagItem) -> None:
    assert edits.choose(HISTORY, wanted, KEY) == expected


@pytest.mark.parametrize(
    ("items", "waiting", "expected"),
    [
        pytest.param((B, A), (), A, id="the one before"),
        pytest.param((A, B, A), (), B, id="pushed back and forth"),
        pytest.param((B, C, B, A), (C,), A, id="rolled back once, then once more"),
        pytest.param((A, C, B, A), (C,), None, id="rolled back to the oldest"),
        pytest.param((B, C, B, A), (), C, id="rolled back and released there"),
        pytest.param((A,), (), None, id="never anywhere else"),
        pytest.param((), (), None, id="nowhere"),
    ],
)
def test_the_image_before(items: tuple[str, ...], waiting: tuple[str, ...], expected: str | None) -> None:
    history = TagHistory("prod", tuple(map(item, items)), waiting=tuple(map(item, waiting)))
    if expected is None:
        with pytest.raises(EditRefused, match="had no other image before"):
            edits.previous(history, KEY)
    else:
        assert edits.previous(history, KEY) == item(expected)


def test_digits_that_are_too_many_for_a_number_begin_a_digest() -> None:
    digits = item("sha256:12345" + "0" * 59)
    assert edits.choose(TagHistory("prod", (item(A), digits)), "12345", KEY) == digits


def test_of_two_items_with_the_same_image_the_newer_is_chosen() -> None:
    history = TagHistory("prod", (item(B), ELSEWHERE, item(C), item(A)))
    assert edits.choose(history, A, KEY) == ELSEWHERE


@pytest.mark.parametrize(
    ("wanted", "why"),
    [
        pytest.param("4", "the history of shop/web:prod has no item 4: it holds 4", id="a number that is too great"),
        pytest.param("0", f"shop/web:prod points at {C} already", id="the current one by number"),
        pytest.param(C, f"shop/web:prod points at {C} already", id="the current one by digest"),
        pytest.param("sha256:f", "holds no image 'sha256:f'", id="no such image"),
        pytest.param("", "holds no image ''", id="nothing"),
        pytest.param("-1", "holds no image '-1'", id="a negative number"),
        pytest.param("sha256:", "sha256: begins several images of shop/web:prod: " + f"{A}, {B}, {C}", id="ambiguous"),
    ],
)
def test_what_a_tag_cannot_go_back_to(wanted: str, why: str) -> None:
    with pytest.raises(EditRefused) as refused:
        edits.choose(HISTORY, wanted, KEY)
    assert why in str(refused.value)


@pytest.mark.parametrize(
    ("items", "chosen", "at"),
    [
        pytest.param((item(B), item(A)), item(A), A, id="its image"),
        pytest.param((item(B), ELSEWHERE, item(C), item(A)), item(A), f"r.io/shop/web@{A}", id="another has its image"),
        pytest.param((item(B), ELSEWHERE, item(C), item(A)), ELSEWHERE, A, id="it is the first with its image"),
        pytest.param((item(B), item("", reference="q.io/w:1")), item("", reference="q.io/w:1"), "q.io/w:1", id="none"),
    ],
)
def test_by_which_name_a_tag_is_held_at_an_item(items: tuple[TagItem, ...], chosen: TagItem, at: str) -> None:
    history = TagHistory("prod", items)
    assert edits.held_at(history, chosen) == at
    assert not edits.is_held_at(history, at)
    assert edits.is_held_at(TagHistory("prod", (chosen, *items)), at)


def failed(generation: int | None, status: str = "False") -> Condition:
    return Condition("ImportSuccess", status, "2026-01-01T00:00:00Z", "NotFound", "no such image", generation)


@pytest.mark.parametrize(
    ("generation", "known", "expected"),
    [
        pytest.param(5, TagHistory("prod", (item(A, generation=5),)), True, id="the head shows it"),
        pytest.param(5, TagHistory("prod", (item(A),), waiting=(item(B, generation=5),)), True, id="what waits does"),
        pytest.param(5, TagHistory("prod", (), (failed(5),)), True, id="a condition does"),
        pytest.param(5, TagHistory("prod", (item(A, generation=4),)), False, id="not acted on yet"),
        pytest.param(0, TagHistory("prod", (item(A, generation=5),)), False, id="not taken up yet"),
        pytest.param(None, TagHistory("prod", (item(A, generation=5),)), False, id="never taken up"),
        pytest.param(4, TagHistory("prod", (item(A, generation=4),)), False, id="what was done before"),
    ],
)
def test_whether_the_service_has_done_it(generation: int | None, known: TagHistory, expected: bool) -> None:
    asked = stream(SpecTag("prod", generation=generation), tags=(known,), generation=6)
    assert edits.is_done(asked, "prod", after=4) is expected


def test_nothing_is_done_for_a_tag_that_is_not_in_the_spec() -> None:
    assert not edits.is_done(stream(tags=(TagHistory("prod", (item(A, generation=9),)),)), "prod", after=4)


@pytest.mark.parametrize(
    ("condition", "is_told"),
    [
        pytest.param(failed(5), True, id="it failed"),
        pytest.param(failed(4), False, id="it failed before"),
        pytest.param(failed(5, "True"), False, id="it went well"),
        pytest.param(None, False, id="nothing is said"),
    ],
)
def test_why_it_could_not_be_done(condition: Condition | None, is_told: bool) -> None:
    known = TagHistory("prod", (item(A),), (condition,) if condition else ())
    asked = stream(SpecTag("prod", generation=5), tags=(known,))
    assert edits.complaint(asked, "prod") == (condition if is_told else None)
