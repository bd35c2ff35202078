"""What becomes of objects at the door for API servers: the table of kinds, images and annotations, and garbage."""

from __future__ import annotations

import copy
import json
import tracemalloc
from collections.abc import Mapping
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from structlog.testing import capture_logs

from listener.core import admission
from listener.core.admission import Outcome, Verdict
from listener.core.kinds import KINDS
from listener.core.lookups import RESOLVE_NAMES, WAITS_FOR
from listener.edges.admission.reviews import Reader, answer, unchanged
from listener.errors import MalformedReview
from tests.edges.test_admission import (
    DIGEST,
    GIVEN,
    GOOD,
    LOOKED_UP,
    MIRROR,
    RUBY,
    STREAMS,
    UID,
    WANTED,
    WIDGET,
    Object,
    Reviewed,
    door,
    read_answer,
    review,
    workload,
)

BASE, BARE = f"r.io/library/base@{DIGEST}", f"r.io/library/bare@{DIGEST}"
WAITING = "local:5000/shop/ruby:9"
FORCED = {RESOLVE_NAMES: "*"}
WITH_TEMPLATES = [kind for kind in LOOKED_UP if kind not in ("Pod", "Widget")]


def waits(text: str = '{"web":"ruby:9"}') -> Mapping[str, str]:
    return {WAITS_FOR: text}


# Each kind


@pytest.mark.parametrize("kind", LOOKED_UP)
async def test_what_is_created_gets_what_its_names_stand_for_and_nothing_else(kind: str) -> None:
    before = workload(
        kind, {"web": "ruby:2.7", "proxy": "r.io/mesh:1", "local": "mirror:v1"}, {"first": "busybox", "init": "ruby"}
    )
    after = workload(kind, {"web": RUBY, "proxy": "r.io/mesh:1", "local": MIRROR}, {"first": "busybox", "init": RUBY})
    async with door() as running:
        found = await running.admit(before)
    assert found.obj == after
    assert found.warnings == (
        f'container init: image "ruby" is {RUBY} now',
        f'container web: image "ruby:2.7" is {RUBY} now',
        f'container local: image "mirror:v1" is {MIRROR} now',
    )
    assert len(found.patch) == 3


@pytest.mark.parametrize("kind", LOOKED_UP)
async def test_of_what_is_changed_only_the_images_that_are_new_are_looked_up(kind: str) -> None:
    old = workload(kind, {"web": "r.io/ruby:1", "proxy": "ruby"}, {"init": "mirror:v1"})
    new = workload(kind, {"proxy": "ruby", "web": "ruby:2.7", "more": "ruby"}, {"init": "mirror:v1"})
    after = workload(kind, {"proxy": "ruby", "web": RUBY, "more": RUBY}, {"init": "mirror:v1"})
    async with door() as running:
        # The template of a Job cannot be changed.
        assert (await running.admit(new, old)).obj == (new if kind == "Job" else after)
        assert await running.admit(new, new) == Reviewed(new, (), ())
        assert await running.admit(after, new) == Reviewed(after, (), ())


@pytest.mark.parametrize("kind", LOOKED_UP)
async def test_what_a_controller_made_stays_as_it_is(kind: str) -> None:
    obj = workload(kind, {"web": "ruby:2.7"}, annotations=FORCED)
    owner = {"apiVersion": "apps/v1", "kind": "ReplicaSet", "name": "web-1", "uid": "u", "blockOwnerDeletion": True}
    async with door() as running:
        for owners, is_owned in (
            ([owner | {"controller": True}], True),
            ([owner, owner | {"controller": True}], True),
            ([owner, owner | {"controller": False}], False),
            ([], False),
            (None, False),
        ):
            owned = copy.deepcopy(obj)
            owned["metadata"]["ownerReferences"] = owners
            found = await running.admit(owned)
            assert (found == Reviewed(owned, (), ())) == is_owned
            assert found.obj["metadata"] == owned["metadata"]


@pytest.mark.parametrize("kind", LOOKED_UP)
async def test_an_annotation_of_the_object_has_all_its_names_looked_up(kind: str) -> None:
    images = {"web": "base:v1", "two": "any/ruby:2.7", "none": "unknown:1", "host": "r.io/ruby:2.7"}
    expected = images | {"web": BASE, "two": RUBY}
    async with door() as running:
        found = await running.admit(workload(kind, images, annotations=FORCED))
        assert found.obj == workload(kind, expected, annotations=FORCED)
        assert found.warnings[2:] == (
            'container none: image "unknown:1" is not looked up: there is no ImageStream shop/unknown',
        )
        for value in ("true", " *", "**", ""):
            other = workload(kind, images, annotations={RESOLVE_NAMES: value})
            assert (await running.admit(other)).patch == ()


@pytest.mark.parametrize("kind", WITH_TEMPLATES)
async def test_and_so_has_one_of_its_pod_template(kind: str) -> None:
    async with door() as running:
        found = await running.admit(workload(kind, {"web": "base:v1"}, on_template=FORCED))
        assert found.obj == workload(kind, {"web": BASE}, on_template=FORCED)
        other = workload(kind, {"web": "base:v1"}, on_template={RESOLVE_NAMES: "no"}, annotations=FORCED)
        assert (await running.admit(other)).obj != other


@pytest.mark.parametrize("kind", LOOKED_UP)
@pytest.mark.parametrize("before", [None, {}, {"a": "1"}], ids=["no annotations", "annotations", "more annotations"])
async def test_a_name_whose_tag_points_at_nothing_is_put_off(kind: str, before: Mapping[str, str] | None) -> None:
    obj = workload(kind, {"web": "ruby:9", "proxy": "r.io/mesh:1"}, annotations=before)
    expected = workload(kind, {"web": WAITING, "proxy": "r.io/mesh:1"}, annotations=before)
    why = f"waits for ImageStreamTag shop/ruby:9, which points at nothing yet; until then it is {WAITING}"
    if kind == "Job":  # it could not be set later
        why = f"is {WAITING} for good: a Job is never changed, and ImageStreamTag shop/ruby:9 points at nothing yet"
    else:
        expected["metadata"]["annotations"] = {**expected["metadata"].get("annotations", {}), **waits()}
    async with door() as running:
        found = await running.admit(obj)
        assert found.obj == expected
        assert found.warnings == (f'container web: image "ruby:9" {why}',)
        assert running.counted() == ({"waiting": 1}, 1)


# Images


@pytest.mark.parametrize(
    ("image", "becomes", "warning"),
    [
        pytest.param("ruby:2.7", RUBY, f'"ruby:2.7" is {RUBY} now', id="a tag"),
        pytest.param("ruby", RUBY, f'"ruby" is {RUBY} now', id="latest"),
        pytest.param("mirror:v1", MIRROR, f'"mirror:v1" is {MIRROR} now', id="referencePolicy Local"),
        pytest.param(
            "base:v1",
            "base:v1",
            '"base:v1" is not looked up: ImageStream shop/base has no spec.lookupPolicy.local',
            id="no local lookup",
        ),
        pytest.param(
            "bare:v2",
            "bare:v2",
            '"bare:v2" waits for ImageStreamTag shop/bare:v2, which points at nothing yet',
            id="no tag, no repository",
        ),
        *(
            pytest.param(image, image, "", id=image or "empty")
            for image in (
                "base:v2",
                "unknown:1",
                "shop/ruby:2.7",
                "r.io/shop/ruby:2.7",
                "r.io/ruby:2.7",
                "localhost/ruby:2.7",
                "local:5000/ruby:2.7",
                f"ruby@{DIGEST}",
                RUBY,
                "Ruby:2.7",
                " ruby:2.7",
                "ruby:2.7 ",
                "ruby:",
                " ",
                "",
                "ruby:2.7\n",
                "rüby:2.7",
                "\x00",
            )
        ),
    ],
)
async def test_what_an_image_becomes(image: str, becomes: str, warning: str) -> None:
    async with door() as running:
        found = await running.admit(workload("Deployment", {"web": image}))
    assert found.obj == workload("Deployment", {"web": becomes})
    assert found.warnings == ((f"container web: image {warning}",) if warning else ())


@pytest.mark.parametrize("namespace", ["other", "", "shop/ruby", "x" * 300])
async def test_streams_are_those_of_the_object_s_namespace(namespace: str) -> None:
    async with door() as running:
        assert await running.admit(GIVEN, namespace=namespace) == Reviewed(GIVEN, (), ())


@pytest.mark.parametrize(("now", "was"), [(True, False), (False, True)])
async def test_when_names_are_forced_from_now_on_or_no_more_all_are_looked_up(now: bool, was: bool) -> None:
    new, old = (
        workload("Deployment", {"web": "ruby:2.7"}, annotations={}, on_template=FORCED if forced else None)
        for forced in (now, was)
    )
    async with door() as running:
        found = (await running.admit(new, old)).obj
    assert found == workload("Deployment", {"web": RUBY}, annotations={}, on_template=FORCED if now else None)


ODD = ' { "web" : "ruby:9" }\n'


@pytest.mark.parametrize(
    ("image", "given_text", "becomes", "text"),
    [
        pytest.param(WAITING, ODD, WAITING, ODD, id="right, as its author wrote it"),
        pytest.param("ruby:2.7", ODD, RUBY, None, id="waits no longer"),
        pytest.param("r.io/x:1", '{"web":"ruby:9","gone":"ruby:8"}', "r.io/x:1", None, id="another image"),
        pytest.param("r.io/x:1", "garbage", "r.io/x:1", "garbage", id="nothing that we wrote"),
        pytest.param("ruby:9", "garbage", WAITING, '{"web":"ruby:9"}', id="garbage where ours belongs"),
        pytest.param("r.io/x:1", "", "r.io/x:1", "", id="empty"),
        pytest.param("ruby:2.7", "[" * 20_000, RUBY, "[" * 20_000, id="deep"),
        pytest.param("r.io/x:1", '{"web":"\\ud800"}', "r.io/x:1", None, id="half of a surrogate pair"),
        pytest.param("", '{"web":"bare:v1"}', "", None, id="no image any more"),
    ],
)
async def test_the_annotation_is_kept_as_it_must_be(
    image: str, given_text: str, becomes: str, text: str | None
) -> None:
    async with door() as running:
        found = await running.admit(workload("Deployment", {"web": image}, annotations=waits(given_text)))
    expected = {} if text is None else waits(text)
    assert found.obj == workload("Deployment", {"web": becomes}, annotations=expected)


@pytest.mark.parametrize("image", ["absent", "null"])
async def test_a_container_without_an_image_gets_none(image: str) -> None:
    obj = workload("Deployment", {"web": "x"}, annotations=waits('{"web":"bare:v1"}'))
    [container] = obj["spec"]["template"]["spec"]["containers"]
    if image == "absent":
        del container["image"]
    else:
        container["image"] = None
    async with door() as running:
        found = await running.admit(obj)
    assert found.obj["spec"] == obj["spec"]


# What is none of our business


def _with(change: Any, *path: str | int) -> Object:
    """The good object with something else at a place of it."""
    obj = copy.deepcopy(GIVEN)
    *parents, last = path
    inner: Any = obj
    for each in parents:
        inner = inner[each]
    inner[last] = change
    return obj


CONTAINERS = ("spec", "template", "spec", "containers")
UNREADABLE = {
    "metadata is null": _with(None, "metadata"),
    "metadata is text": _with("x", "metadata"),
    "annotations are a list": _with([], "metadata", "annotations"),
    "an annotation is a number": _with({WAITS_FOR: 1}, "metadata", "annotations"),
    "owners are an object": _with({}, "metadata", "ownerReferences"),
    "an owner is null": _with([None], "metadata", "ownerReferences"),
    "controller is text": _with([{"controller": "yes"}], "metadata", "ownerReferences"),
    "spec is a list": _with([], "spec"),
    "template is a number": _with(1, "spec", "template"),
    "its metadata is text": _with("x", "spec", "template", "metadata"),
    "pod spec is text": _with("x", "spec", "template", "spec"),
    "containers are text": _with("ruby:2.7", *CONTAINERS),
    "containers are an object": _with({"web": "ruby:2.7"}, *CONTAINERS),
    "a container is null": _with([None], *CONTAINERS),
    "a container is text": _with(["ruby:2.7"], *CONTAINERS),
    "its name is null": _with(None, *CONTAINERS, 0, "name"),
    "its image is a number": _with(2.7, *CONTAINERS, 0, "image"),
    "its image is a list": _with(["ruby:2.7"], *CONTAINERS, 0, "image"),
    "init containers are a bool": _with(True, *CONTAINERS[:-1], "initContainers"),
}


@pytest.mark.parametrize("obj", UNREADABLE.values(), ids=UNREADABLE)
async def test_an_object_that_cannot_be_read_goes_on_as_it_is(obj: Object) -> None:
    async with door() as running:
        assert await running.admit(obj) == Reviewed(obj, (), ())
        assert await running.admit(GIVEN, obj) == Reviewed(GIVEN, (), ())
        assert await running.is_well()


@pytest.mark.parametrize("kind", LOOKED_UP)
@pytest.mark.parametrize("at", [None, 0, 1, 2, 3, 4, 5])
async def test_whatever_is_null_or_absent_on_the_way_to_the_containers_is_nothing(kind: str, at: int | None) -> None:
    path = (*LOOKED_UP[kind][1], "containers")
    if at is not None and at >= len(path):
        return
    obj = workload(kind, {"web": "ruby:2.7"})
    inner = obj
    for part in path[:at]:
        inner = inner[part]
    if at is None:
        del obj[path[0]]
    else:
        inner[path[at]] = None
    with capture_logs() as logs:
        async with door() as running:
            assert await running.admit(obj) == Reviewed(obj, (), ())
    assert logs == []  # above all not that it cannot be read


async def test_the_other_containers_are_looked_up_all_the_same() -> None:
    obj, expected = (
        workload("Deployment", {"web": image, "none": "x"}, {"init": image}, annotations={}) for image in ("ruby", RUBY)
    )
    for each in (obj, expected):
        each["spec"]["template"]["spec"]["containers"][1]["image"] = None
    async with door() as running:
        assert (await running.admit(obj)).obj == expected
        for each in (obj, expected):
            each["spec"]["template"]["spec"]["containers"] = None
        assert (await running.admit(obj)).obj == expected


@pytest.mark.parametrize("image", [b"\xff", b"\xc0\x80", b"\xed\xa0\x80"])
async def test_an_image_that_is_no_text_goes_on_as_it_is(image: bytes) -> None:
    with capture_logs() as logs:
        async with door() as running:
            status, body, _ = await running.send(GOOD.replace(b"ruby:2.7", image))
            assert (status, body) == (200, unchanged(UID))
    assert [line["event"] for line in logs] == ["lookup.unreadable"]


@pytest.mark.parametrize(
    "request_fields",
    [
        pytest.param({"operation": "DELETE", "object": None, "oldObject": GIVEN}, id="DELETE"),
        pytest.param({"operation": "CONNECT", "subResource": "exec"}, id="CONNECT"),
        pytest.param({"operation": "CONNECT"}, id="CONNECT to no subresource"),
        pytest.param({"operation": "create"}, id="no operation"),
        pytest.param({"subResource": "status"}, id="status"),
        pytest.param({"subResource": "ephemeralcontainers"}, id="ephemeral containers"),
        pytest.param({"kind": {"group": "apps", "version": "v1", "kind": "deployment"}}, id="another kind"),
        pytest.param({"kind": {"group": "", "version": "v1", "kind": "Deployment"}}, id="no group"),
        pytest.param({"kind": {"group": "x.apps", "version": "v1", "kind": "Deployment"}}, id="another group"),
        pytest.param({"kind": {}}, id="no kind at all"),
        pytest.param(
            {"kind": {"group": "build.openshift.io", "version": "v1", "kind": "BuildConfig"}}, id="no pod spec"
        ),
        pytest.param({"kind": {"group": "tekton.dev", "version": "v1", "kind": "Pipeline"}}, id="runs"),
        pytest.param({"object": None}, id="object absent"),
        pytest.param({"operation": "UPDATE"}, id="before is null"),
        pytest.param({"operation": "UPDATE", "oldObject": None}, id="before is absent"),
    ],
)
async def test_what_is_not_looked_at_goes_on_as_it_is(request_fields: Mapping[str, Any]) -> None:
    async with door() as running:
        status, body, _ = await running.send(review(GIVEN, **request_fields))
        assert (status, read_answer(body, GIVEN)) == (200, Reviewed(GIVEN, (), ()))
        assert running.counted() == ({}, 1)


async def test_an_object_that_is_null_goes_on_as_it_is() -> None:
    null = json.loads(GOOD)
    null["request"]["object"] = null["request"]["oldObject"] = None
    async with door() as running:
        for operation in ("CREATE", "UPDATE", "DELETE"):
            null["request"]["operation"] = operation
            status, body, _ = await running.send(json.dumps(null).encode())
            assert (status, read_answer(body, None)) == (200, Reviewed(None, (), ()))


@pytest.mark.parametrize("version", ["v1", "v1beta1", "v3", ""])
async def test_the_version_of_an_object_does_not_matter(version: str) -> None:
    async with door() as running:
        found = await running.admit(GIVEN, kind={"group": "apps", "version": version, "kind": "Deployment"})
    assert found.obj == WANTED


@pytest.mark.parametrize("uid", ["", "a b", 'quote " and \\', "ünï \u2028", "x" * 10_000])
async def test_every_uid_is_told_back(uid: str) -> None:
    async with door() as running:
        for obj in (GIVEN, WANTED):
            _, body, _ = await running.send(review(obj, uid=uid))
            assert read_answer(body, obj, uid).obj == WANTED


async def test_what_is_sent_besides_is_passed_over() -> None:
    more = json.loads(GOOD) | {"more": [{}], "status": None}
    more["request"] |= {"subResource": None, "requestSubResource": None, "more": {"deep": [1.5e300, None]}}
    async with door() as running:
        _, body, _ = await running.send(json.dumps(more, indent="\t").encode())
    assert read_answer(body, GIVEN).obj == WANTED


# Warnings: API servers drop those with control characters, shorten each to 256, and all to 4096


def warned(*warnings: str) -> tuple[str, ...]:
    return read_answer(answer(UID, Verdict(warnings=warnings)), {}).warnings


@pytest.mark.parametrize(
    ("text", "written"),
    [
        ("plain", "plain"),
        ("line\r\nbreak\ttab", "line\\r\\nbreak\\ttab"),
        ("\x00\x1b[31m\x7f\x85", "\\x00\\x1b[31m\\x7f\\x85"),
        ("größe 大 🐍", "größe 大 🐍"),
        ("\u202egnp\u200b\u2028", "\\u202egnp\\u200b\\u2028"),
        ("a\u00a0b", "a\\xa0b"),
        ("\U000e0041", "\\U000e0041"),
        ('it\'s "quoted" \\ ', 'it\'s "quoted" \\ '),
        ("x" * 256, "x" * 256),
        ("x" * 257, "x" * 255 + "…"),
        ("\n" * 200, "\\n" * 127 + "\\…"),
        ("🐍" * 300, "🐍" * 255 + "…"),
        ("", ""),
    ],
)
def test_a_warning_fits_into_a_header(text: str, written: str) -> None:
    assert warned(text) == (written,)


@pytest.mark.parametrize(("containers", "is_read"), [(1000, True), (1001, False), (300_000, False)])
@pytest.mark.parametrize("init", [False, True])
def test_of_more_containers_than_a_pod_can_have_none_is_looked_up(containers: int, is_read: bool, init: bool) -> None:
    section = "initContainers" if init else "containers"
    spec = {"containers": [], section: [{"name": "c", "image": "ruby:2.7"}] * containers}
    body = review({**workload("Pod", {}), "spec": spec})
    reader = Reader(KINDS)
    tracemalloc.start()
    try:
        read = reader.read(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert (read.subject is not None) == (not read.problem) == is_read
    assert peak < 5 * len(body) + 1024 * 1024


def test_warnings_that_do_not_fit_are_counted() -> None:
    assert warned(*["x" * 256] * 16) == ("x" * 256,) * 16
    assert warned(*["x" * 256] * 17) == (*["x" * 256] * 15, "2 more images are not told of here")
    assert warned(*["x" * 100] * 5000) == (*["x" * 100] * 40, "4960 more images are not told of here")
    assert warned(*["x" * 256] * 15, "x" * 222, "y" * 40)[-2:] == ("x" * 222, "1 more image is not told of here")
    assert warned(*["x" * 1000] * 20) == (*["x" * 255 + "…"] * 15, "5 more images are not told of here")


@given(st.lists(st.text(max_size=300).map(lambda text: text * 3), max_size=60))
@settings(deadline=None, max_examples=50)
def test_an_api_server_hands_every_warning_on(warnings: list[str]) -> None:
    found = warned(*warnings)
    assert all(len(each) <= 256 and each.isprintable() for each in found)
    assert sum(map(len, found)) <= 4096
    assert bool(found) == bool(warnings)


async def test_names_that_nobody_has_checked_yet_are_made_fit_and_all_images_are_set() -> None:
    names = [f"c{number}\n\u202e" + "x" * 300 for number in range(100)]
    obj = workload("Pod", dict.fromkeys(names, "ruby:2.7"))
    async with door() as running:
        found = await running.admit(obj)
    assert found.obj == workload("Pod", dict.fromkeys(names, RUBY))
    assert found.warnings[0].startswith("container c0\\n\\u202exxx")
    assert found.warnings[-1] == "85 more images are not told of here"


def test_without_a_patch_there_is_no_type_of_one() -> None:
    assert json.loads(answer(UID, Verdict(warnings=("w",))))["response"] == {
        "uid": UID,
        "allowed": True,
        "warnings": ["w"],
    }
    assert json.loads(unchanged(UID))["response"] == {"uid": UID, "allowed": True}
    assert answer(UID, Verdict(outcomes=(Outcome.RESOLVED,))) == unchanged(UID)


# Whatever may come

READER = Reader((*KINDS, WIDGET))


def admitted(body: bytes) -> Reviewed | None:
    """What an API server makes of the answer to a body; None if it is no review."""
    try:
        found = READER.read(body)
    except MalformedReview:
        return None
    if found.subject is None or found.kind is None:
        written = unchanged(found.uid)
    else:
        written = answer(
            found.uid, admission.judge(found.kind, found.namespace, found.subject, found.before, STREAMS.get)
        )
    return read_answer(written, json.loads(body)["request"].get("object"), found.uid)


FUZZ = settings(deadline=None, max_examples=200)


@given(st.binary() | st.text().map(str.encode))
@FUZZ
def test_bytes_are_no_review(body: bytes) -> None:
    assert admitted(body) is None


@given(st.integers(0, len(GOOD)), st.integers(0, 30), st.binary(max_size=8))
@FUZZ
def test_a_damaged_review_is_refused_or_answered(at: int, cut: int, put: bytes) -> None:
    try:
        admitted(GOOD[:at] + put + GOOD[at + cut :])
    except UnicodeDecodeError:  # in what is read by nobody but `json` here
        assert not put.isascii()


RICH = review(
    workload(
        "Deployment",
        {"web": "ruby:2.7", "late": "ruby:9", "old": WAITING, "bare": "bare:v2", "none": "unknown"},
        {"init": "mirror:v1"},
        annotations={WAITS_FOR: '{"old":"ruby:9","bare":"bare:v1","late":"bare:v1"}', RESOLVE_NAMES: "*"},
        on_template=FORCED,
    ),
    workload("Deployment", {"web": "x", "old": WAITING}, annotations=waits('{"old":"ruby:9"}')),
)
IMAGES = st.sampled_from(("ruby:2.7", "ruby:9", WAITING, "bare:v1", "bare:v2", "mirror:v1", "base:v1", "x/ruby", ""))
VALUES = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | st.text() | IMAGES,
    lambda inner: (
        st.lists(inner, max_size=3)
        | st.dictionaries(
            st.sampled_from(("name", "image", "annotations", "metadata", "spec", "containers", WAITS_FOR)) | st.text(),
            inner,
            max_size=3,
        )
    ),
    max_leaves=8,
)


def places(value: Any, at: tuple[Any, ...] = ()) -> list[tuple[Any, ...]]:
    inner = value.items() if isinstance(value, dict) else enumerate(value) if isinstance(value, list) else ()
    return [found for key, each in inner for found in ((*at, key), *places(each, (*at, key)))]


@given(st.data())
@FUZZ
def test_a_review_in_which_anything_is_anything_is_refused_or_answered_with_a_patch_that_fits(
    data: st.DataObject,
) -> None:
    body = json.loads(RICH)
    body["request"]["operation"] = data.draw(st.sampled_from(("CREATE", "UPDATE")))
    for _ in range(data.draw(st.integers(1, 4))):
        *parents, last = data.draw(st.sampled_from(places(body)))
        inner = body
        for each in parents:
            inner = inner[each]
        if data.draw(st.booleans()):
            inner[last] = data.draw(VALUES)
        else:
            del inner[last]
        if not body:
            break
    admitted(json.dumps(body).encode())


def test_what_is_mutated_is_answered_at_all() -> None:
    """Else the test above would show nothing."""
    found = admitted(RICH)
    assert found is not None
    assert len(found.patch) == 4
    assert len(found.warnings) == 6
