"""Which images are names of stream tags, and what they are then."""

from __future__ import annotations

from dataclasses import replace

import pytest

from listener.core import lookups
from listener.core.history import TagHistory, TagItem
from listener.core.kinds import KINDS
from listener.core.lookups import Answer, Lookup
from listener.core.streams import SpecTag, Stream, StreamKey
from listener.core.workloads import Container

RUBY = StreamKey("shop", "ruby")
DIGEST = f"sha256:{'2' * 64}"
PULL_SPEC = f"r.io/library/ruby@{DIGEST}"


def stream(
    *, local: bool = True, tags: tuple[str, ...] = ("2.7",), serves: str = "", policy: str = "Source", name: str = ""
) -> Stream:
    items = (TagItem("", name or PULL_SPEC, "" if name else DIGEST, 3),)
    return Stream(
        RUBY,
        "uid",
        "1",
        1,
        "",
        serves,
        tuple(SpecTag(tag, reference_policy=policy) for tag in tags),
        tuple(TagHistory(tag, items) for tag in tags),
        local_lookup=local,
    )


def find(image: str, *, forced: bool = False, waiting: dict[str, str] | None = None) -> Lookup | None:
    found = lookups.find("shop", {"containers": (Container("web", image),)}, forced=forced, waiting=waiting)
    return found[0] if found else None


def the(image: str, *, forced: bool = False, waiting: dict[str, str] | None = None) -> Lookup:
    found = find(image, forced=forced, waiting=waiting)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("image", "plain", "forced"),
    [
        ("ruby", "ruby:latest", "ruby:latest"),
        ("ruby:2.7", "ruby:2.7", "ruby:2.7"),
        ("my.app:v1", "my.app:v1", "my.app:v1"),
        ("ns/ruby:2.7", None, "ruby:2.7"),
        ("library/ruby", None, "ruby:latest"),
        ("a/b/ruby:2.7", None, None),
        ("r.io/ruby:2.7", None, None),
        ("r.io/ns/ruby:2.7", None, None),
        ("localhost/ruby:2.7", None, None),
        ("localhost:5000/ruby", None, None),
        ("registry:5000/ruby:2.7", None, None),
        (f"ruby@{DIGEST}", None, None),
        (f"ruby:2.7@{DIGEST}", None, None),
        (f"ns/ruby@{DIGEST}", None, None),
        (PULL_SPEC, None, None),
        ("", None, None),
        (" ", None, None),
        ("Ruby:2.7", None, None),
        ("ruby:", None, None),
        ("ruby:.2", None, None),
        (":2.7", None, None),
        ("/ruby", None, None),
        ("ruby/", None, None),
        ("https://ruby", None, None),
        ("ruby:2.7:1", None, None),
        ("ruby--x:1", None, None),  # a legal image, but no stream is called so
        ("ruby:2.7/x", None, None),
        ("ns//ruby", None, None),
        ("x" * 2000, None, None),
    ],
)
def test_what_is_a_name(image: str, plain: str | None, forced: str | None) -> None:
    for is_forced, expected in ((False, plain), (True, forced)):
        found = find(image, forced=is_forced)
        assert (f"{found.stream.name}:{found.tag}" if found else None) == expected
        if found:
            assert (found.stream.namespace, found.image, found.name, found.forced) == ("shop", image, image, is_forced)


def test_each_container_has_its_place() -> None:
    containers = (Container("sidecar", "r.io/x:1"), Container("web", "ruby"))
    found = lookups.find(
        "shop", {"initContainers": (Container("init", "ruby:2.7"),), "containers": containers}, forced=False
    )
    assert [(each.section, each.index, each.container) for each in found] == [
        ("initContainers", 0, "init"),
        ("containers", 1, "web"),
    ]


@pytest.mark.parametrize(
    ("known", "forced", "image", "answer"),
    [
        pytest.param(stream(), False, PULL_SPEC, f"is {PULL_SPEC} now", id="the stream says so"),
        pytest.param(stream(local=False), True, PULL_SPEC, f"is {PULL_SPEC} now", id="the object says so"),
        pytest.param(
            stream(local=False),
            False,
            "",
            "is not looked up: ImageStream shop/ruby has no spec.lookupPolicy.local",
            id="nobody says so, but one might think it",
        ),
        pytest.param(stream(local=False, tags=("3",)), False, "", "", id="nobody says so, and there is no such tag"),
        pytest.param(None, True, "", "is not looked up: there is no ImageStream shop/ruby", id="no stream, forced"),
        pytest.param(None, False, "", "", id="no stream"),
        pytest.param(
            stream(serves="local:5000/shop/ruby"), False, PULL_SPEC, f"is {PULL_SPEC} now", id="policy Source"
        ),
        pytest.param(
            stream(serves="local:5000/shop/ruby", policy="Local"),
            False,
            f"local:5000/shop/ruby@{DIGEST}",
            f"is local:5000/shop/ruby@{DIGEST} now",
            id="policy Local",
        ),
        pytest.param(stream(name="r.io/x:1"), False, "r.io/x:1", "is r.io/x:1 now", id="a reference tag"),
        pytest.param(stream(name="ruby:2.7"), False, "", "", id="a reference to its own name"),
        pytest.param(
            stream(name="perl:5"),
            False,
            "",
            "is not looked up: ImageStreamTag shop/ruby:2.7 points at perl:5, which has no registry before it",
            id="a reference to what may be a name",
        ),
        pytest.param(stream(name="library/perl:5"), False, "library/perl:5", "is library/perl:5 now", id="to none"),
        pytest.param(
            stream(name="library/perl:5"),
            True,
            "",
            "is not looked up: ImageStreamTag shop/ruby:2.7 points at library/perl:5, which has no registry before it",
            id="to what is a name where all are",
        ),
    ],
)
def test_what_a_name_becomes(known: Stream | None, forced: bool, image: str, answer: str) -> None:
    found = lookups.look_up(the("ruby:2.7", forced=forced), known)
    assert (found.image, found.why, found.waits) == (image, answer, False)
    assert (found.resolved is not None) == bool(image)


@pytest.mark.parametrize(
    ("serves", "image", "why"),
    [
        ("", "", "waits for ImageStreamTag shop/ruby:3, which points at nothing yet"),
        (
            "local:5000/shop/ruby",
            "local:5000/shop/ruby:3",
            (
                "waits for ImageStreamTag shop/ruby:3, which points at nothing yet;"
                " until then it is local:5000/shop/ruby:3"
            ),
        ),
        ("not a repository", "", "waits for ImageStreamTag shop/ruby:3, which points at nothing yet"),
        ("ruby", "", "waits for ImageStreamTag shop/ruby:3, which points at nothing yet"),
    ],
)
@pytest.mark.parametrize("forced", [False, True])
def test_a_name_whose_tag_points_at_nothing_is_put_off(serves: str, image: str, why: str, forced: bool) -> None:
    found = lookups.look_up(the("ruby:3", forced=forced), stream(serves=serves, local=not forced))
    assert found == Answer(image, waits=True, why=why)


def test_what_was_put_off_is_looked_up_as_the_name_it_stood_for() -> None:
    known = stream(serves="local:5000/shop/ruby", tags=("2.7", "3"))
    found = the("local:5000/shop/ruby:3", waiting={"web": "ruby:3", "gone": "x"})
    assert (found.image, found.name, found.tag) == ("local:5000/shop/ruby:3", "ruby:3", "3")
    assert lookups.look_up(found, known).image == PULL_SPEC
    waits = lookups.look_up(found, replace(known, tags=()))
    assert (waits.waits, waits.image) == (True, "")


@pytest.mark.parametrize(
    "known", [pytest.param(None, id="no stream"), pytest.param(stream(local=False, tags=("3",)), id="not local")]
)
def test_of_a_name_that_nobody_reads_nothing_is_said(known: Stream | None) -> None:
    assert lookups.look_up(the("r.io/x:1", forced=True, waiting={"web": "ruby:3"}), None) == Answer()
    assert lookups.look_up(the("r.io/x:1", waiting={"web": "ruby:3"}), known) == Answer()


@pytest.mark.parametrize("image", ["r.io/other:1", "local:5000/shop/ruby:2.7", f"local:5000/shop/ruby@{DIGEST}"])
def test_what_somebody_has_set_since_then_is_left(image: str) -> None:
    found = the(image, waiting={"web": "ruby:3"})
    assert lookups.look_up(found, stream(serves="local:5000/shop/ruby", tags=("3",))) == Answer()


def test_a_name_that_is_written_now_counts_more_than_one_that_was_put_off() -> None:
    assert the("ruby:2.7", waiting={"web": "ruby:3"}).tag == "2.7"


@pytest.mark.parametrize(
    ("text", "found"),
    [
        (None, {}),
        ("", {}),
        ('{"web":"ruby:3"}', {"web": "ruby:3"}),
        ('{"web":"ruby:3","n":1,"l":[]}', {"web": "ruby:3"}),
        ("[]", {}),
        ("{", {}),
        ("[" * 100_000, {}),
    ],
)
def test_what_was_put_off_is_read(text: str | None, found: dict[str, str]) -> None:
    assert lookups.read_waiting(text) == found


def test_what_is_put_off_is_written_as_it_is_read() -> None:
    waiting = {"web": "ruby:3", "api": "ruby"}
    assert lookups.write_waiting(waiting) == '{"api":"ruby","web":"ruby:3"}'
    assert lookups.read_waiting(lookups.write_waiting(waiting)) == waiting
    assert lookups.write_waiting({}) == ""


@pytest.mark.parametrize(
    ("annotations", "forced"),
    [(("*",), True), ((None, "*"), True), ((None, None), False), (("true",), False), (("**",), False), ((), False)],
)
def test_only_a_star_forces_names(annotations: tuple[str | None, ...], forced: bool) -> None:
    assert lookups.is_forced(*annotations) == forced


def test_kinds_with_a_pod_spec_are_looked_up_and_only_a_job_stays_as_it_was_created() -> None:
    assert [kind.label for kind in KINDS if not lookups.concerns(kind)] == ["BuildConfig", "Build", "Pipeline"]
    assert [kind.label for kind in KINDS if lookups.is_fixed(kind)] == ["Job"]
