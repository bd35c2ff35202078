"""The chart: what it installs by default, what each switch changes, what it refuses before anything is installed."""

from __future__ import annotations

import json
from collections.abc import Mapping
from importlib.resources import files
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import yaml

from listener import __version__, settings
from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest

CHART = Path(__file__).parent.parent / "charts" / "imagestream-listener"
NAME = "release-imagestream-listener"

TEAM = {
    "name": "team",
    "host": "registry.example.com",
    "auth": {"bearer": {"secretFile": "/etc/listener/secrets/team"}},
}
OPEN = {"name": "lab", "host": "lab.example.com:5000", "integrated": True, "auth": {"none": True}}

ROLLOUT = {"apiVersion": "argoproj.io/v1alpha1", "kind": "Rollout", "podSpecPath": "spec.template.spec"}

Rendered = dict[tuple[str, str], dict[str, Any]]

RIGHTS = {"ClusterRole", "ClusterRoleBinding", "Role", "RoleBinding"}

STREAMS = ("image.openshift.io", "imagestreams")
STREAM_STATUS = ("image.openshift.io", "imagestreams/status")
FOLLOW = {"get", "list", "watch", "patch"}
LEAST_RIGHTS = {
    STREAMS: {"get", "list", "watch", "patch"},
    STREAM_STATUS: {"patch"},
    ("apps", "deployments"): FOLLOW,
    ("apps", "statefulsets"): FOLLOW,
    ("apps", "daemonsets"): FOLLOW,
    ("apps", "replicasets"): FOLLOW,
    ("batch", "cronjobs"): FOLLOW,
    ("batch", "jobs"): FOLLOW,
    ("", "pods"): FOLLOW,
    ("", "replicationcontrollers"): FOLLOW,
    ("", "events"): {"create", "patch"},
}


async def render(helm: Path, folder: Path, values: Mapping[str, Any], *options: str) -> Rendered:
    """Render the chart as release "release" in namespace "here"; return its objects by kind and name."""
    text = await _template(helm, folder, values, *options)
    objects = [found for found in yaml.safe_load_all(text) if found]
    by_name = {(found["kind"], found["metadata"]["name"]): found for found in objects}
    assert len(by_name) == len(objects)
    return by_name


async def _template(helm: Path, folder: Path, values: Mapping[str, Any], *options: str) -> str:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    return await real_parts.run(helm, "template", "release", CHART, "--namespace", "here", "--values", file, *options)


def pod_of(rendered: Rendered) -> dict[str, Any]:
    pod: dict[str, Any] = rendered["Deployment", NAME]["spec"]["template"]["spec"]
    return pod


def rights_of(rendered: Rendered) -> dict[tuple[str, str], set[str]]:
    rules = rendered["ClusterRole", f"here-{NAME}"]["rules"]
    return {
        (group, resource): set(rule["verbs"])
        for rule in rules
        for group in rule["apiGroups"]
        for resource in rule["resources"]
    }


def settings_of(rendered: Rendered) -> settings.Settings:
    return settings.parse(yaml.safe_load(rendered["ConfigMap", NAME]["data"]["config.yaml"]), {})


async def test_lint_finds_nothing(helm: Path) -> None:
    await real_parts.run(helm, "lint", "--strict", CHART)


async def test_the_default_installs_the_service_and_nothing_else(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {})
    assert set(rendered) == {
        ("CustomResourceDefinition", "imagestreams.image.openshift.io"),
        ("ServiceAccount", NAME),
        ("ClusterRole", f"here-{NAME}"),
        ("ClusterRoleBinding", f"here-{NAME}"),
        ("Role", f"{NAME}-leader"),
        ("RoleBinding", f"{NAME}-leader"),
        ("ConfigMap", NAME),
        ("Deployment", NAME),
        ("PodDisruptionBudget", NAME),
        ("Service", NAME),
        ("Service", f"{NAME}-monitoring"),
    }
    assert rights_of(rendered) == LEAST_RIGHTS
    assert settings_of(rendered) == settings.Settings(leader_election=settings.LeaderElection(lease=NAME))


async def test_the_definition_is_the_one_that_the_sandbox_serves(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {})
    served = yaml.safe_load(files("listener.sandbox").joinpath("imagestreams.yaml").read_text())
    assert rendered["CustomResourceDefinition", "imagestreams.image.openshift.io"] == served
    assert served["metadata"]["annotations"]["helm.sh/resource-policy"] == "keep"


async def test_the_chart_runs_the_version_it_comes_with(helm: Path, tmp_path: Path) -> None:
    container = pod_of(await render(helm, tmp_path, {}))["containers"][0]
    assert container["image"] == f"imagestream-listener:{__version__}"


async def test_the_pod_may_do_nothing_to_its_node(helm: Path, tmp_path: Path) -> None:
    pod = pod_of(await render(helm, tmp_path, {}))
    assert pod["securityContext"] == {"runAsNonRoot": True, "seccompProfile": {"type": "RuntimeDefault"}}
    assert pod["containers"][0]["securityContext"] == {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    }


async def test_no_way_from_outside_leads_to_the_monitoring_port(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {"service": {"type": "LoadBalancer"}})
    ports = {port["name"]: port["containerPort"] for port in pod_of(rendered)["containers"][0]["ports"]}
    hooks, monitoring = rendered["Service", NAME]["spec"], rendered["Service", f"{NAME}-monitoring"]["spec"]
    assert ports == {"hooks": 8080, "monitoring": 8081}
    assert (hooks["type"], [port["targetPort"] for port in hooks["ports"]]) == ("LoadBalancer", ["hooks"])
    assert (monitoring["type"], [port["targetPort"] for port in monitoring["ports"]]) == ("ClusterIP", ["monitoring"])


async def test_the_selector_finds_the_pods(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {})
    deployment = rendered["Deployment", NAME]["spec"]
    labels = deployment["template"]["metadata"]["labels"].items()
    for selector in (deployment["selector"]["matchLabels"], rendered["Service", NAME]["spec"]["selector"]):
        assert selector.items() <= labels
        assert "helm.sh/chart" not in selector, "a selector must outlive an upgrade"


async def test_registries_and_their_secrets_reach_the_service(helm: Path, tmp_path: Path) -> None:
    rendered = await render(
        helm, tmp_path, {"hookSecrets": ["hooks", "more"], "settings": {"registries": [TEAM], "history": {"limit": 7}}}
    )
    found = settings_of(rendered)
    assert (found.registries[0].name, found.history.limit, found.fan_out.max_in_flight) == ("team", 7, 100)
    pod = pod_of(rendered)
    mounts = {mount["name"]: mount["mountPath"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    assert mounts == {"config": "/etc/listener/config.yaml", "secrets": "/etc/listener/secrets"}
    assert volumes["secrets"]["projected"]["sources"] == [{"secret": {"name": "hooks"}}, {"secret": {"name": "more"}}]


async def test_a_change_of_the_settings_restarts_the_pod(helm: Path, tmp_path: Path) -> None:
    checksums = {
        (await render(helm, tmp_path, {"settings": {"logging": {"level": level}}}))["Deployment", NAME]["spec"][
            "template"
        ]["metadata"]["annotations"]["checksum/config"]
        for level in ("info", "debug")
    }
    assert len(checksums) == 2


async def test_only_an_integrated_registry_may_create_streams(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {"settings": {"registries": [TEAM, OPEN]}})
    assert rights_of(rendered) == LEAST_RIGHTS | {STREAMS: {"get", "list", "watch", "patch", "create"}}


async def test_secrets_are_read_only_if_that_was_asked_for(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {"rbac": {"pullSecrets": True}})
    assert rights_of(rendered) == LEAST_RIGHTS | {("", "secrets"): {"list"}}


@pytest.mark.parametrize(
    ("values", "more"),
    [
        pytest.param(
            {"rbac": {"openshift": True}},
            {
                ("apps.openshift.io", "deploymentconfigs"): FOLLOW,
                ("build.openshift.io", "buildconfigs"): {"get", "list", "watch"},
                ("build.openshift.io", "buildconfigs/instantiate"): {"create"},
            },
            id="OpenShift",
        ),
        pytest.param(
            {"rbac": {"shipwright": True}},
            {("shipwright.io", "builds"): FOLLOW, ("shipwright.io", "buildruns"): {"get", "create"}},
            id="Shipwright",
        ),
        pytest.param(
            {"rbac": {"tekton": True}},
            {("tekton.dev", "pipelines"): FOLLOW, ("tekton.dev", "pipelineruns"): {"get", "create"}},
            id="Tekton",
        ),
        pytest.param(
            {"settings": {"workloads": [ROLLOUT, ROLLOUT | {"kind": "Policy", "plural": "policies"}]}},
            {("argoproj.io", "rollouts"): FOLLOW, ("argoproj.io", "policies"): FOLLOW},
            id="kinds of the settings",
        ),
    ],
)
async def test_other_kinds_are_followed_only_if_that_was_asked_for(
    helm: Path, tmp_path: Path, values: dict[str, Any], more: dict[tuple[str, str], set[str]]
) -> None:
    assert rights_of(await render(helm, tmp_path, values)) == LEAST_RIGHTS | more


async def test_kinds_and_pace_reach_the_service(helm: Path, tmp_path: Path) -> None:
    values = {"settings": {"workloads": [ROLLOUT], "fanOut": {"maxPerSecond": 20}}}
    found = settings_of(await render(helm, tmp_path, values))
    assert found.fan_out.max_per_second == 20
    assert found.workloads == (
        settings.WorkloadKind(api_version="argoproj.io/v1alpha1", kind="Rollout", pod_spec_path="spec.template.spec"),
    )


async def test_how_images_are_imported_reaches_the_service(helm: Path, tmp_path: Path) -> None:
    imports = {"interval": "1h", "perHost": {"rate": 2.5}, "allowed": ["*.example.com", "registry.corp:5000"]}
    team = TEAM | {"caFile": "/etc/listener/secrets/ca.pem", "verify": False}
    found = settings_of(await render(helm, tmp_path, {"settings": {"imports": imports, "registries": [team]}}))
    assert found.imports == settings.Imports(
        interval="1h",
        per_host=settings.PerHost(rate=2.5),
        allowed=("*.example.com", "registry.corp:5000"),
    )
    assert (found.registries[0].ca_file, found.registries[0].verify) == ("/etc/listener/secrets/ca.pem", False)


@pytest.mark.parametrize(
    "auth",
    [
        pytest.param({"hmac": {"secretFile": "/x"}}, id="hmac"),
        pytest.param(
            {"hmac": {"secretEnv": "X", "header": "X-Signature", "algorithm": "sha1", "prefix": "sha1="}},
            id="hmac, all written out",
        ),
        pytest.param({"query": {"name": "key", "secretEnv": "X"}}, id="query"),
        pytest.param(
            {
                "oidc": {
                    "issuer": "https://issuer.example/realm",
                    "audience": "us",
                    "claims": {"sub": "ci", "trusted": True},
                    "jwksUri": "https://keys.example/jwks",
                }
            },
            id="oidc",
        ),
        pytest.param(
            {"oidc": {"issuer": "accounts.google.com", "audience": "us", "claims": {"email": "robot"}}}, id="Google"
        ),
        pytest.param({"sns": {"topics": ["arn:aws-cn:sns:cn-north-1:123456789012:a.fifo"]}}, id="sns"),
    ],
)
async def test_how_a_registry_proves_itself_reaches_the_service(
    helm: Path, tmp_path: Path, auth: dict[str, Any]
) -> None:
    dialect = "aws-sns" if "sns" in auth else "auto"
    team = TEAM | {"auth": auth, "dialect": dialect, "whenUnreachable": "believe"}
    lab = OPEN | {"verify": False, "believeAnybody": True}
    found = settings_of(await render(helm, tmp_path, {"settings": {"registries": [team, lab]}})).registries
    assert found == settings.parse({"registries": [team, lab]}, {}).registries
    assert (found[0].when_unreachable, found[1].believe_anybody) == ("believe", True)


async def test_the_proxies_in_front_of_the_hooks_are_known_to_the_service(helm: Path, tmp_path: Path) -> None:
    found = settings_of(await render(helm, tmp_path, {"trustedProxies": ["10.0.0.0/8"]}))
    assert found.listen.proxies == ("10.0.0.0/8",)


async def test_named_namespaces_are_all_that_the_rights_reach(helm: Path, tmp_path: Path) -> None:
    text = await _template(helm, tmp_path, {"settings": {"namespaces": ["shop", "bank"]}})
    objects = [found for found in yaml.safe_load_all(text) if found and found["kind"].endswith("Binding")]
    bindings = [found for found in objects if found["roleRef"]["kind"] == "ClusterRole"]
    assert {(found["kind"], found["metadata"]["namespace"]) for found in bindings} == {
        ("RoleBinding", "shop"),
        ("RoleBinding", "bank"),
    }
    for found in bindings:
        assert found["roleRef"]["name"] == f"here-{NAME}"
        assert found["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": "here"}]


@pytest.mark.parametrize(
    ("values", "gone"),
    [
        pytest.param({"crd": {"install": False}}, {"CustomResourceDefinition"}, id="definition"),
        pytest.param({"rbac": {"create": False}}, RIGHTS, id="rights"),
        pytest.param({"serviceAccount": {"create": False}}, {"ServiceAccount"}, id="account"),
    ],
)
async def test_what_is_switched_off_is_not_installed(
    helm: Path, tmp_path: Path, values: dict[str, Any], gone: set[str]
) -> None:
    everything = {kind for kind, _ in await render(helm, tmp_path, {})}
    assert {kind for kind, _ in await render(helm, tmp_path, values)} == everything - gone


@pytest.mark.parametrize(
    ("account", "name"),
    [
        pytest.param({"create": False}, "default", id="none"),
        pytest.param({"create": False, "name": "mine"}, "mine", id="an existing one"),
        pytest.param({"name": "mine"}, "mine", id="a new one of that name"),
    ],
)
async def test_the_pod_runs_as_the_account(helm: Path, tmp_path: Path, account: dict[str, Any], name: str) -> None:
    rendered = await render(helm, tmp_path, {"serviceAccount": account})
    assert pod_of(rendered)["serviceAccountName"] == name
    assert rendered["ClusterRoleBinding", f"here-{NAME}"]["subjects"][0]["name"] == name


async def test_a_digest_pins_the_image(helm: Path, tmp_path: Path) -> None:
    digest = "sha256:" + "0123456789abcdef" * 4
    image = {"repository": "registry.example.com/listener", "tag": "left-out", "digest": digest}
    container = pod_of(await render(helm, tmp_path, {"image": image}))["containers"][0]
    assert container["image"] == f"registry.example.com/listener@{digest}"


@pytest.mark.parametrize(
    ("values", "place"),
    [
        pytest.param({"replica": 2}, "replica", id="an unknown value"),
        pytest.param({"settings": {"fanout": {}}}, "fanout", id="an unknown setting"),
        pytest.param({"settings": {"history": {"limit": 0}}}, "/settings/history/limit", id="no history"),
        pytest.param({"settings": {"fanOut": {"maxInFlight": 251}}}, "/settings/fanOut/maxInFlight", id="too many"),
        pytest.param({"settings": {"logging": {"level": "loud"}}}, "/settings/logging/level", id="an unknown level"),
        pytest.param(
            {"settings": {"registries": [{"name": "a", "host": "b"}]}}, "auth", id="a registry without authentication"
        ),
        pytest.param(
            {"settings": {"registries": [OPEN | {"auth": {"none": True, "bearer": {"secretEnv": "A"}}}]}},
            "/settings/registries/0/auth",
            id="two ways to authenticate",
        ),
        pytest.param(
            {"settings": {"registries": [OPEN | {"auth": {"bearer": {"secret": "hunter2"}}}]}},
            "/settings/registries/0/auth/bearer",
            id="a secret in the values",
        ),
        pytest.param(
            {"settings": {"registries": [OPEN | {"host": "https://lab"}]}},
            "/settings/registries/0/host",
            id="a host with a scheme",
        ),
        pytest.param(
            {"settings": {"registries": [OPEN | {"auth": {"hmac": {"header": "X-Signature"}}}]}},
            "/settings/registries/0/auth/hmac",
            id="a signature without a secret",
        ),
        pytest.param(
            {"settings": {"registries": [OPEN | {"auth": {"oidc": {"issuer": "https://a", "audience": "b"}}}]}},
            "/settings/registries/0/auth/oidc",
            id="a token without claims",
        ),
        pytest.param(
            {"settings": {"registries": [OPEN | {"auth": {"sns": {"topics": ["pushes"]}}}]}},
            "/settings/registries/0/auth/sns/topics/0",
            id="a topic without its ARN",
        ),
        pytest.param({"settings": {"imports": {"interval": "15"}}}, "/settings/imports/interval", id="no unit"),
        pytest.param({"settings": {"imports": {"allowed": ["a/b"]}}}, "/settings/imports/allowed/0", id="no host"),
        pytest.param({"service": {"type": "ExternalName"}}, "/service/type", id="an unusable type of service"),
        pytest.param({"image": {"digest": "latest"}}, "/image/digest", id="no digest"),
    ],
)
async def test_refuses_a_bad_value_by_its_place(helm: Path, tmp_path: Path, values: dict[str, Any], place: str) -> None:
    with pytest.raises(CalledProcessError) as refused:
        await _template(helm, tmp_path, values)
    assert place in refused.value.stderr.decode()


@pytest.mark.parametrize(
    "values",
    [
        pytest.param({}, id="default"),
        pytest.param(
            {
                "hookSecrets": ["hooks"],
                "env": [{"name": "LISTENER_LOGGING_LEVEL", "value": "debug"}],
                "imagePullSecrets": [{"name": "pull"}],
                "service": {"type": "NodePort", "annotations": {"example.com/team": "shop"}},
                "serviceAccount": {"annotations": {"example.com/role": "listener"}},
                "rbac": {"pullSecrets": True, "openshift": True, "shipwright": True, "tekton": True},
                "settings": {"registries": [TEAM, OPEN], "workloads": [ROLLOUT]},
                "lookup": {"enabled": True},
            },
            id="everything",
        ),
    ],
)
async def test_an_api_server_takes_all_objects(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    namespace = await cluster.namespace("chart")
    rendered = (await render(helm, tmp_path, values)).values()
    # The sandbox lets everybody do everything, and so serves no roles.
    objects = [found for found in rendered if cluster.sandbox is None or "rbac" not in found["apiVersion"]]
    for found in objects:
        if "namespace" in found["metadata"]:
            found["metadata"]["namespace"] = namespace
    await real_parts.run(
        *(kubectl, "--kubeconfig", cluster.kubeconfig, "apply", "--server-side", "--force-conflicts"),
        *("--dry-run=server", "--filename=-"),
        stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
    )
