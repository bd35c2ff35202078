"""How a BuildConfig of OpenShift becomes a Build: the request `instantiate`, and what is remembered of it.

The rules are those of openshift-apiserver, `pkg/build/apiserver/buildgenerator`. Nothing is built. Pure: objects are
handed in and returned, and whoever calls stores them.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from listener.sandbox.cluster.openshift import BUILD, STRATEGIES, source_of
from listener.sandbox.cluster.status import ApiError, bad_request, internal

Object = dict[str, Any]
Streams = Callable[[str, str], Object | None]
"""Gives the ImageStream of that namespace and name."""

_PAUSED = "openshift.io/build-config.paused"
_LONGEST_LABEL = 63


def instantiate(config: Object, request: Object, streams: Streams, now: str) -> tuple[Object, Object]:
    """Return the BuildConfig, which remembers, and the Build. Raises `ApiError` where OpenShift refuses."""
    metadata = config["metadata"]
    name, namespace = metadata["name"], metadata["namespace"]
    if (metadata.get("annotations") or {}).get(_PAUSED, "").lower() == "true":
        raise bad_request(f"can't instantiate from BuildConfig {namespace}/{name}: BuildConfig is paused")
    before = config.get("status") or {}
    last, asked = before.get("lastVersion", 0), request.get("lastVersion")
    if asked is not None and asked != last:
        raise bad_request(
            f"the LastVersion({last}) on build config {namespace}/{name} does not match the build request "
            f"LastVersion({asked})"
        )
    triggers = _triggered(config, request, streams, now)
    status = {**before, "lastVersion": last + 1, "imageChangeTriggers": triggers}
    build = _build(config, request, last + 1, streams, now)
    return {**config, "status": status}, build


def _triggered(config: Object, request: Object, streams: Streams, now: str) -> list[Object]:
    """Return what every trigger saw last: one build is enough for all tags that moved until now."""
    namespace = config["metadata"]["namespace"]
    asked, image = request.get("from"), (request.get("triggeredByImage") or {}).get("name")
    default = source_of(config["spec"]["strategy"])
    if image is not None and asked is not None:
        for known in (config.get("status") or {}).get("imageChangeTriggers") or ():
            same = _key(known.get("from") or {}, namespace) == _key(asked, namespace)
            if same and known.get("lastTriggeredImageID") == image:
                name = f"{namespace}/{config['metadata']['name']}"
                raise internal(f"build config {name} has already instantiated a build for imageid {image}")
    found = []
    for trigger in config["spec"].get("triggers") or ():
        if trigger.get("type") != "ImageChange":
            continue
        given = trigger["imageChange"].get("from")
        source = given or default
        if source is None:
            continue
        held: Object = {
            "from": {name: source[name] for name in ("namespace", "name") if source.get(name)},
            "lastTriggerTime": None,  # as Go writes a time that is none
        }
        if image is not None and asked is not None and _key(source, namespace) == _key(asked, namespace):
            found.append({**held, "lastTriggeredImageID": image, "lastTriggerTime": now})
            continue
        try:
            found.append({**held, "lastTriggeredImageID": _resolve(source, namespace, streams)})
        except ApiError:
            if given is None:
                raise
            found.append(held)
    return found


def _key(source: Object, namespace: str) -> tuple[str, str]:
    return source.get("namespace") or namespace, source.get("name", "")


def _resolve(source: Object, namespace: str, streams: Streams) -> str:
    """Return the image a reference means now."""
    kind, name, namespace = source.get("kind", ""), source.get("name", ""), source.get("namespace") or namespace
    if kind == "DockerImage":
        return str(name)
    stream_name, _, tag = name.partition("@" if kind == "ImageStreamImage" else ":")
    stream = streams(namespace, stream_name)
    if stream is None:
        raise _unresolved(kind, namespace, name, f'imagestreams.image.openshift.io "{stream_name}" not found')
    for held in (stream.get("status") or {}).get("tags") or ():
        for item in held.get("items") or ():
            if kind == "ImageStreamImage" and item.get("image", "").startswith(tag):
                return str(item["dockerImageReference"])
            if kind == "ImageStreamTag" and held["tag"] == tag:
                return _pull_spec(stream, tag, item)
    why = f'unable to find corresponding tag for image "{tag}"'
    raise _unresolved(
        kind, namespace, name, why if kind == "ImageStreamImage" else "unable to find latest tagged image"
    )


def _pull_spec(stream: Object, tag: str, item: Object) -> str:
    tags = stream.get("spec", {}).get("tags") or ()
    wanted: Object = next((each for each in tags if each.get("name") == tag), {})
    repository = stream["status"].get("dockerImageRepository")
    if (wanted.get("referencePolicy") or {}).get("type") == "Local" and repository and item.get("image"):
        return f"{repository}@{item['image']}"
    return str(item["dockerImageReference"])


def _unresolved(kind: str, namespace: str, name: str, why: str) -> ApiError:
    message = f"Error resolving {kind} {name} in namespace {namespace}: {why}"
    details = {"kind": kind, "name": name, "causes": [{"field": "from", "message": message}]}
    return ApiError(422, message, details=details)


def _build(config: Object, request: Object, number: int, streams: Streams, now: str) -> Object:
    metadata, spec = config["metadata"], config["spec"]
    name, namespace = metadata["name"], metadata["namespace"]
    label = name[:_LONGEST_LABEL]
    labels = {"buildconfig": label, "openshift.io/build-config.name": label}
    policy = {"openshift.io/build.start-policy": spec["runPolicy"]}
    annotations = {"openshift.io/build.number": str(number), "openshift.io/build-config.name": name}
    asked = request.get("metadata") or {}
    owner = {"apiVersion": f"{BUILD}/v1", "kind": "BuildConfig", "name": name, "uid": metadata["uid"]}
    common = {key: value for key, value in spec.items() if key not in _OF_CONFIGS}
    causes = request.get("triggeredBy") or [{"message": "Manually triggered"}]
    condition = {"type": "New", "status": "True", "lastUpdateTime": now, "lastTransitionTime": now}
    return {
        "apiVersion": f"{BUILD}/v1",
        "kind": "Build",
        "metadata": {
            "name": f"{name}-{number}",
            "namespace": namespace,
            "labels": {**(asked.get("labels") or {}), **(metadata.get("labels") or {}), **labels, **policy},
            "annotations": {**(asked.get("annotations") or {}), **annotations},
            "ownerReferences": [{**owner, "controller": True}],
        },
        "spec": {
            **common,
            "serviceAccount": spec.get("serviceAccount") or "builder",
            "strategy": _resolved(config, request, streams),
            "triggeredBy": causes,
            **{key: request[key] for key in ("revision",) if request.get(key)},
        },
        "status": {
            "phase": "New",
            "config": {"kind": "BuildConfig", "namespace": namespace, "name": name},
            "output": {},
            "conditions": [condition],
        },
    }


_OF_CONFIGS = frozenset({"triggers", "runPolicy", "successfulBuildsHistoryLimit", "failedBuildsHistoryLimit"})


def _resolved(config: Object, request: Object, streams: Streams) -> Object:
    """Return the strategy as a build takes it: from an image, not from a tag, and with the request's environment."""
    strategy = dict(config["spec"]["strategy"])
    for name in STRATEGIES:
        if name not in strategy:
            continue
        chosen = dict(strategy[name])
        if chosen.get("from"):
            image = _resolve(chosen["from"], config["metadata"]["namespace"], streams)
            chosen["from"] = {"kind": "DockerImage", "name": image}
        if request.get("env"):
            replaced = {each["name"] for each in request["env"]}
            kept = [each for each in chosen.get("env") or () if each["name"] not in replaced]
            chosen["env"] = [*kept, *request["env"]]
        strategy[name] = chosen
    return strategy
