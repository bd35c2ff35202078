"""OpenShift's DeploymentConfig, BuildConfig and Build: their schemas, defaults, and what is refused of them.

Types that no CustomResourceDefinition can serve: an API server of OpenShift's own holds them, written in Go as the
built-in kinds are, with defaults that depend on other fields and a request that makes a build (see `builds`). The rules
are those of openshift-apiserver, `pkg/apps/apis/apps` and `pkg/build/apis/build`. What triggers, strategies, templates
and states consist of is spelled out; the rest is taken as it comes.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping
from dataclasses import replace
from typing import Any, Final

from listener.sandbox.cluster.constraints import not_negative
from listener.sandbox.cluster.field_errors import FieldError, invalid, required
from listener.sandbox.cluster.nodes import METADATA, Node

Object = dict[str, Any]
Struct = Callable[[str], Node]
"""Gives the schema of a struct of Kubernetes, by the name of its model."""

APPS, BUILD = "apps.openshift.io", "build.openshift.io"
DEPLOYMENT_CONFIG: Final = (f"{APPS}/v1", "DeploymentConfig")
BUILD_CONFIG: Final = (f"{BUILD}/v1", "BuildConfig")
STRATEGIES: Final = ("sourceStrategy", "dockerStrategy", "customStrategy")
_JENKINS: Final = "jenkinsPipelineStrategy"
_TAG_KIND: Final = "ImageStreamTag"
_WEBHOOKS: Final = {"GitHub": "github", "GitLab": "gitlab", "Bitbucket": "bitbucket", "Generic": "generic"}
_RUN_POLICIES: Final = ("Parallel", "Serial", "SerialLatestOnly")
_HISTORY_LIMIT: Final = 5
_REVISION_HISTORY_LIMIT: Final = 10
_ROLLING: Final = {"updatePeriodSeconds": 1, "intervalSeconds": 1, "timeoutSeconds": 600}
_DEADLINE_SECONDS: Final = 21600


# Schemas


def _text() -> Node:
    return Node("string", go_type="string", drop_empty=True)


def _switch() -> Node:
    return Node("boolean", go_type="bool", drop_empty=True)


def _number(size: str = "int64") -> Node:
    return Node("integer", size, go_type=size)


def _time() -> Node:
    return Node("string", "date-time", go_type="v1.Time")


def _list(item: Node) -> Node:
    return Node("array", items=item, drop_empty=True, go_type=f"[]{item.go_type}")


def _texts() -> Node:
    return Node("object", values=Node("string", go_type="string"), drop_empty=True, go_type="map[string]string")


def _any(go_type: str) -> Node:
    return Node("object", preserve=True, go_type=f"v1.{go_type}")


def _object(go_type: str, **fields: Node) -> Node:
    return Node("object", fields=fields, go_type=f"v1.{go_type}")


def _loose(go_type: str, **fields: Node) -> Node:
    """A struct that has more fields than are spelled out."""
    return replace(_object(go_type, **fields), preserve=True)


def _always(node: Node, zero: Any) -> Node:
    """What Go writes even where it was not set."""
    return replace(node, zero=zero, default=zero, drop_empty=False)


def _kind(go_type: str, **fields: Node) -> Node:
    type_meta = {"apiVersion": Node("string", go_type="string"), "kind": Node("string", go_type="string")}
    return _object(go_type, **type_meta, metadata=METADATA, **fields)


def node(api_version: str, kind: str, struct: Struct) -> Node | None:
    """Return the schema of a kind, or `None` where it is none of OpenShift's."""
    made = _KINDS.get((api_version, kind))
    return None if made is None else made(struct)


def _deployment_config(struct: Struct) -> Node:
    reference, template = struct("V1ObjectReference"), struct("V1PodTemplateSpec")
    image_change = _object(
        "DeploymentTriggerImageChangeParams",
        automatic=_switch(),
        containerNames=_list(_text()),
        lastTriggeredImage=_text(),
        **{"from": reference},
    )
    trigger = _object("DeploymentTriggerPolicy", type=_text(), imageChangeParams=image_change)
    either = Node(int_or_string=True, go_type="intstr.IntOrString")
    seconds = {name: _number() for name in ("updatePeriodSeconds", "intervalSeconds", "timeoutSeconds")}
    strategy = _object(
        "DeploymentStrategy",
        type=_text(),
        customParams=_any("CustomDeploymentStrategyParams"),
        recreateParams=_loose("RecreateDeploymentStrategyParams", timeoutSeconds=_number()),
        rollingParams=_loose("RollingDeploymentStrategyParams", **seconds, maxUnavailable=either, maxSurge=either),
        resources=_always(struct("V1ResourceRequirements"), {}),
        labels=_texts(),
        annotations=_texts(),
        activeDeadlineSeconds=_number(),
    )
    spec = _object(
        "DeploymentConfigSpec",
        strategy=_always(strategy, {}),
        minReadySeconds=replace(_number("int32"), drop_empty=True),
        triggers=replace(_list(trigger), drop_empty=False),  # none at all is not the default
        replicas=_always(_number("int32"), 0),
        revisionHistoryLimit=_number("int32"),
        test=_always(_switch(), False),
        paused=_switch(),
        selector=_texts(),
        template=template,
    )
    counts = ("replicas", "updatedReplicas", "availableReplicas", "unavailableReplicas")
    status = _object(
        "DeploymentConfigStatus",
        latestVersion=replace(_number(), drop_empty=True),
        observedGeneration=replace(_number(), drop_empty=True),
        **{name: _always(_number("int32"), 0) for name in counts},
        details=_any("DeploymentDetails"),
        conditions=_list(_any("DeploymentCondition")),
        readyReplicas=replace(_number("int32"), drop_empty=True),
    )
    return _kind("DeploymentConfig", spec=_always(spec, {}), status=_always(status, {}))


def _common(struct: Struct) -> dict[str, Node]:
    """What a BuildConfig and a Build say of the build."""
    reference, secret = struct("V1ObjectReference"), struct("V1LocalObjectReference")
    built = {"from": reference, "pullSecret": secret, "env": _list(struct("V1EnvVar")), "forcePull": _switch()}
    strategy = _object(
        "BuildStrategy",
        type=_text(),
        sourceStrategy=_loose("SourceBuildStrategy", **built),
        dockerStrategy=_loose("DockerBuildStrategy", **built, noCache=_switch(), buildArgs=_list(struct("V1EnvVar"))),
        customStrategy=_loose("CustomBuildStrategy", **built),
        **{_JENKINS: _any("JenkinsPipelineBuildStrategy")},
    )
    output = _object("BuildOutput", to=reference, pushSecret=secret, imageLabels=_list(_any("ImageLabel")))
    source = _loose("BuildSource", type=_text(), dockerfile=Node("string", go_type="string"))
    return {
        "serviceAccount": _text(),
        "source": _always(source, {}),
        "revision": _any("SourceRevision"),
        "strategy": _always(strategy, {}),
        "output": _always(output, {}),
        "resources": _always(struct("V1ResourceRequirements"), {}),
        "postCommit": _always(_any("BuildPostCommitSpec"), {}),
        "completionDeadlineSeconds": _number(),
        "nodeSelector": replace(_texts(), nullable=True, default=None, drop_empty=False),
        "mountTrustedCA": Node("boolean", go_type="bool"),
    }


def _build_config(struct: Struct) -> Node:
    hook = _object("WebHookTrigger", secret=_text(), allowEnv=_switch(), secretReference=_any("SecretLocalReference"))
    change = _object(
        "ImageChangeTrigger",
        lastTriggeredImageID=_text(),
        paused=_switch(),
        **{"from": struct("V1ObjectReference")},
    )
    hooks = dict.fromkeys(_WEBHOOKS.values(), hook)
    trigger = _object("BuildTriggerPolicy", type=_text(), imageChange=change, **hooks)
    spec = _object(
        "BuildConfigSpec",
        triggers=_list(trigger),
        runPolicy=_text(),
        successfulBuildsHistoryLimit=_number("int32"),
        failedBuildsHistoryLimit=_number("int32"),
        **_common(struct),
    )
    source = _object("ImageStreamTagReference", namespace=_text(), name=_text())
    built = _object(
        "ImageChangeTriggerStatus",
        lastTriggeredImageID=_text(),
        lastTriggerTime=replace(_time(), nullable=True),
        **{"from": source},
    )
    status = _object("BuildConfigStatus", lastVersion=_always(_number(), 0), imageChangeTriggers=_list(built))
    return _kind("BuildConfig", spec=_always(spec, {}), status=_always(status, {}))


def _cause(struct: Struct) -> Node:
    change = _object("ImageChangeCause", imageID=_text(), fromRef=struct("V1ObjectReference"))
    return _loose("BuildTriggerCause", message=_text(), imageChangeBuild=change)


def _build(struct: Struct) -> Node:
    spec = _object("BuildSpec", **_common(struct), triggeredBy=_list(_cause(struct)))
    status = _loose(
        "BuildStatus",
        phase=_text(),
        cancelled=_switch(),
        reason=_text(),
        message=_text(),
        config=struct("V1ObjectReference"),
        output=_always(_any("BuildStatusOutput"), {}),
        conditions=_list(_any("BuildCondition")),
    )
    return _kind("Build", spec=_always(spec, {}), status=_always(status, {}))


def _build_request(struct: Struct) -> Node:
    docker = _object(
        "DockerStrategyOptions", buildArgs=_list(struct("V1EnvVar")), noCache=Node("boolean", go_type="bool")
    )
    return _kind(
        "BuildRequest",
        revision=_any("SourceRevision"),
        triggeredByImage=struct("V1ObjectReference"),
        binary=_any("BinaryBuildSource"),
        lastVersion=_number(),
        env=_list(struct("V1EnvVar")),
        triggeredBy=_list(_cause(struct)),
        dockerStrategyOptions=docker,
        sourceStrategyOptions=_any("SourceStrategyOptions"),
        **{"from": struct("V1ObjectReference")},
    )


_KINDS: Final[dict[tuple[str, str], Callable[[Struct], Node]]] = {
    DEPLOYMENT_CONFIG: _deployment_config,
    BUILD_CONFIG: _build_config,
    (f"{BUILD}/v1", "Build"): _build,
    (f"{BUILD}/v1", "BuildRequest"): _build_request,
}


# Defaults. Objects are frozen: what is changed is copied.


def complete(obj: Object) -> Object:
    """Fill in the defaults that depend on other fields."""
    kind = (obj.get("apiVersion", ""), obj.get("kind", ""))
    if kind == DEPLOYMENT_CONFIG:
        namespace = obj["metadata"].get("namespace", "")
        return {**obj, "spec": _deployment_config_spec(obj["spec"], namespace)}
    if kind == BUILD_CONFIG:
        return {**obj, "spec": _build_config_spec(obj["spec"])}
    return obj


def _deployment_config_spec(spec: Object, namespace: str) -> Object:
    triggers = spec.get("triggers", [{"type": "ConfigChange"}])
    found = {**spec, "triggers": [_image_change(each, namespace) for each in triggers]}
    labels = _at(spec, "template", "metadata").get("labels")
    if labels and not spec.get("selector"):
        found["selector"] = labels
    strategy = {"type": "Rolling", "activeDeadlineSeconds": _DEADLINE_SECONDS, **spec["strategy"]}
    if strategy["type"] == "Rolling":
        strategy["rollingParams"] = _rolling(strategy.get("rollingParams") or {})
    elif strategy["type"] == "Recreate":
        strategy["recreateParams"] = {"timeoutSeconds": 600, **(strategy.get("recreateParams") or {})}
    return {**found, "strategy": strategy}


def _image_change(trigger: Object, namespace: str) -> Object:
    parameters = trigger.get("imageChangeParams")
    if parameters is None:
        return trigger
    source = {"kind": _TAG_KIND, "namespace": namespace, **(parameters.get("from") or {})}
    return {**trigger, "imageChangeParams": {**parameters, "from": source}}


def _rolling(parameters: Object) -> Object:
    found = {**_ROLLING, **parameters}
    unavailable, surge = found.get("maxUnavailable"), found.get("maxSurge")
    if unavailable is None and surge in (None, 0, "0%"):
        found["maxUnavailable"] = "25%"
    if surge is None and unavailable in (None, 0, "0%"):
        found["maxSurge"] = "25%"
    return found


def _build_config_spec(spec: Object) -> Object:
    strategy = dict(spec["strategy"])
    for name in STRATEGIES:
        source = (strategy.get(name) or {}).get("from")
        if source is not None:
            strategy[name] = {**strategy[name], "from": {"kind": _TAG_KIND, **source}}
    if strategy.get("type") == "Docker" and "dockerStrategy" not in strategy:
        strategy["dockerStrategy"] = {}
    known = {"ImageChange", "ConfigChange", *_WEBHOOKS}
    # Of an unknown type: as OpenShift does, it is forgotten without a word.
    triggers = [_with_image_change(each) for each in spec.get("triggers") or () if each.get("type", "") in {"", *known}]
    return {"runPolicy": "Serial", **spec, "strategy": strategy, "triggers": triggers}


def _with_image_change(trigger: Object) -> Object:
    return {"imageChange": {}, **trigger} if trigger.get("type") == "ImageChange" else trigger


def _at(obj: Object, *path: str) -> Object:
    for name in path:
        obj = obj.get(name) or {}
    return obj


# What the server itself writes, see `strategies`: the objects, and their metadata, may be changed in place.


def prepare_create(obj: Object) -> None:
    """Take from a new object what a client does not set: only a trigger of ours knows what it set last."""
    kind = (obj.get("apiVersion", ""), obj.get("kind", ""))
    if kind == DEPLOYMENT_CONFIG:
        triggers = [_untriggered(each) for each in obj["spec"]["triggers"]]
        obj["spec"] = {"revisionHistoryLimit": _REVISION_HISTORY_LIMIT, **obj["spec"], "triggers": triggers}
    elif kind == BUILD_CONFIG:
        limits = dict.fromkeys(("successfulBuildsHistoryLimit", "failedBuildsHistoryLimit"), _HISTORY_LIMIT)
        obj["spec"] = {**limits, **obj["spec"]}


def _untriggered(trigger: Object) -> Object:
    parameters = trigger.get("imageChangeParams")
    if parameters is None:
        return trigger
    kept = {name: value for name, value in parameters.items() if name != "lastTriggeredImage"}
    return {**trigger, "imageChangeParams": kept}


def prepare_update(before: Object, after: Object) -> None:
    """Keep a BuildConfig from counting backwards, into the names of builds there are."""
    if (after.get("apiVersion", ""), after.get("kind", "")) == BUILD_CONFIG:
        last = max(_last_version(before), _last_version(after))
        after["status"] = {**(after.get("status") or {}), "lastVersion": last}


def _last_version(config: Object) -> int:
    return int((config.get("status") or {}).get("lastVersion") or 0)


# What is refused


def supplied(obj: Object) -> frozenset[str]:
    """Return the containers of a DeploymentConfig that may lack an image, as a trigger will bring it."""
    if obj.get("kind") != "DeploymentConfig":
        return frozenset()
    parameters = [_at(each, "imageChangeParams") for each in _at(obj, "spec").get("triggers") or ()]
    return frozenset(name for each in parameters for name in each.get("containerNames") or ())


def _refuse_deployment_config(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    for place, trigger in enumerate(spec.get("triggers") or ()):
        yield from _deployment_trigger(trigger, f"spec.triggers[{place}]")
    strategy = spec["strategy"].get("type")
    if strategy == "Custom" and spec["strategy"].get("customParams") is None:
        yield required("spec.strategy.customParams")
    elif strategy not in ("Custom", "Recreate", "Rolling"):
        why = 'unsupported strategy type, use "Custom" instead and specify your own strategy'
        yield invalid("spec.strategy.type", strategy, why)
    for name in ("revisionHistoryLimit", "minReadySeconds"):
        yield from not_negative(spec.get(name, 0), f"spec.{name}")
    selector, template = spec.get("selector") or {}, spec.get("template")
    if template is None:
        yield required("spec.template")
    else:
        labels = _at(template, "metadata").get("labels")
        if selector and any((labels or {}).get(name) != value for name, value in selector.items()):
            yield invalid("spec.template.metadata.labels", labels, "`selector` does not match template `labels`")
    if spec["replicas"] < 0:
        yield invalid("spec.replicas", spec["replicas"], "replicas cannot be negative")
    if not selector:
        yield invalid("spec.selector", None, "selector cannot be empty")


def _deployment_trigger(trigger: Object, path: str) -> Iterator[FieldError]:
    if not trigger.get("type"):
        yield required(f"{path}.type")
    if trigger.get("type") != "ImageChange":
        return
    parameters, path = trigger.get("imageChangeParams"), f"{path}.imageChangeParams"
    if parameters is None:
        yield required(path)
        return
    source = parameters["from"]
    if not source.get("name"):
        yield required(f"{path}.from")
    else:
        if source.get("kind") != _TAG_KIND:
            yield invalid(f"{path}.from.kind", source.get("kind"), "kind must be an ImageStreamTag")
        if not all(source["name"].partition(":")[::2]):
            why = f"invalid ImageStreamTag: {source['name']}: must be in the form of <name>:<tag>"
            yield invalid(f"{path}.from.name", source["name"], why)
    if not parameters.get("containerNames"):
        yield required(f"{path}.containerNames")


def _refuse_build_config(obj: Object, _old: Object | None) -> Iterator[FieldError]:
    spec = obj["spec"]
    default = source_of(spec["strategy"])
    seen: set[str] = set()
    for place, trigger in enumerate(spec.get("triggers") or ()):
        yield from _build_trigger(trigger, default, f"spec.triggers[{place}]")
        if trigger.get("type") != "ImageChange":
            continue
        source = trigger["imageChange"].get("from") or default or {}
        namespace = source.get("namespace") or obj["metadata"].get("namespace", "")
        key = f"{namespace}/{source.get('name', '')}" if source.get("kind") == _TAG_KIND else "nil"
        if key in seen:
            why = "multiple ImageChange triggers refer to the same image stream tag"
            yield invalid("spec.triggers", spec["triggers"], why)
        seen.add(key)
    if spec["runPolicy"] not in _RUN_POLICIES:
        yield invalid("spec.runPolicy", spec["runPolicy"], "run policy must Parallel, Serial, or SerialLatestOnly")
    for name in ("successfulBuildsHistoryLimit", "failedBuildsHistoryLimit"):
        yield from not_negative(spec.get(name, 0), f"spec.{name}")
    if sum(name in spec["strategy"] for name in (*STRATEGIES, _JENKINS)) != 1:
        why = (
            "must provide a value for exactly one of sourceStrategy, customStrategy, dockerStrategy, or "
            "jenkinsPipelineStrategy"
        )
        yield invalid("spec.strategy", spec["strategy"], why)
    for name in ("sourceStrategy", "customStrategy"):
        if name in spec["strategy"] and not _at(spec["strategy"], name, "from").get("name"):
            yield required(f"spec.strategy.{name}.from.name")


def source_of(strategy: Mapping[str, Any]) -> Object | None:
    """Return the image that a strategy builds from, if it names one."""
    used: Object = next((strategy[name] for name in STRATEGIES if name in strategy), {})
    return used.get("from")


def _build_trigger(trigger: Object, default: Object | None, path: str) -> Iterator[FieldError]:
    kind = trigger.get("type")
    if not kind:
        yield required(f"{path}.type")
    elif kind in _WEBHOOKS and _WEBHOOKS[kind] not in trigger:
        yield required(f"{path}.{_WEBHOOKS[kind]}")
    elif kind == "ImageChange":
        source = trigger["imageChange"].get("from")
        if source is not None and source.get("kind") != _TAG_KIND:
            why = "only an ImageStreamTag type of reference is allowed in an ImageChange trigger."
            yield invalid(f"{path}.imageChange.from.kind", source.get("kind", ""), why)
        elif source is not None and not source.get("name"):
            yield required(f"{path}.from.name")
        elif source is None and (default or {}).get("kind") != _TAG_KIND:
            why = (
                "a default ImageChange trigger can only be used when the build strategy includes an ImageStreamTag "
                "reference."
            )
            yield invalid(f"{path}.imageChange", f"build from: {default}", why)


def _refuse_build(obj: Object, old: Object | None) -> Iterator[FieldError]:
    if old is not None and obj["spec"] != old["spec"]:
        yield invalid("spec", "content of spec is not printed out, please refer to the details", "spec is immutable")


RULES: Final = {
    DEPLOYMENT_CONFIG: (_refuse_deployment_config,),
    BUILD_CONFIG: (_refuse_build_config,),
    (f"{BUILD}/v1", "Build"): (_refuse_build,),
}
