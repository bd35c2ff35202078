"""What a tag resolves to, and what a push moves."""

from __future__ import annotations

import pytest

from listener.core import streams
from listener.core.history import TagHistory, TagItem
from listener.core.streams import Repository, Resolved, SpecTag, Stream, StreamKey

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
        pytest.param(stream(spec("v1", "DockerImage", "r.io/shop/web:v1")), "v1", ("v1",), id="same name"),
        pytest.param(stream(spec("prod", "DockerImage", "r.io/shop/web:v1")), "v1", ("prod",), id="other name"),
        pytest.param(stream(spec("prod", "DockerImage", "r.io/shop/web:v1")), "prod", (), id="not by its own name"),
        pytest.param(stream(spec("x", "DockerImage", "r.io/shop/web")), "latest", ("x",), id="no tag means latest"),
        pytest.param(
            stream(spec("b", "DockerImage", "r.io/shop/web:1"), spec("a", "DockerImage", "R.IO/shop/web:1")),
            "1",
            ("a", "b"),
            id="several, sorted, hosts without case",
        ),
        pytest.param(
            stream(spec("v1", "DockerImage", f"r.io/shop/web:v1@{DIGEST}")), "v1", (), id="pinned to a digest"
        ),
        pytest.param(stream(spec("v1", "DockerImage", "r.io/shop/web:v1", reference=True)), "v1", (), id="reference"),
        pytest.param(stream(spec("v1", "ImageStreamTag", "web:v1")), "v1", (), id="another kind"),
        pytest.param(stream(spec("v1", "DockerImage", "NO NAME")), "v1", (), id="no reference"),
        pytest.param(stream(spec("v1", "DockerImage", "r.io/shop/api:v1")), "v1", (), id="another repository"),
        pytest.param(stream(spec("v1", "DockerImage", "shop/web:v1")), "v1", (), id="the same name on another host"),
        pytest.param(stream(repository="r.io/shop/web"), "v1", ("v1",), id="whole repository"),
        pytest.param(stream(spec("v1"), repository="r.io/shop/web"), "v1", ("v1",), id="whole repository, placeholder"),
        pytest.param(
            stream(spec("v1", "DockerImage", "r.io/shop/api:v1"), repository="r.io/shop/web"),
            "v1",
            (),
            id="whole repository, the tag comes from elsewhere",
        ),
        pytest.param(
            stream(spec("latest", "DockerImage", "r.io/shop/web:v2"), repository="r.io/shop/web"),
            "latest",
            (),
            id="whole repository, the tag follows another tag of it",
        ),
        pytest.param(
            stream(spec("latest", "DockerImage", "r.io/shop/web:v2"), repository="r.io/shop/web"),
            "v2",
            ("latest", "v2"),
            id="whole repository and a tag that follows this one",
        ),
        pytest.param(stream(repository="r.io/shop/api"), "v1", (), id="whole other repository"),
        pytest.param(stream(), "v1", (), id="nothing asked for"),
    ],
)
def test_which_tags_a_push_moves(found: Stream, pushed: str, moved: tuple[str, ...]) -> None:
    assert found.fed_by(WEB, pushed) == moved
    if moved:
        assert WEB in found.repositories()


def test_docker_hub_is_one_repository_under_all_its_names() -> None:
    names = ("nginx", "docker.io/nginx", "index.docker.io/library/nginx", "registry-1.docker.io/library/nginx:1")
    hub = Repository("docker.io", "library/nginx")
    found = stream(*(spec(f"t{n}", "DockerImage", name) for n, name in enumerate(names)))
    assert found.repositories() == {hub}
    assert found.fed_by(hub, "latest") == ("t0", "t1", "t2")


def test_repositories_leave_out_what_no_push_can_move() -> None:
    found = stream(
        spec("a", "DockerImage", "r.io/a"),
        spec("b", "DockerImage", f"r.io/b@{DIGEST}"),
        spec("c", "DockerImage", "r.io/c", reference=True),
        spec("d", "DockerImage", "NO NAME"),
        spec("e", "ImageStreamTag", "e:latest"),
        repository="quay.io/whole",
    )
    assert found.repositories() == {Repository("r.io", "a"), Repository("quay.io", "whole")}
    assert stream(repository="NO NAME").repositories() == frozenset()


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
