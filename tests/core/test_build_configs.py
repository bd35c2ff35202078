"""OpenShift's BuildConfig: what its triggers say, and the build that a moved tag asks for."""

from __future__ import annotations

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import pytest

from listener.core import build_configs
from listener.core.actions import ImageChange, Plan, Start, View, Why
from listener.core.build_configs import BuildTrigger
from listener.core.kinds import BUILD_CONFIG
from listener.core.streams import Resolved, StreamKey
from listener.core.triggers import Triggers
from listener.core.workloads import Workload, WorkloadKey

NOW = datetime(2026, 11, 23, 2, 38, 6, tzinfo=UTC)

BASE, TOOLS = StreamKey("shop", "base"), StreamKey("ci", "tools")
NEW_BASE = Resolved("r.io/shop/base@sha256:new", "sha256:new", 4)
NEW_TOOLS = Resolved("r.io/ci/tools@sha256:tools", "sha256:tools", 2)
TAGS = {(BASE, "latest"): NEW_BASE, (TOOLS, "v1"): NEW_TOOLS}
SOURCE = {"kind": "ImageStreamTag", "name": "base:latest"}
FROM_TOOLS = {"kind": "ImageStreamTag", "name": "tools:v1", "namespace": "ci"}


def entry(source: Mapping[str, Any] | None = SOURCE, *, last: str = "", paused: bool = False) -> dict[str, Any]:
    change: dict[str, Any] = {"paused": paused}
    if source is not None:
        change["from"] = source
    if last:
        change["lastTriggeredImageID"] = last
    return {"type": "ImageChange", "imageChange": change}


def strategy(name: str, source: Mapping[str, Any] | None = SOURCE) -> dict[str, Any]:
    return {"type": name.removesuffix("Strategy").title(), name: {"from": source} if source else {}}


def read(
    *entries: dict[str, Any], built_from: Mapping[str, Any] | None = None, built: Mapping[str, str] | None = None
) -> Triggers:
    """`built` is by `NAMESPACE/NAME` (or NAME) what `status.imageChangeTriggers` says."""
    recorded = []
    for key, image in (built or {}).items():
        namespace, _, name = key.rpartition("/")
        recorded.append({"from": {"name": name, "namespace": namespace}, "lastTriggeredImageID": image})
    spec = {"triggers": list(entries), "strategy": built_from or {}}
    return build_configs.read(spec, {"imageChangeTriggers": recorded}, namespace="shop")


def workload(found: Triggers) -> Workload:
    return Workload(WorkloadKey("BuildConfig", "shop", "image"), "u", "7", found, (), ())


def plan(found: Triggers, tags: Mapping[tuple[StreamKey, str], Resolved] = TAGS) -> Plan:
    view = View(lambda stream, tag: tags.get((stream, tag)), lambda *_: None)
    return build_configs.plan(workload(found), BUILD_CONFIG, view, now=NOW)


# What the triggers say


def test_reads_what_oc_new_build_writes() -> None:
    github = {"type": "GitHub", "github": {"secret": "x"}}
    assert read(github, {"type": "ConfigChange"}, entry(FROM_TOOLS)) == Triggers(
        (BuildTrigger(TOOLS, "v1", paused=False, field_path="spec.triggers[2].imageChange", last=""),)
    )


def test_what_was_built_last_is_not_what_the_owner_says() -> None:
    assert read(entry()).say_the_same(read(entry(last="r.io/base@sha256:old")))
    assert not read(entry()).say_the_same(read(entry(paused=True)))


@pytest.mark.parametrize("name", ["sourceStrategy", "dockerStrategy", "customStrategy"])
@pytest.mark.parametrize("given", [{"imageChange": {}}, {"imageChange": None}, {}], ids=["{}", "null", "absent"])
def test_an_entry_without_a_source_follows_what_is_built_from(name: str, given: dict[str, Any]) -> None:
    [trigger] = read({"type": "ImageChange", **given}, built_from=strategy(name)).valid
    assert (trigger.stream, trigger.tag, trigger.paused) == (BASE, "latest", False)


@pytest.mark.parametrize(
    "built_from",
    [
        pytest.param({}, id="no strategy"),
        pytest.param({"type": "JenkinsPipeline", "jenkinsPipelineStrategy": {}}, id="one that builds from nothing"),
        pytest.param(strategy("dockerStrategy", None), id="what the Dockerfile says"),
        pytest.param(strategy("sourceStrategy", {"kind": "DockerImage", "name": "r.io/a:1"}), id="of a registry"),
        pytest.param(strategy("sourceStrategy", {"kind": "ImageStreamImage", "name": "a@sha256:b"}), id="an image"),
        pytest.param(strategy("sourceStrategy", {"name": "base:latest"}), id="of no kind"),
    ],
)
def test_an_entry_without_a_source_and_without_a_tag_to_build_from_follows_nothing(built_from: dict[str, Any]) -> None:
    assert read(entry(None), built_from=built_from) == Triggers()


def test_the_source_of_an_entry_comes_before_what_is_built_from() -> None:
    [trigger] = read(entry(FROM_TOOLS), built_from=strategy("sourceStrategy")).valid
    assert trigger.stream == TOOLS


@pytest.mark.parametrize(
    ("name", "told"), [("base", '"base"'), ("", '""'), (None, '""'), ("Base:latest", '"Base:latest"')]
)
def test_a_bad_source_is_told_and_stops_no_other(name: str | None, told: str) -> None:
    found = read(entry({"kind": "ImageStreamTag", "name": name}), entry(FROM_TOOLS))
    assert [trigger.stream for trigger in found.valid] == [TOOLS]
    [problem] = found.problems
    assert problem.startswith("spec.triggers[0].imageChange.from.name: expected STREAM:TAG")
    assert problem.endswith(f"found {told}")


@pytest.mark.parametrize(
    ("found", "last"),
    [
        pytest.param(read(entry()), "", id="never built"),
        pytest.param(read(entry(last="old")), "old", id="as it was recorded once, in the spec"),
        pytest.param(read(entry(last="old"), built={"base:latest": "new"}), "new", id="the status is newer"),
        pytest.param(read(entry(last="old"), built={"base:latest": ""}), "old", id="the status says nothing"),
        pytest.param(read(entry(), built={"shop/base:latest": "new"}), "new", id="with its own namespace written out"),
        pytest.param(read(entry(), built={"ci/base:latest": "new"}), "", id="a stream of that name elsewhere"),
        pytest.param(read(entry(), built={"base:v1": "new"}), "", id="another tag"),
        pytest.param(
            read(entry(None), built_from=strategy("sourceStrategy"), built={"base:latest": "new"}),
            "new",
            id="of what is built from",
        ),
    ],
)
def test_reads_what_was_built_last(found: Triggers, last: str) -> None:
    [trigger] = found.valid
    assert isinstance(trigger, BuildTrigger)
    assert trigger.last == last


@pytest.mark.parametrize("status", [{}, {"imageChangeTriggers": None}, {"imageChangeTriggers": [{"from": None}]}])
def test_a_status_that_says_nothing(status: dict[str, Any]) -> None:
    assert len(build_configs.read({"triggers": [entry()]}, status, namespace="shop").valid) == 1


@pytest.mark.parametrize("spec", [{}, {"triggers": None, "strategy": None}, {"triggers": []}])
def test_a_spec_that_says_nothing(spec: dict[str, Any]) -> None:
    assert build_configs.read(spec, {}, namespace="shop") == Triggers()


# The build


def test_the_whole_request_for_a_build() -> None:
    source = {"kind": "ImageStreamTag", "namespace": "shop", "name": "base:latest"}
    assert plan(read(entry(last="old"))) == Plan(
        (ImageChange("", "old", NEW_BASE.pull_spec, BASE, "latest", "sha256:new"),),
        start=Start(
            "build.openshift.io/v1",
            "buildconfigs",
            "image",
            "instantiate",
            {
                "apiVersion": "build.openshift.io/v1",
                "kind": "BuildRequest",
                "metadata": {"name": "image", "namespace": "shop"},
                "from": source,
                "triggeredByImage": {"kind": "DockerImage", "name": NEW_BASE.pull_spec},
                "triggeredBy": [
                    {
                        "message": "Image change",
                        "imageChangeBuild": {"imageID": NEW_BASE.pull_spec, "fromRef": source},
                    }
                ],
            },
        ),
        why=Why(BASE, "latest", 4, "sha256:new", NOW, "", ""),
    )


def test_several_triggers_that_fired_ask_for_one_build_that_names_all_of_them() -> None:
    planned = plan(read(entry(FROM_TOOLS), entry()))
    assert planned.start is not None
    body: Any = planned.start.body
    assert (body["from"]["name"], body["triggeredByImage"]["name"]) == ("tools:v1", NEW_TOOLS.pull_spec)
    causes = [cause["imageChangeBuild"] for cause in body["triggeredBy"]]
    assert [(cause["imageID"], cause["fromRef"]["name"]) for cause in causes] == [
        (NEW_TOOLS.pull_spec, "tools:v1"),
        (NEW_BASE.pull_spec, "base:latest"),
    ]
    assert [change.stream for change in planned.changes] == [TOOLS, BASE]


def test_a_source_that_two_triggers_name_is_one_cause() -> None:
    planned = plan(read(entry(), entry(None), built_from=strategy("sourceStrategy")))
    assert planned.start is not None
    body: Any = planned.start.body
    assert len(body["triggeredBy"]) == 1


def test_only_what_moved_is_a_cause() -> None:
    planned = plan(read(entry(FROM_TOOLS), entry(), built={"ci/tools:v1": NEW_TOOLS.pull_spec}))
    assert planned.start is not None
    body: Any = planned.start.body
    assert body["from"]["name"] == "base:latest"
    assert len(body["triggeredBy"]) == 1


@pytest.mark.parametrize(
    "found",
    [
        pytest.param(read(), id="no triggers"),
        pytest.param(read(entry(paused=True)), id="paused"),
        pytest.param(read(entry(), built={"base:latest": NEW_BASE.pull_spec}), id="built already"),
        pytest.param(read(entry(last=NEW_BASE.pull_spec)), id="built already, as it was recorded once"),
    ],
)
def test_nothing_to_build(found: Triggers) -> None:
    assert plan(found) == Plan()


def test_a_tag_that_points_at_nothing_yet_waits_and_holds_up_no_other() -> None:
    """A build needs its own base only; OpenShift does not wait either."""
    waiting = {"kind": "ImageStreamTag", "name": "base:v9"}
    assert plan(read(entry(waiting))) == Plan(waits=True)
    planned = plan(read(entry(waiting), entry()))
    assert planned.waits
    assert planned.start is not None
    assert [change.tag for change in planned.changes] == ["latest"]


def test_problems_are_told_with_the_build() -> None:
    planned = plan(read(entry({"name": "?"}), entry()))
    assert planned.start is not None
    assert len(planned.problems) == 1
