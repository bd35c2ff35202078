"""What only OpenShift has: DeploymentConfigs, and BuildConfigs that become Builds. As its own API server does it."""

from __future__ import annotations

import json
from importlib.resources import files
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import yaml

from tests import real_parts
from tests.sandbox.api import (
    APPLY_PATCH,
    DEFINITIONS,
    JSON_PATCH,
    NAMESPACE,
    STRATEGIC_PATCH,
    TABLE,
    Api,
    Object,
    Reply,
    gadget,
)

CONFIGS = f"/apis/apps.openshift.io/v1/namespaces/{NAMESPACE}/deploymentconfigs"
BUILD_CONFIGS = f"/apis/build.openshift.io/v1/namespaces/{NAMESPACE}/buildconfigs"
BUILDS = f"/apis/build.openshift.io/v1/namespaces/{NAMESPACE}/builds"
STREAMS = f"/apis/image.openshift.io/v1/namespaces/{NAMESPACE}/imagestreams"
BASE_1 = f"registry.example.com/team/base@sha256:{'1' * 64}"
BASE_2 = f"registry.example.com/team/base@sha256:{'2' * 64}"
TOOLS_1 = f"registry.example.com/team/tools@sha256:{'1' * 64}"
LABELS = {"app": "web"}
PODS = {"metadata": {"labels": LABELS}, "spec": {"containers": [{"name": "web"}]}}


def image_change(**parameters: Any) -> Object:
    changed = {"automatic": True, "containerNames": ["web"], "from": {"name": "web:prod"}, **parameters}
    return {"type": "ImageChange", "imageChangeParams": changed}


def deployment_config(name: str = "web", **spec: Any) -> Object:
    return {
        "apiVersion": "apps.openshift.io/v1",
        "kind": "DeploymentConfig",
        "metadata": {"name": name},
        "spec": {"replicas": 1, "triggers": [image_change()], "template": PODS, **spec},
    }


def tag(name: str, **more: Any) -> Object:
    return {"kind": "ImageStreamTag", "name": name, **more}


def build_config(*triggers: Object, name: str = "web", **spec: Any) -> Object:
    strategy = {"type": "Source", "sourceStrategy": {"from": {"name": "base:1"}}}
    return {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildConfig",
        "metadata": {"name": name, "labels": LABELS},
        "spec": {
            "source": {"git": {"uri": "https://git.example.com/web"}},
            "strategy": strategy,
            "triggers": list(triggers) or [{"type": "ImageChange"}],
            **spec,
        },
    }


def request(image: str = BASE_1, source: str = "base:1", **more: Any) -> Object:
    reference = tag(source, namespace=NAMESPACE)
    return {
        "apiVersion": "build.openshift.io/v1",
        "kind": "BuildRequest",
        "metadata": {"name": "web"},
        "from": reference,
        "triggeredByImage": {"kind": "DockerImage", "name": image},
        "triggeredBy": [{"message": "Image change", "imageChangeBuild": {"imageID": image, "fromRef": reference}}],
        **more,
    }


def told(reply: Reply) -> list[tuple[str, str]]:
    assert reply.code == 422, reply
    return [(each["field"], each["message"]) for each in reply.body["details"]["causes"]]


@pytest.fixture
async def streams(openshift: Api) -> Api:
    """Streams `base` and `tools`, whose tags 1 point at images."""
    definition = yaml.safe_load(files("listener.sandbox").joinpath("imagestreams.yaml").read_text())
    await openshift.create(DEFINITIONS, definition)
    for name, image in (("base", BASE_1), ("tools", TOOLS_1)):
        kind = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream"}
        await openshift.create(STREAMS, {**kind, "metadata": {"name": name}})
        await point(openshift, name, image)
    return openshift


async def point(api: Api, stream: str, image: str) -> None:
    """Let tag 1 of a stream point at an image."""
    item = {"created": "2026-01-01T00:00:00Z", "dockerImageReference": image, "image": f"sha256:{'1' * 64}"}
    tags = [{"tag": "1", "items": [{**item, "generation": 1}]}]
    reply = await api.patch(f"{STREAMS}/{stream}/status", {"status": {"tags": tags}})
    assert reply.code == 200, reply


# Who serves it


async def test_is_served_only_where_it_is_asked_for(api: Api) -> None:
    names = {each["name"] for each in (await api.get("/apis")).body["groups"]}
    assert names & {"apps.openshift.io", "build.openshift.io"} == set()
    assert (await api.get(CONFIGS)).code == 404


async def test_discovery_tells_what_there_is(openshift: Api) -> None:
    found = (await openshift.get("/apis/build.openshift.io/v1")).body["resources"]
    action = {"name": "buildconfigs/instantiate", "singularName": "", "namespaced": True, "kind": "BuildRequest"}
    assert {**action, "verbs": ["create"]} in found
    assert "buildconfigs/status" not in {each["name"] for each in found}
    names = {each["name"] for each in (await openshift.get("/apis/apps.openshift.io/v1")).body["resources"]}
    assert names == {"deploymentconfigs", "deploymentconfigs/scale", "deploymentconfigs/status"}
    accept = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList"
    groups = {each["metadata"]["name"]: each for each in (await openshift.get("/apis", Accept=accept)).body["items"]}
    resources = {each["resource"]: each for each in groups["build.openshift.io"]["versions"][0]["resources"]}
    (subresource,) = resources["buildconfigs"]["subresources"]
    assert (subresource["subresource"], subresource["verbs"]) == ("instantiate", ["create"])


# DeploymentConfigs


async def test_a_deployment_config_is_stored_with_its_defaults(openshift: Api) -> None:
    created = await openshift.create(CONFIGS, deployment_config())
    spec = created["spec"]
    source = {"kind": "ImageStreamTag", "namespace": NAMESPACE, "name": "web:prod"}
    assert spec["triggers"][0]["imageChangeParams"]["from"] == source
    assert spec["selector"] == LABELS
    assert spec["strategy"]["type"] == "Rolling"
    assert spec["strategy"]["rollingParams"] == {
        "updatePeriodSeconds": 1,
        "intervalSeconds": 1,
        "timeoutSeconds": 600,
        "maxUnavailable": "25%",
        "maxSurge": "25%",
    }
    assert (spec["revisionHistoryLimit"], spec["test"]) == (10, False)
    assert spec["template"]["spec"]["containers"][0]["imagePullPolicy"] == "IfNotPresent"
    assert created["metadata"]["generation"] == 1
    assert set(created["status"].values()) == {0}


@pytest.mark.parametrize(
    ("triggers", "stored"), [({}, [{"type": "ConfigChange"}]), ({"triggers": []}, [])], ids=["not told", "none"]
)
async def test_no_triggers_are_not_the_default(openshift: Api, triggers: Object, stored: list[Object]) -> None:
    config = deployment_config()
    del config["spec"]["triggers"]
    config["spec"]["template"] = {**PODS, "spec": {"containers": [{"name": "web", "image": "web:1"}]}}
    config["spec"] |= triggers
    assert (await openshift.create(CONFIGS, config))["spec"]["triggers"] == stored


async def test_a_new_deployment_config_has_triggered_nothing(openshift: Api) -> None:
    """Even one that was exported from another cluster."""
    triggers = [image_change(lastTriggeredImage="registry.example.com/web@sha256:1")]
    created = await openshift.create(CONFIGS, {**deployment_config(triggers=triggers), "status": {"latestVersion": 7}})
    assert "lastTriggeredImage" not in created["spec"]["triggers"][0]["imageChangeParams"]
    assert "latestVersion" not in created["status"]


async def test_a_trigger_sets_images_and_remembers_them_in_one_patch(openshift: Api) -> None:
    await openshift.create(CONFIGS, deployment_config())
    operations = [
        {"op": "test", "path": "/spec/template/spec/containers/0/name", "value": "web"},
        {"op": "add", "path": "/spec/template/spec/containers/0/image", "value": "web:2"},
        {"op": "add", "path": "/spec/triggers/0/imageChangeParams/lastTriggeredImage", "value": "web:2"},
    ]
    changed = (await openshift.patch(f"{CONFIGS}/web", operations, JSON_PATCH)).body
    assert changed["spec"]["template"]["spec"]["containers"][0]["image"] == "web:2"
    assert changed["spec"]["triggers"][0]["imageChangeParams"]["lastTriggeredImage"] == "web:2"
    assert changed["metadata"]["generation"] == 2
    stale = await openshift.patch(f"{CONFIGS}/web", [{**operations[0], "value": "other"}], JSON_PATCH)
    assert (stale.code, stale.body["details"]) == (422, {})


async def test_a_deployment_config_is_patched_and_applied_like_a_built_in_kind(openshift: Api) -> None:
    path = f"{CONFIGS}/web"
    await openshift.create(CONFIGS, deployment_config())
    image = {"spec": {"template": {"spec": {"containers": [{"name": "web", "image": "web:2"}]}}}}
    merged = (await openshift.patch(path, image, STRATEGIC_PATCH)).body
    assert len(merged["spec"]["template"]["spec"]["containers"]) == 1
    whole = {"apiVersion": "apps.openshift.io/v1", "kind": "DeploymentConfig", "metadata": {"name": "web"}}
    conflict = await openshift.patch(f"{path}?fieldManager=a", {**whole, "spec": {"replicas": 3}}, APPLY_PATCH)
    assert conflict.code == 409
    forced = await openshift.patch(f"{path}?fieldManager=a&force=true", {**whole, "spec": {"replicas": 3}}, APPLY_PATCH)
    assert (forced.code, forced.body["spec"]["replicas"]) == (200, 3)
    wrong = await openshift.patch(path, [{"op": "add", "path": "/spec/replicas", "value": "x"}], JSON_PATCH)
    assert wrong.code == 422
    assert "cannot unmarshal string into Go struct field DeploymentConfigSpec.spec.replicas" in wrong.message


async def test_the_state_of_a_deployment_config_is_written_apart(openshift: Api) -> None:
    await openshift.create(CONFIGS, deployment_config())
    written = await openshift.patch(f"{CONFIGS}/web/status", {"status": {"latestVersion": 2}, "spec": {"replicas": 5}})
    assert (written.body["status"]["latestVersion"], written.body["spec"]["replicas"]) == (2, 1)
    ignored = await openshift.patch(f"{CONFIGS}/web", {"status": {"latestVersion": 9}})
    assert ignored.body["status"]["latestVersion"] == 2
    scaled = await openshift.patch(f"{CONFIGS}/web/scale", {"spec": {"replicas": 4}})
    assert (scaled.body["spec"]["replicas"], scaled.body["status"]["selector"]) == (4, "app=web")


NO_KIND = "spec.triggers[0].imageChangeParams"
REFUSED_CONFIGS: dict[str, tuple[Object, list[tuple[str, str]]]] = {
    "an image that no trigger brings": (
        {"triggers": [image_change(containerNames=["other"])]},
        [("spec.template.spec.containers[0].image", "Required value")],
    ),
    "no template": ({"template": None, "selector": LABELS}, [("spec.template", "Required value")]),
    "other pods": (
        {"selector": {"a": "b"}},
        [
            (
                "spec.template.metadata.labels",
                'Invalid value: {"app":"web"}: `selector` does not match template `labels`',
            )
        ],
    ),
    "less than none": ({"replicas": -1}, [("spec.replicas", "Invalid value: -1: replicas cannot be negative")]),
    "no containers": (
        {"triggers": [image_change(containerNames=[])]},
        [(f"{NO_KIND}.containerNames", "Required value")],
    ),
    "no source": ({"triggers": [image_change(**{"from": {}})]}, [(f"{NO_KIND}.from", "Required value")]),
    "no stream": (
        {"triggers": [image_change(**{"from": {"kind": "DockerImage", "name": "web:1"}})]},
        [(f"{NO_KIND}.from.kind", 'Invalid value: "DockerImage": kind must be an ImageStreamTag')],
    ),
    "no type": (
        {"triggers": [image_change(), {"imageChangeParams": image_change()["imageChangeParams"]}]},
        [("spec.triggers[1].type", "Required value")],
    ),
}


@pytest.mark.parametrize(("spec", "causes"), REFUSED_CONFIGS.values(), ids=REFUSED_CONFIGS)
async def test_refuses_a_deployment_config(openshift: Api, spec: Object, causes: list[tuple[str, str]]) -> None:
    found = told(await openshift("POST", CONFIGS, deployment_config(**spec)))
    assert [cause for cause in found if cause in causes] == causes
    # Without containers to bring an image to, that is missing too.
    assert {field for field, _ in found} <= {field for field, _ in causes} | {"spec.template.spec.containers[0].image"}


async def test_a_deployment_config_shows_its_triggers(openshift: Api) -> None:
    await openshift.create(CONFIGS, deployment_config(triggers=[{"type": "ConfigChange"}, image_change()]))
    table = (await openshift.get(CONFIGS, Accept=TABLE)).body
    assert [each["name"] for each in table["columnDefinitions"]] == [
        "Name",
        "Revision",
        "Desired",
        "Current",
        "Triggered By",
    ]
    assert [row["cells"] for row in table["rows"]] == [["web", 0, "1", 0, "config,image(web:prod)"]]


# BuildConfigs


async def test_a_build_config_is_stored_with_its_defaults(openshift: Api) -> None:
    created = await openshift.create(BUILD_CONFIGS, build_config({"type": "ImageChange"}, {"type": "Unheard"}))
    spec = created["spec"]
    assert spec["triggers"] == [{"type": "ImageChange", "imageChange": {}}]
    assert spec["strategy"]["sourceStrategy"]["from"] == tag("base:1")
    assert (spec["runPolicy"], spec["successfulBuildsHistoryLimit"], spec["failedBuildsHistoryLimit"]) == (
        "Serial",
        5,
        5,
    )
    assert created["status"] == {"lastVersion": 0}


TWICE: list[Object] = [
    {"type": "ImageChange"},
    {"type": "ImageChange", "imageChange": {"from": tag("base:1", namespace=NAMESPACE)}},
]
REFUSED_BUILD_CONFIGS = {
    "the same tag twice": (build_config(*TWICE), ["spec.triggers"]),
    "no kind": (
        build_config({"type": "ImageChange", "imageChange": {"from": {"name": "base:1"}}}),
        ["spec.triggers[0].imageChange.from.kind"],
    ),
    "a hook without a secret": (build_config({"type": "GitHub"}), ["spec.triggers[0].github"]),
    "nothing to build from": (
        build_config(strategy={"type": "Docker", "dockerStrategy": {}}),
        ["spec.triggers[0].imageChange"],
    ),
    "no way to build": (build_config({"type": "ConfigChange"}, strategy={}), ["spec.strategy"]),
    "unheard run policy": (build_config(runPolicy="Sometimes"), ["spec.runPolicy"]),
}


@pytest.mark.parametrize(("config", "fields"), REFUSED_BUILD_CONFIGS.values(), ids=REFUSED_BUILD_CONFIGS)
async def test_refuses_a_build_config(openshift: Api, config: Object, fields: list[str]) -> None:
    assert [field for field, _ in told(await openshift("POST", BUILD_CONFIGS, config))] == fields


async def test_a_build_config_never_counts_backwards(openshift: Api) -> None:
    await openshift.create(BUILD_CONFIGS, build_config())
    up = await openshift.patch(f"{BUILD_CONFIGS}/web", {"status": {"lastVersion": 3}})
    assert (up.body["status"]["lastVersion"], up.body["metadata"]["generation"]) == (3, 2)
    down = await openshift.patch(f"{BUILD_CONFIGS}/web", {"status": {"lastVersion": 1}})
    assert (down.body["status"]["lastVersion"], down.body["metadata"]["generation"]) == (3, 2)


# Builds


async def test_a_request_becomes_a_build_and_is_remembered(streams: Api) -> None:
    other = {"type": "ImageChange", "imageChange": {"from": tag("tools:1")}}
    unresolved = {"type": "ImageChange", "imageChange": {"from": tag("tools:none")}}
    triggers: list[Object] = [{"type": "ConfigChange"}, {"type": "ImageChange"}, other, unresolved]
    config = await streams.create(BUILD_CONFIGS, build_config(*triggers))
    build = await streams.create(f"{BUILD_CONFIGS}/web/instantiate", request())
    metadata, spec = build["metadata"], build["spec"]
    assert (build["kind"], metadata["name"], build["status"]["phase"]) == ("Build", "web-1", "New")
    assert metadata["ownerReferences"][0]["uid"] == config["metadata"]["uid"]
    assert metadata["labels"] == {
        **LABELS,
        "buildconfig": "web",
        "openshift.io/build-config.name": "web",
        "openshift.io/build.start-policy": "Serial",
    }
    assert metadata["annotations"]["openshift.io/build.number"] == "1"
    assert spec["triggeredBy"] == request()["triggeredBy"]
    assert spec["strategy"]["sourceStrategy"]["from"] == {"kind": "DockerImage", "name": BASE_1}
    assert spec["source"] == config["spec"]["source"]
    assert "triggers" not in spec
    assert (await streams.get(f"{BUILDS}/web-1")).body == build
    after = (await streams.get(f"{BUILD_CONFIGS}/web")).body
    fired, known, unknown = after["status"]["imageChangeTriggers"]
    assert after["status"]["lastVersion"] == 1
    assert (fired["from"], fired["lastTriggeredImageID"]) == ({"name": "base:1"}, BASE_1)
    assert fired["lastTriggerTime"].endswith("Z")
    assert known == {"from": {"name": "tools:1"}, "lastTriggeredImageID": TOOLS_1, "lastTriggerTime": None}
    assert unknown == {"from": {"name": "tools:none"}, "lastTriggerTime": None}
    # The field that it had before is read, and no longer written.
    assert after["spec"] == config["spec"]
    assert after["metadata"]["generation"] == 2


async def test_an_image_is_built_once(streams: Api) -> None:
    await streams.create(BUILD_CONFIGS, build_config())
    await streams.create(f"{BUILD_CONFIGS}/web/instantiate", request())
    again = await streams("POST", f"{BUILD_CONFIGS}/web/instantiate", request())
    why = f"build config {NAMESPACE}/web has already instantiated a build for imageid {BASE_1}"
    assert (again.code, again.body["reason"]) == (500, "InternalError")
    assert again.message == f"Internal error occurred: {why}"
    await point(streams, "base", BASE_2)
    await streams.create(f"{BUILD_CONFIGS}/web/instantiate", request(BASE_2))
    assert await streams.names(BUILDS) == ["web-1", "web-2"]


async def test_one_build_is_enough_for_all_tags_that_moved(streams: Api) -> None:
    """What a trigger would ask for next was recorded by the first."""
    other = {"type": "ImageChange", "imageChange": {"from": tag("tools:1")}}
    await streams.create(BUILD_CONFIGS, build_config({"type": "ImageChange"}, other))
    await streams.create(f"{BUILD_CONFIGS}/web/instantiate", request())
    second = await streams("POST", f"{BUILD_CONFIGS}/web/instantiate", request(TOOLS_1, "tools:1"))
    assert second.code == 500
    assert await streams.names(BUILDS) == ["web-1"]


async def test_a_build_by_hand_needs_no_image(streams: Api) -> None:
    await streams.create(BUILD_CONFIGS, build_config())
    plain = {"apiVersion": "build.openshift.io/v1", "kind": "BuildRequest", "metadata": {"name": "web"}}
    env = [{"name": "A", "value": "b"}]
    build = await streams.create(f"{BUILD_CONFIGS}/web/instantiate", {**plain, "env": env})
    assert build["spec"]["triggeredBy"] == [{"message": "Manually triggered"}]
    assert build["spec"]["strategy"]["sourceStrategy"]["env"] == env
    status = (await streams.get(f"{BUILD_CONFIGS}/web")).body["status"]
    assert status["imageChangeTriggers"][0]["lastTriggerTime"] is None


async def test_a_dry_run_builds_and_remembers_nothing(streams: Api) -> None:
    before = await streams.create(BUILD_CONFIGS, build_config())
    dry = await streams("POST", f"{BUILD_CONFIGS}/web/instantiate?dryRun=All", request())
    assert (dry.code, dry.body["metadata"]["name"]) == (201, "web-1")
    assert await streams.names(BUILDS) == []
    assert (await streams.get(f"{BUILD_CONFIGS}/web")).body == before


UNRESOLVED = (
    f"Error resolving ImageStreamTag base:2 in namespace {NAMESPACE}: unable to find latest tagged image",
    f'Error resolving ImageStreamTag none:1 in namespace {NAMESPACE}: imagestreams.image.openshift.io "none" not found',
)


@pytest.mark.parametrize(("source", "message"), [("base:2", UNRESOLVED[0]), ("none:1", UNRESOLVED[1])])
async def test_nothing_is_built_from_a_tag_that_is_nothing(streams: Api, source: str, message: str) -> None:
    strategy = {"type": "Source", "sourceStrategy": {"from": tag(source)}}
    await streams.create(BUILD_CONFIGS, build_config(strategy=strategy))
    manual = {key: value for key, value in request().items() if key not in ("from", "triggeredByImage", "triggeredBy")}
    reply = await streams("POST", f"{BUILD_CONFIGS}/web/instantiate", manual)
    assert (reply.code, reply.message) == (422, message)
    assert (await streams.get(f"{BUILD_CONFIGS}/web")).body["status"] == {"lastVersion": 0}


async def test_a_paused_build_config_builds_nothing(streams: Api) -> None:
    config = build_config()
    config["metadata"]["annotations"] = {"openshift.io/build-config.paused": "true"}
    await streams.create(BUILD_CONFIGS, config)
    reply = await streams("POST", f"{BUILD_CONFIGS}/web/instantiate", request())
    assert (reply.code, reply.message) == (
        400,
        f"can't instantiate from BuildConfig {NAMESPACE}/web: BuildConfig is paused",
    )


async def test_a_request_may_insist_on_what_was_built_last(streams: Api) -> None:
    await streams.create(BUILD_CONFIGS, build_config())
    reply = await streams("POST", f"{BUILD_CONFIGS}/web/instantiate", request(lastVersion=4))
    assert (reply.code, reply.message) == (
        400,
        f"the LastVersion(0) on build config {NAMESPACE}/web does not match the build request LastVersion(4)",
    )


async def test_an_instantiation_is_only_asked_for(openshift: Api) -> None:
    await openshift.create(BUILD_CONFIGS, build_config())
    path = f"{BUILD_CONFIGS}/web/instantiate"
    assert [(await openshift(method, path, request())).code for method in ("GET", "PUT", "PATCH")] == [405] * 3
    missing = await openshift("POST", f"{BUILD_CONFIGS}/none/instantiate", request(metadata={"name": "none"}))
    assert (missing.code, missing.message) == (404, 'buildconfigs.build.openshift.io "none" not found')
    other = await openshift("POST", path, gadget("web"))
    assert (other.code, "cannot be handled as a BuildRequest" in other.message) == (400, True)
    nameless = await openshift("POST", path, request(metadata={}))
    assert [field for field, _ in told(nameless)] == ["metadata.name"]


async def test_a_build_stays_what_it_is(streams: Api) -> None:
    await streams.create(BUILD_CONFIGS, build_config())
    await streams.create(f"{BUILD_CONFIGS}/web/instantiate", request())
    assert (await streams.patch(f"{BUILDS}/web-1", {"status": {"phase": "Complete"}})).code == 200
    ((field, why),) = told(await streams.patch(f"{BUILDS}/web-1", {"spec": {"serviceAccount": "other"}}))
    assert (field, why.endswith("spec is immutable")) == ("spec", True)


async def test_a_build_goes_with_its_config(streams: Api) -> None:
    await streams.create(BUILD_CONFIGS, build_config())
    await streams.create(f"{BUILD_CONFIGS}/web/instantiate", request())
    await streams("DELETE", f"{BUILD_CONFIGS}/web")
    await streams.until(BUILDS, lambda reply: reply.body["items"] == [])


# kubectl


async def test_kubectl_works_with_them(streams: Api, kubectl: Path, tmp_path: Path) -> None:
    kubeconfig = tmp_path / "kubeconfig"
    kubeconfig.write_text(streams.cluster.kubeconfig())
    options = ("--kubeconfig", kubeconfig, "--cache-dir", tmp_path / "cache", "-n", NAMESPACE)

    async def run(*words: str, manifest: Object | None = None) -> str:
        stdin = "" if manifest is None else yaml.safe_dump(manifest)
        return (await real_parts.run(kubectl, *options, *words, stdin=stdin)).strip()

    # A source without its defaults differs from what is stored, and lists of triggers are replaced whole.
    config = deployment_config(triggers=[image_change(**{"from": tag("web:prod", namespace=NAMESPACE)})])
    assert await run("apply", "-f", "-", manifest=config) == "deploymentconfig.apps.openshift.io/web created"
    config["spec"]["replicas"] = 2
    assert await run("apply", "-f", "-", manifest=config) == "deploymentconfig.apps.openshift.io/web configured"
    assert await run("apply", "-f", "-", manifest=config) == "deploymentconfig.apps.openshift.io/web unchanged"
    server_side = await run("apply", "--server-side", "--force-conflicts", "-f", "-", manifest=config)
    assert server_side == "deploymentconfig.apps.openshift.io/web serverside-applied"
    assert await run("scale", "dc/web", "--replicas=3") == "deploymentconfig.apps.openshift.io/web scaled"
    assert (await run("get", "dc")).splitlines()[1].split() == ["web", "0", "3", "0", "image(web:prod)"]
    assert "FIELD: lastTriggeredImage" in await run("explain", "dc.spec.triggers.imageChangeParams.lastTriggeredImage")
    unknown = {**config, "spec": {**config["spec"], "replica": 1}}
    with pytest.raises(CalledProcessError) as refused:
        await run("apply", "-f", "-", manifest=unknown)
    assert b'unknown field "spec.replica"' in refused.value.stderr
    assert await run("apply", "-f", "-", manifest=build_config()) == "buildconfig.build.openshift.io/web created"
    (file := tmp_path / "request.json").write_text(json.dumps(request()))
    await run("create", "--raw", f"{BUILD_CONFIGS}/web/instantiate", "-f", str(file))
    assert (await run("get", "bc")).splitlines()[1].split() == ["web", "Source", "Git", "1"]
    assert (await run("get", "builds")).splitlines()[1].split() == ["web-1", "Source", "Git", "New"]
