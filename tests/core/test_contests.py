"""When an image is put back, and when it is left to somebody else."""

from __future__ import annotations

from dataclasses import replace

import pytest

from listener.core import contests
from listener.core.contests import ROUNDS, WINDOW_SECONDS, Contest
from listener.core.deployment_configs import ConfigTrigger
from listener.core.kinds import DEPLOYMENT
from listener.core.managers import Manager
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import ContainerTrigger, Triggers
from listener.core.workloads import Container, Workload, WorkloadKey

WEB = StreamKey("shop", "web")


def fought(image: str, *times: float) -> Contest:
    found: Contest | None = None
    for moment in times:
        found = contests.set_back(found, image, moment)
    assert found is not None
    return found


@pytest.mark.parametrize(
    ("times", "is_lost"),
    [
        pytest.param((0,), False, id="one edit by hand"),
        pytest.param((0, 1, 2), False, id="three"),
        pytest.param((0, 1, 2, 3), True, id="four within seconds"),
        pytest.param((0, 3600, 7200, 10800), True, id="a tool that comes by once an hour"),
        pytest.param((0, 1, 2, WINDOW_SECONDS + 5), False, id="the fourth a day later"),
        pytest.param(tuple(n * 9 * 3600 for n in range(20)), False, id="an edit every nine hours"),
    ],
)
def test_when_a_fight_is_lost(times: tuple[float, ...], is_lost: bool) -> None:
    assert fought("a", *times).is_lost(times[-1]) is is_lost


def test_another_tag_is_another_fight_but_after_a_lost_one_it_is_over_at_once() -> None:
    short = fought("a", *range(ROUNDS - 1))
    assert contests.set_back(short, "b", 10) == Contest("b", (10,))
    lost = fought("a", *range(ROUNDS))
    assert contests.set_back(lost, "b", 10).is_lost(10)
    assert not lost.is_lost(WINDOW_SECONDS + 10)
    assert contests.set_back(lost, "b", WINDOW_SECONDS + 10) == Contest("b", (WINDOW_SECONDS + 10,))


def test_an_image_that_is_sent_ends_the_contest_over_another_but_not_the_memory_of_a_lost_one() -> None:
    short, lost = fought("a", *range(ROUNDS - 1)), fought("a", *range(ROUNDS))
    assert contests.sent(short, "a", 10) == short
    assert contests.sent(short, "b", 10) is None
    over = contests.sent(lost, "b", 10)
    assert over is not None
    assert over.image not in ("a", "b")  # neither is left to anybody
    assert contests.sent(over, "b", 11) == over  # the patch was refused, and is sent again
    assert contests.set_back(over, "b", 12) == Contest("b", (1, 2, 3, 12))
    assert contests.sent(lost, "b", WINDOW_SECONDS + 10) is None


def workload(web: str, api: str = "api:1", init: str = "init:1", *, paused: bool = False) -> Workload:
    trigger = ContainerTrigger(WEB, "latest", paused, "PATH", "containers", "web")
    return Workload(
        WorkloadKey("Deployment", "shop", "web"),
        "u",
        "1",
        Triggers((trigger,)),
        (Container("web", web), Container("api", api)),
        (Container("init", init),),
    )


@pytest.mark.parametrize(
    ("before", "after", "found"),
    [
        pytest.param(workload("NEW"), workload("edited"), {"web": "NEW"}, id="set back"),
        pytest.param(workload("old"), workload("NEW"), {}, id="our own patch"),
        pytest.param(workload("old"), workload("older"), {}, id="an edit of what was not ours"),
        pytest.param(workload("NEW"), workload("NEW", api="api:2"), {}, id="an edit of another container"),
        pytest.param(workload("NEW"), workload("NEW"), {}, id="nothing"),
        pytest.param(workload("NEW"), workload("edited", paused=True), {}, id="paused, and edited"),
        pytest.param(
            workload("NEW"), replace(workload("NEW"), containers=(Container("api", "api:1"),)), {}, id="taken out"
        ),
        pytest.param(
            workload("NEW"),
            replace(workload("NEW"), containers=(Container("api", "api:1"), Container("web", "NEW"))),
            {},
            id="reordered",
        ),
    ],
)
def test_what_was_set_back(before: Workload, after: Workload, found: dict[str, str]) -> None:
    assert contests.containers_set_back(before, after, lambda *_: Resolved("NEW", "", 1)) == found


def test_each_container_is_judged_by_its_own_tag() -> None:
    latest = ContainerTrigger(WEB, "latest", False, "PATH", "containers", "web")
    stable = ContainerTrigger(WEB, "stable", False, "PATH", "containers", "api")
    tags = {"latest": "NEW", "stable": "OLD"}
    both = Triggers((latest, stable))
    # `web` had what `api` follows, and goes to what it follows itself: nobody set that back.
    before = replace(workload("OLD", api="OLD"), triggers=both)
    after = replace(workload("NEW", api="OLD"), triggers=both)
    assert contests.containers_set_back(before, after, lambda _, tag: Resolved(tags[tag], "", 1)) == {}


def test_a_deployment_config_is_judged_too() -> None:
    trigger = ConfigTrigger(WEB, "latest", False, "PATH", 0, "web:latest", ("web", "init"), "NEW")
    before, after = (replace(workload(web, init="NEW"), triggers=Triggers((trigger,))) for web in ("NEW", "edited"))
    assert contests.containers_set_back(before, after, lambda *_: Resolved("NEW", "", 1)) == {"web": "NEW"}


def test_the_sentence_names_who_and_what_to_do() -> None:
    lost = fought("r.io/web@sha256:a", 0, 4, 8, 12)
    manager = Manager("helm-controller", "Apply", "", {})
    assert contests.sentence(lost, manager, workload("edited"), DEPLOYMENT, "web") == (
        "container web: field manager 'helm-controller' set the image back 4 times within 12 s, the last time from"
        " r.io/web@sha256:a, so it is left alone until the tag moves. If the tag shall decide: add {paths:"
        " [/spec/template/spec/containers/0/image], target: {kind: Deployment}} to spec.driftDetection.ignore of the"
        " HelmRelease"
    )
    init = contests.sentence(lost, None, workload("edited"), DEPLOYMENT, "init")
    assert "container init: somebody set the image back" in init
