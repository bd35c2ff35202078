"""Workloads with triggers, as people write them: no replicas, so that no cluster tries to pull what is not there."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

PLACEHOLDER = "not-pushed-yet"
PLURALS = {
    "Deployment": "deployments",
    "StatefulSet": "statefulsets",
    "DaemonSet": "daemonsets",
    "CronJob": "cronjobs",
}
_PLURALS = PLURALS | {"Secret": "secrets"}
_ANNOTATION = "image.openshift.io/triggers"


def trigger(stream_tag: str, *, container: str = "web", kind: str = "Deployment", namespace: str | None = None) -> str:
    """The annotation's text for one container."""
    path = "spec.jobTemplate.spec.template.spec" if kind == "CronJob" else "spec.template.spec"
    source = {"kind": "ImageStreamTag", "name": stream_tag, **({"namespace": namespace} if namespace else {})}
    return json.dumps([{"from": source, "fieldPath": f'{path}.containers[?(@.name=="{container}")].image'}])


def workload(kind: str, namespace: str, name: str, annotation: str | None) -> dict[str, Any]:
    """A workload of one of the four kinds, with two containers: `sidecar`, then `web`."""
    labels = {"app": name}
    pod: dict[str, Any] = {
        "metadata": {"labels": labels},
        "spec": {"containers": [{"name": "sidecar", "image": "sidecar:1"}, {"name": "web", "image": PLACEHOLDER}]},
    }
    body: dict[str, Any] = {
        "apiVersion": "batch/v1" if kind == "CronJob" else "apps/v1",
        "kind": kind,
        "metadata": {"name": name, "namespace": namespace},
    }
    if annotation is not None:
        body["metadata"]["annotations"] = {_ANNOTATION: annotation}
    if kind == "CronJob":
        pod["spec"] = {**pod["spec"], "restartPolicy": "Never"}
        return body | {"spec": {"schedule": "0 0 1 1 *", "suspend": True, "jobTemplate": {"spec": {"template": pod}}}}
    spec: dict[str, Any] = {"selector": {"matchLabels": labels}, "template": pod}
    if kind == "DaemonSet":
        # A label that no node has.
        pod["spec"] = {**pod["spec"], "nodeSelector": {"imagestreams.dev/nowhere": "true"}}
    else:
        spec["replicas"] = 0
    if kind == "StatefulSet":
        spec["serviceName"] = name
    return body | {"spec": spec}


def path_of(kind: str, namespace: str, name: str = "") -> str:
    group = {"CronJob": "apis/batch/v1", "Secret": "api/v1"}.get(kind, "apis/apps/v1")
    return f"/{group}/namespaces/{namespace}/{_PLURALS[kind]}" + (f"/{name}" if name else "")


def images(found: Mapping[str, Any]) -> dict[str, str]:
    """Container name to image."""
    spec = found["spec"]
    template = spec["jobTemplate"]["spec"]["template"] if "jobTemplate" in spec else spec["template"]
    return {container["name"]: container["image"] for container in template["spec"]["containers"]}
