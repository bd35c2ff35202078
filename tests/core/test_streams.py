"""What a tag resolves to, and what a push moves."""

from __future__ import annotations

from dataclasses import replace

import pytest

from listener.core import references, streams
from listener.core.history import Resolution, TagHistory, TagItem
from listener.core.streams import Repository, Resolved, Serving, Source, SpecTag, Stream, StreamKey

DIGEST = "sha256:" + "a" * 64
PUSHED = f"r.io/shop/web@{DIGEST}"
WEB = Repository("r.io", "shop/web")


def item(reference: str = PUSHED, image: str = DIGEST, generation: int = 3) -> TagItem:
    return TagItem("2026-01-01T00:00:00Z", reference, image, generation)


def spec(
    name: str, kind: str = "", source: str = "", *, reference: bool = False, policy: str = "Source", namespace: str = ""
) -> SpecTag:
    return SpecTag(name, kind, namespace, source, reference, 1, policy)


def stream(
    *spec_tags: SpecTag, tags: tuple[TagHistory, ...] = (), repository: str = "", status_repository: str = ""
) -> Stream:
    return Stream(StreamKey("shop", "web"), "uid", "1", 1, repository, status_repository, spec_tags, tags)


LATEST = (TagHistory("latest", (item(),)),)
LOCAL = spec("latest", policy="Local")
INTERNAL = "registry.svc:5000/shop/web"


@pytest.mark.parametrize(
    ("found", "expected"),
    [
        pytest.param(stream(tags=LATEST), PUSHED, id="no spec tag"),
        pytest.param(stream(spec("latest"), tags=LATEST, status_repository=INTERNAL), PUSHED, id="policy Source"),
        pytest.param(stream(LOCAL, tags=LATEST, status_repository=INTERNAL), f"{INTERNAL}@{DIGEST}", id="policy Local"),
        pytest.param(stream(LOCAL, tags=LATEST), PUSHED, id="Local without repository"),
        pytest.param(stream(LOCAL, tags=LATEST, status_repository="A B"), PUSHED, id="Local, no repository name"),
        pytest.param(
            stream(LOCAL, tags=LATEST, status_repository=f"{INTERNAL}:x"),
            f"{INTERNAL}@{DIGEST}",
            id="Local drops a tag",
        ),
        pytest.param(
            stream(LOCAL, tags=LATEST, status_repository="shop/web"), f"shop/web@{DIGEST}", id="Local adds no defaults"
        ),
    ],
)
@pytest.mark.parametrize("tag", ["latest", ""])
def test_resolves_by_the_reference_policy(found: Stream, expected: str, tag: str) -> None:
    assert found.resolve(tag) == Resolved(expected, DIGEST, 3)
    assert found.resolve_all() == {"latest": Resolved(expected, DIGEST, 3)}


@pytest.mark.parametrize("tag", ["latest", ""])
def test_what_was_pulled_before_is_named_by_the_reference_policy_too(tag: str) -> None:
    digests = [f"sha256:{letter * 64}" for letter in "cba"]
    items = (*(item(f"r.io/shop/web@{digest}", digest) for digest in digests), item("", ""))
    tags = (TagHistory("latest", items), TagHistory("other", items[1:]))
    assert stream(tags=tags).earlier(tag) == {f"r.io/shop/web@{digest}" for digest in digests[1:]}
    local = stream(LOCAL, tags=tags, status_repository=INTERNAL)
    assert local.earlier(tag) == local.earlier(tag) == {f"{INTERNAL}@{digest}" for digest in digests[1:]}
    assert stream().earlier(tag) == frozenset()


def test_a_reference_tag_resolves_to_the_recorded_name_even_if_local() -> None:
    recorded = (TagHistory("latest", (item("quay.io/app:floating", image=""),)),)
    found = stream(LOCAL, tags=recorded, status_repository=INTERNAL)
    assert found.resolve("latest") == Resolved("quay.io/app:floating", "", 3)


@pytest.mark.parametrize(
    "tags",
    [
        pytest.param((), id="no status tag"),
        pytest.param((TagHistory("latest"),), id="no items"),
        pytest.param((TagHistory("latest", (item(reference=""),)),), id="an item without a name"),
        pytest.param((TagHistory("other", (item(),)),), id="another tag"),
    ],
)
def test_resolves_to_nothing_while_the_tag_points_at_nothing(tags: tuple[TagHistory, ...]) -> None:
    found = stream(spec("latest", "DockerImage", "r.io/shop/web"), tags=tags)
    assert found.resolve("latest") is None
    assert "latest" not in found.resolve_all()


def test_only_the_head_counts() -> None:
    older = item("r.io/old@sha256:" + "b" * 64, "sha256:" + "b" * 64)
    assert stream(tags=(TagHistory("v1", (item(), older)),)).resolve("v1") == Resolved(PUSHED, DIGEST, 3)


def test_a_history_takes_its_place_in_order() -> None:
    a, b, c = (TagHistory(tag, (item(),)) for tag in "abc")
    changed = TagHistory("b", (item(generation=9),))
    assert stream(tags=(a, c)).with_history(b).tags == (a, b, c)
    assert stream(tags=(a, b, c)).with_history(changed).tags == (a, changed, c)
    assert stream().with_history(b).tags == (b,)
    assert stream(tags=(a, b)).history("b") is b
    assert stream(tags=(a, b)).history("x") == TagHistory("x")


@pytest.mark.parametrize(
    ("found", "pushed", "moved"),
    [
        pytest.param(
            stream(spec("v1", "DockerImage", "r.io/shop/web:v1")), "v1", {"v1": "r.io/shop/web"}, id="same name"
        ),
        pytest.param(
            stream(spec("prod", "DockerImage", "r.io/shop/web:v1")), "v1", {"prod": "r.io/shop/web"}, id="other name"
        ),
        pytest.param(stream(spec("prod", "DockerImage", "r.io/shop/web:v1")), "prod", {}, id="not by its own name"),
        pytest.param(
            stream(spec("x", "DockerImage", "r.io/shop/web")),
            "latest",
            {"x": "r.io/shop/web"},
            id="no tag means latest",
        ),
        pytest.param(
            stream(spec("b", "DockerImage", "r.io/shop/web:1"), spec("a", "DockerImage", "R.IO/shop/web:1")),
            "1",
            {"a": "R.IO/shop/web", "b": "r.io/shop/web"},
            id="several, sorted, hosts without case, each as it is written",
        ),
        pytest.param(
            stream(spec("v1", "DockerImage", f"r.io/shop/web:v1@{DIGEST}")), "v1", {}, id="pinned to a digest"
        ),
        pytest.param(stream(spec("v1", "DockerImage", "r.io/shop/web:v1", reference=True)), "v1", {}, id="reference"),
        pytest.param(stream(spec("v1", "ImageStreamTag", "web:v1")), "v1", {}, id="another kind"),
        pytest.param(stream(spec("v1", "DockerImage", "NO NAME")), "v1", {}, id="no reference"),
        pytest.param(stream(spec("v1", "DockerImage", "r.io/shop/api:v1")), "v1", {}, id="another repository"),
        pytest.param(stream(spec("v1", "DockerImage", "shop/web:v1")), "v1", {}, id="the same name on another host"),
        pytest.param(stream(repository="r.io/shop/web"), "v1", {"v1": "r.io/shop/web"}, id="whole repository"),
        pytest.param(
            stream(spec("v1"), repository="r.io/shop/web"),
            "v1",
            {"v1": "r.io/shop/web"},
            id="whole repository, placeholder",
        ),
        pytest.param(
            stream(spec("v1", "DockerImage", "r.io/shop/api:v1"), repository="r.io/shop/web"),
            "v1",
            {},
            id="whole repository, the tag comes from elsewhere",
        ),
        pytest.param(
            stream(spec("latest", "DockerImage", "r.io/shop/web:v2"), repository="r.io/shop/web"),
            "latest",
            {},
            id="whole repository, the tag follows another tag of it",
        ),
        pytest.param(
            stream(spec("latest", "DockerImage", "r.io/shop/web:v2"), repository="R.io/shop/web"),
            "v2",
            {"latest": "r.io/shop/web", "v2": "R.io/shop/web"},
            id="whole repository and a tag that follows this one",
        ),
        pytest.param(stream(repository="r.io/shop/api"), "v1", {}, id="whole other repository"),
        pytest.param(stream(), "v1", {}, id="nothing asked for"),
    ],
)
def test_which_tags_a_push_moves(found: Stream, pushed: str, moved: dict[str, str]) -> None:
    assert list(found.fed_by(WEB, pushed).items()) == list(moved.items())
    if moved:
        assert WEB in found.repositories()


def test_docker_hub_is_one_repository_under_all_its_names() -> None:
    names = ("nginx", "docker.io/nginx", "index.docker.io/library/nginx", "registry-1.docker.io/library/nginx:1")
    hub = Repository("docker.io", "library/nginx")
    found = stream(*(spec(f"t{n}", "DockerImage", name) for n, name in enumerate(names)))
    assert found.repositories() == {hub}
    assert found.fed_by(hub, "latest") == {f"t{n}": names[n] for n in range(3)}


def test_repositories_are_those_that_images_are_imported_from() -> None:
    found = stream(
        spec("a", "DockerImage", "r.io/a"),
        spec("b", "DockerImage", f"r.io/b@{DIGEST}"),
        spec("c", "DockerImage", "r.io/c", reference=True),
        spec("d", "DockerImage", "NO NAME"),
        spec("e", "ImageStreamTag", "e:latest"),
        repository="quay.io/whole",
    )
    assert found.repositories() == {Repository("r.io", "a"), Repository("r.io", "b"), Repository("quay.io", "whole")}
    assert stream(repository="NO NAME").repositories() == frozenset()


@pytest.mark.parametrize(
    ("spec_tag", "image", "follows", "name"),
    [
        pytest.param(spec("x", "DockerImage", "r.io/shop/web:v1"), True, (WEB, "v1"), "r.io/shop/web", id="a tag"),
        pytest.param(spec("x", "DockerImage", "R.io/shop/web"), True, (WEB, "latest"), "R.io/shop/web", id="no tag"),
        pytest.param(spec("x", "DockerImage", f"r.io/shop/web@{DIGEST}"), True, None, "r.io/shop/web", id="a digest"),
        pytest.param(spec("x", "DockerImage", f"r.io/shop/web:v1@{DIGEST}"), True, None, "r.io/shop/web", id="both"),
        pytest.param(spec("x", "DockerImage", "r.io/shop/web:v1", reference=True), False, None, "", id="a reference"),
        pytest.param(spec("x", "DockerImage", "NO NAME"), False, None, "", id="no name"),
        pytest.param(spec("x", "DockerImage", ""), False, None, "", id="an empty name"),
        pytest.param(spec("x", "ImageStreamTag", "web:v1"), False, None, "", id="a tag of a stream"),
        pytest.param(spec("x"), False, None, "", id="a placeholder"),
    ],
)
def test_what_a_tag_imports_and_follows(
    spec_tag: SpecTag, image: bool, follows: tuple[Repository, str] | None, name: str
) -> None:
    assert spec_tag.image() == (references.parse(spec_tag.from_name) if image else None)
    assert (spec_tag.source() is not None) is image
    assert spec_tag.follows() == follows
    assert spec_tag.repository_name() == name


def test_what_a_tag_asks_is_its_source_and_nothing_else() -> None:
    asked = SpecTag(
        "x", "ImageStreamTag", "other", "web:v1", True, 4, "Local", "PreserveOriginal", True, True, "", "5m"
    )
    assert asked.asks() == Resolution("ImageStreamTag", "other", "web:v1", True, "PreserveOriginal", "")


@pytest.mark.parametrize(
    ("written", "source", "shown"),
    [
        pytest.param(
            "nginx", ("docker.io", "library/nginx", "latest", ""), "docker.io/library/nginx:latest", id="bare"
        ),
        pytest.param("R.io/web:1", ("r.io", "web", "1", ""), "r.io/web:1", id="a tag, the host without case"),
        pytest.param(f"r.io/web@{DIGEST}", ("r.io", "web", "", DIGEST), f"r.io/web@{DIGEST}", id="a digest"),
        pytest.param(f"r.io/web:1@{DIGEST}", ("r.io", "web", "", DIGEST), f"r.io/web@{DIGEST}", id="the digest counts"),
    ],
)
def test_a_source_is_how_its_registry_is_asked(written: str, source: tuple[str, ...], shown: str) -> None:
    found = Source.of(references.parse(written))
    assert found == source
    assert str(found) == shown
    assert Source.of(found.reference) == found


@pytest.mark.parametrize(
    ("spec_tag", "expected"),
    [
        pytest.param(spec("x", "ImageStreamTag", "v1"), "shop/web", id="a tag of its own"),
        pytest.param(spec("x", "ImageStreamTag", "web:v1"), "shop/web", id="a tag of its own, named"),
        pytest.param(spec("x", "ImageStreamTag", "api:v1"), "shop/api", id="a tag of another"),
        pytest.param(spec("x", "ImageStreamTag", "api:"), "shop/api", id="no tag"),
        pytest.param(spec("x", "ImageStreamTag", "api:v1", namespace="team"), "team/api", id="another namespace"),
        pytest.param(spec("x", "ImageStreamTag", "v1", namespace="team"), "team/web", id="its name elsewhere"),
        pytest.param(spec("x", "ImageStreamImage", DIGEST), "shop/web", id="an image of its own"),
        pytest.param(spec("x", "ImageStreamImage", f"api@{DIGEST}"), "shop/api", id="an image of another"),
        pytest.param(spec("x", "ImageStreamImage", "api@a", namespace="team"), "team/api", id="an image elsewhere"),
        pytest.param(spec("x", "ImageStreamTag", "a:b:c"), None, id="a tag with two separators"),
        pytest.param(spec("x", "ImageStreamTag", ":v1"), None, id="a tag of a stream without a name"),
        pytest.param(spec("x", "ImageStreamImage", "a@b@c"), None, id="an image with two separators"),
        pytest.param(spec("x", "ImageStreamImage", "@a"), None, id="an image of a stream without a name"),
        pytest.param(spec("x", "DockerImage", "r.io/web:v1"), None, id="a registry"),
        pytest.param(spec("x", "DockerImage", "r.io/web:v1", namespace="team"), None, id="a registry, and a namespace"),
        pytest.param(spec("x"), None, id="a placeholder"),
    ],
)
def test_which_stream_a_tag_comes_from(spec_tag: SpecTag, expected: str | None) -> None:
    found = stream(spec_tag)
    key = found.source_stream(spec_tag)
    assert (str(key) if key else None) == expected
    assert found.sources() == ({key} if key and key != found.key else frozenset())


def test_sources_are_each_named_once() -> None:
    found = stream(
        spec("a", "ImageStreamTag", "api:v1"),
        spec("b", "ImageStreamImage", "api@a"),
        spec("c", "ImageStreamTag", "base:v1", namespace="team"),
        spec("d", "ImageStreamTag", "a"),
    )
    assert found.sources() == {StreamKey("shop", "api"), StreamKey("team", "base")}


@pytest.mark.parametrize(
    ("shared_with", "namespace", "expected"),
    [
        pytest.param((), "shop", True, id="its own"),
        pytest.param((), "team", False, id="nobody"),
        pytest.param(("team", "other"), "team", True, id="named"),
        pytest.param(("team",), "team-2", False, id="only named in part"),
        pytest.param(("*",), "team", True, id="all"),
        pytest.param(("te*",), "team", False, id="no patterns"),
        pytest.param(("*",), "", True, id="all, whatever it is called"),
    ],
)
def test_who_may_take_its_tags(shared_with: tuple[str, ...], namespace: str, expected: bool) -> None:
    assert replace(stream(), shared_with=frozenset(shared_with)).shares_with(namespace) is expected


@pytest.mark.parametrize(
    ("spec_tags", "expected"),
    [((), False), ((spec("v1"),), False), ((SpecTag("v1", hold=""),), True), ((SpecTag("v1", hold=DIGEST),), True)],
    ids=["no spec tag", "free", "held", "held at an image"],
)
def test_whether_a_tag_is_held(spec_tags: tuple[SpecTag, ...], expected: bool) -> None:
    assert stream(*spec_tags).is_held("v1") is expected


def test_what_waits_is_not_resolved() -> None:
    waiting = (
        TagHistory("v1", (item(),), waiting=(item("r.io/new", "sha256:" + "b" * 64),)),
        TagHistory("v2", waiting=(item(),)),
    )
    found = stream(tags=waiting)
    assert found.resolve_all() == {"v1": Resolved(PUSHED, DIGEST, 3)}
    assert found.resolve("v2") is None


class TestServing:
    @pytest.mark.parametrize(
        ("serving", "repository", "own", "public"),
        [
            pytest.param(Serving(), "", "", "", id="no registry"),
            pytest.param(Serving(), "r.io/whole", "r.io/whole", "", id="no registry, a whole repository"),
            pytest.param(Serving("in.svc:5000"), "", "in.svc:5000/shop/web", "", id="a registry"),
            pytest.param(Serving("in.svc:5000"), "r.io/whole", "in.svc:5000/shop/web", "", id="a registry goes first"),
            pytest.param(
                Serving("in.svc:5000", "r.example"),
                "",
                "in.svc:5000/shop/web",
                "r.example/shop/web",
                id="seen from outside",
            ),
            pytest.param(
                Serving("", "r.example"), "r.io/whole", "r.io/whole", "r.example/shop/web", id="only from outside"
            ),
        ],
    )
    def test_names_the_repositories(self, serving: Serving, repository: str, own: str, public: str) -> None:
        before = replace(
            stream(repository=repository, status_repository="old.svc/shop/web"), public_repository="old/web"
        )
        named = serving.name(before)
        assert (named.status_repository, named.public_repository) == (own, public)
        assert serving.name(named) is named


def test_keys_are_written_as_people_do() -> None:
    assert str(StreamKey("shop", "web")) == "shop/web"
    assert f"{WEB}" == "r.io/shop/web"


def _moved(tag: str, created: str) -> TagHistory:
    return TagHistory(tag, (TagItem(created, "r", "i", 1),))


@pytest.mark.parametrize(
    ("histories", "tags", "updated"),
    [
        pytest.param([], "", "", id="no tags"),
        pytest.param([TagHistory("empty")], "", "", id="a tag without history"),
        pytest.param(
            [_moved("a", "2026-01-01"), _moved("b", "2026-01-02")], "b,a", "2026-01-02", id="latest move first"
        ),
        pytest.param([_moved("b", "2026-01-01"), _moved("a", "2026-01-01")], "a,b", "2026-01-01", id="then by name"),
        pytest.param(
            [_moved("a" * 20, "2026-01-03"), _moved("b" * 19, "2026-01-02"), _moved("c", "2026-01-01")],
            f"{'a' * 20},{'b' * 19} + 1 more...",
            "2026-01-03",
            id="forty wide, then how many more",
        ),
        pytest.param(
            [_moved("a" * 60, "2026-01-03"), _moved("b", "2026-01-02")],
            f"{'a' * 60} + 1 more...",
            "2026-01-03",
            id="the first is always shown",
        ),
    ],
)
def test_the_summary_names_tags_as_oc_get_does(histories: list[TagHistory], tags: str, updated: str) -> None:
    assert streams.summarise(histories) == streams.Summary(tags, updated)


@pytest.mark.parametrize(
    ("spec_tag", "followed", "expected"),
    [
        (None, "", False),
        (spec("latest"), "", False),
        (spec("latest", "ImageStreamTag", "base:1"), f"{PUSHED} {DIGEST}", True),
        (spec("latest", "ImageStreamTag", "base:1"), f"{PUSHED} sha256:{'b' * 64}", False),
        (spec("latest", "ImageStreamTag", "base:1"), "", False),
        (spec("latest", "ImageStreamImage", f"base@{DIGEST}"), "", True),
        (spec("latest", "ImageStreamImage", "base@aaaa"), "", True),
        (spec("latest", "ImageStreamImage", "base@bbbb"), "", False),
        (spec("latest", "DockerImage", PUSHED, reference=True), "", True),
        (spec("latest", "DockerImage", "r.io/other:1", reference=True), "", False),
        (spec("latest", "DockerImage", "r.io/shop/web:1"), "", True),
        (spec("latest", "DockerImage", "r.io/other:1"), "", False),
    ],
)
def test_a_tag_that_was_pushed_to_is_not_at_its_source(spec_tag: SpecTag | None, followed: str, expected: bool) -> None:
    resolved = replace(spec_tag.asks(), followed=followed) if spec_tag else None
    found = stream(*([spec_tag] if spec_tag else []), tags=(TagHistory("latest", (item(),), resolved=resolved),))
    assert found.is_at_its_source("latest") is expected
    assert not replace(found, tags=()).is_at_its_source("latest")
