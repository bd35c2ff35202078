"""Who set a container's image, by the object's managed fields."""

from __future__ import annotations

from typing import Any

import pytest

from listener.core import managers
from listener.core.kinds import CRON_JOB, DEPLOYMENT, POD, Kind
from listener.core.managers import Manager


def owns(fields: Any, path: tuple[str, ...] = DEPLOYMENT.pod_spec_path) -> dict[str, Any]:
    for part in reversed(path):
        fields = {f"f:{part}": fields}
    found: dict[str, Any] = fields
    return found


def image_of(container: str, section: str = "containers") -> dict[str, Any]:
    return {f"f:{section}": {f'k:{{"name":"{container}"}}': {".": {}, "f:name": {}, "f:image": {}}}}


EDIT = Manager("kubectl-edit", "Update", "2026-01-02T00:00:00Z", owns(image_of("web")))
APPLY = Manager("argocd-controller", "Apply", "2026-01-03T00:00:00Z", owns(image_of("web")))
OTHER = Manager("hpa", "Update", "2026-01-09T00:00:00Z", {"f:spec": {"f:replicas": {}}})


@pytest.mark.parametrize(
    ("found", "name"),
    [
        pytest.param([OTHER, EDIT], "kubectl-edit", id="one"),
        pytest.param([EDIT, APPLY], "argocd-controller", id="two who agree: who wrote last"),
        pytest.param([OTHER], None, id="nobody"),
        pytest.param([], None, id="no managed fields"),
        pytest.param([Manager("a", "Update", "", owns(image_of("api")))], None, id="another container's"),
        pytest.param([Manager("a", "Update", "", owns(image_of("web", "initContainers")))], "a", id="init container"),
        pytest.param([Manager("a", "Update", "", owns({"f:containers": {}}))], "a", id="a list that has one owner"),
        pytest.param([Manager("a", "Update", "", {"f:spec": "x"})], None, id="an odd shape"),
        pytest.param([Manager("a", "Update", "", owns("x"))], None, id="an odd shape further in"),
    ],
)
def test_who_owns_an_image(found: list[Manager], name: str | None) -> None:
    owner = managers.of_image(found, DEPLOYMENT.pod_spec_path, "web")
    assert (owner.name if owner else None) == name


@pytest.mark.parametrize("kind", [CRON_JOB, POD], ids=lambda kind: kind.name)
def test_the_path_is_the_kinds(kind: Kind) -> None:
    manager = Manager("a", "Update", "", owns(image_of("web"), kind.pod_spec_path))
    assert managers.of_image([manager], kind.pod_spec_path, "web") == manager
    assert managers.of_image([manager], DEPLOYMENT.pod_spec_path, "web") is None


@pytest.mark.parametrize(
    ("manager", "told"),
    [
        (
            "argocd-controller",
            "{group: apps, kind: Deployment, jqPathExpressions: ['.spec.template.spec.containers[]? |",
        ),
        ("kustomize-controller", "out of the manifest in Git"),
        ("kubectl-client-side-apply", "pause the trigger"),
        ("", "pause the trigger"),
    ],
)
def test_the_advice_is_the_managers(manager: str, told: str) -> None:
    assert told in managers.advice(manager, DEPLOYMENT, "web", "/spec/template/spec/containers/1/image")


def test_the_core_group_is_written_as_nothing() -> None:
    assert '{group: "", kind: Pod, jqPathExpressions: [\'.spec.containers[]?' in managers.advice(
        "argocd", POD, "web", "/spec/containers/0/image"
    )
