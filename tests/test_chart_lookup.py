"""The chart's local lookup: which requests API servers ask us about, and what is kept, allowed and left behind."""

from __future__ import annotations

import json
import re
from collections.abc import AsyncIterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import yaml

from listener import settings
from listener.core import lookups
from listener.core.kinds import KINDS, Kind
from listener.core.outcomes import End
from listener.core.triggers import Section
from listener.core.workloads import Container
from listener.edges.cluster import Cluster
from listener.errors import ClusterRefused
from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest
from tests.test_chart import CHART, NAME, ROLLOUT, Rendered, pod_of, render, settings_of

ON = {"lookup": {"enabled": True}}
CERT_MANAGER = {"lookup": {"enabled": True, "certManager": {"enabled": True}}}
CONFIGURATION = f"here-{NAME}"
DIGEST = "sha256:" + "0123456789abcdef" * 4


def webhook_of(rendered: Rendered) -> dict[str, Any]:
    (webhook,) = rendered["MutatingWebhookConfiguration", CONFIGURATION]["webhooks"]
    assert isinstance(webhook, dict)
    return webhook


def conditions_of(webhook: Mapping[str, Any]) -> dict[str, str]:
    return {condition["name"]: condition["expression"] for condition in webhook["matchConditions"]}


async def added(helm: Path, folder: Path, values: Mapping[str, Any]) -> set[tuple[str, str]]:
    """Return kind and name of what is installed with these values, and not by default."""
    return set(await render(helm, folder, values)) - set(await render(helm, folder, {}))


async def objects_of(helm: Path, folder: Path, namespace: str, values: Mapping[str, Any]) -> list[dict[str, Any]]:
    """Render the chart as `render` does, in a namespace of one's own."""
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    text = await real_parts.run(helm, "template", "release", CHART, "--namespace", namespace, "--values", file)
    return [found for found in yaml.safe_load_all(text) if found]


# What is installed


async def test_one_value_installs_all_of_it(helm: Path, tmp_path: Path) -> None:
    assert await added(helm, tmp_path, ON) == {
        ("Service", f"{NAME}-admission"),
        ("MutatingWebhookConfiguration", CONFIGURATION),
        ("Secret", f"{NAME}-lookup"),
        ("Role", f"{NAME}-lookup"),
        ("RoleBinding", f"{NAME}-lookup"),
        ("ClusterRole", f"{CONFIGURATION}-lookup"),
        ("ClusterRoleBinding", f"{CONFIGURATION}-lookup"),
    }


async def test_the_settings_fit_what_is_installed(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, ON)
    found = settings_of(rendered)
    assert found.lookup == settings.Lookup(
        enabled=True,
        secret=f"here/{NAME}-lookup",
        hosts=(f"{NAME}-admission.here.svc",),
        webhook=CONFIGURATION,
    )
    (port,) = rendered["Service", f"{NAME}-admission"]["spec"]["ports"]
    client = webhook_of(rendered)["clientConfig"]
    assert client == {
        "service": {"namespace": "here", "name": f"{NAME}-admission", "port": port["port"], "path": "/lookup"}
    }
    ports = {each["name"]: each["containerPort"] for each in pod_of(rendered)["containers"][0]["ports"]}
    assert ports[port["targetPort"]] == int(found.listen.admission.rpartition(":")[2])


async def test_the_secret_is_empty(helm: Path, tmp_path: Path) -> None:
    secret = (await render(helm, tmp_path, ON))["Secret", f"{NAME}-lookup"]
    assert secret["type"] == "Opaque"
    assert not secret.keys() & {"data", "stringData", "immutable"}


async def test_cert_manager_makes_the_certificate_if_it_shall(helm: Path, tmp_path: Path) -> None:
    assert await added(helm, tmp_path, CERT_MANAGER) == {
        ("Service", f"{NAME}-admission"),
        ("MutatingWebhookConfiguration", CONFIGURATION),
        ("Issuer", f"{NAME}-lookup-root"),
        ("Certificate", f"{NAME}-lookup-ca"),
        ("Issuer", f"{NAME}-lookup"),
        ("Certificate", f"{NAME}-lookup"),
    }
    rendered = await render(helm, tmp_path, CERT_MANAGER)
    certificate = rendered["Certificate", f"{NAME}-lookup"]["spec"]
    assert certificate["dnsNames"] == [f"{NAME}-admission.here.svc"]
    issuer = rendered["Issuer", certificate["issuerRef"]["name"]]["spec"]
    authority = rendered["Certificate", f"{NAME}-lookup-ca"]["spec"]
    assert (issuer["ca"]["secretName"], authority["isCA"]) == (authority["secretName"], True)
    assert rendered["Issuer", authority["issuerRef"]["name"]]["spec"] == {"selfSigned": {}}
    annotations = rendered["MutatingWebhookConfiguration", CONFIGURATION]["metadata"]["annotations"]
    assert annotations == {"cert-manager.io/inject-ca-from": f"here/{NAME}-lookup"}


async def test_the_certificate_of_cert_manager_reaches_the_service(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, CERT_MANAGER)
    folder = "/etc/listener/certificate"
    assert settings_of(rendered).lookup == settings.Lookup(
        enabled=True, cert_file=f"{folder}/tls.crt", key_file=f"{folder}/tls.key"
    )
    pod = pod_of(rendered)
    mounts = {mount["mountPath"]: mount["name"] for mount in pod["containers"][0]["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod["volumes"]}
    secret = rendered["Certificate", f"{NAME}-lookup"]["spec"]["secretName"]
    assert volumes[mounts[folder]]["secret"] == {"secretName": secret, "optional": True}


async def test_another_issuer_is_all_that_is_needed(helm: Path, tmp_path: Path) -> None:
    issuer = {"name": "corporate", "kind": "ClusterIssuer", "group": "cert-manager.io"}
    values = {"lookup": {"enabled": True, "certManager": {"enabled": True, "issuerRef": issuer}}}
    rendered = await render(helm, tmp_path, values)
    assert {name for kind, name in rendered if kind in {"Issuer", "Certificate"}} == {f"{NAME}-lookup"}
    assert rendered["Certificate", f"{NAME}-lookup"]["spec"]["issuerRef"] == issuer


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(ON | {"rbac": {"openshift": True}, "settings": {"workloads": [ROLLOUT]}}, id="own"),
        pytest.param(CERT_MANAGER, id="cert-manager"),
    ],
)
async def test_lint_finds_nothing(helm: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    await real_parts.run(helm, "lint", "--strict", CHART, "--values", file)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        pytest.param({"settings": {"lookup": {"enabled": True}}}, "lookup", id="among the settings"),
        pytest.param({"lookup": {"enabled": "yes"}}, "/lookup/enabled", id="no boolean"),
        pytest.param({"lookup": {"secret": "mine"}}, "secret", id="a Secret of one's own"),
        pytest.param(
            {"lookup": {"certManager": {"issuerRef": {"kind": "ClusterIssuer"}}}},
            "/lookup/certManager/issuerRef",
            id="an issuer without a name",
        ),
    ],
)
async def test_refuses_a_bad_value_by_its_place(helm: Path, tmp_path: Path, values: dict[str, Any], place: str) -> None:
    with pytest.raises(CalledProcessError) as refused:
        await render(helm, tmp_path, values)
    assert place in refused.value.stderr.decode()


# Which requests concern us


async def test_no_cluster_can_be_locked_up(helm: Path, tmp_path: Path) -> None:
    webhook = webhook_of(await render(helm, tmp_path, ON))
    assert (webhook["failurePolicy"], webhook["sideEffects"], webhook["timeoutSeconds"]) == ("Ignore", "None", 2)
    assert webhook["namespaceSelector"]["matchExpressions"] == [
        {
            "key": "kubernetes.io/metadata.name",
            "operator": "NotIn",
            "values": ["here", "kube-system", "kube-public", "kube-node-lease"],
        }
    ]


async def test_named_namespaces_are_all_that_is_asked_about(helm: Path, tmp_path: Path) -> None:
    objects = await objects_of(helm, tmp_path, "here", ON | {"settings": {"namespaces": ["shop", "bank"]}})
    (configuration,) = [found for found in objects if found["kind"] == "MutatingWebhookConfiguration"]
    _, only = configuration["webhooks"][0]["namespaceSelector"]["matchExpressions"]
    assert only == {"key": "kubernetes.io/metadata.name", "operator": "In", "values": ["shop", "bank"]}


@pytest.mark.parametrize(
    ("values", "kinds"),
    [
        pytest.param({}, [kind for kind in KINDS if kind.everywhere], id="Kubernetes"),
        pytest.param(
            {
                "rbac": {"openshift": True, "shipwright": True, "tekton": True},
                "settings": {
                    "workloads": [
                        ROLLOUT,
                        {
                            "apiVersion": "v1beta1",
                            "kind": "Policy",
                            "podSpecPath": "template.pod",
                            "plural": "policies",
                        },
                    ]
                },
            },
            [
                *KINDS,
                Kind("Rollout", "argoproj.io/v1alpha1", "rollouts", ("spec", "template", "spec")),
                Kind("Policy", "v1beta1", "policies", ("template", "pod")),
            ],
            id="others",
        ),
    ],
)
async def test_each_kind_that_is_looked_up_is_asked_about_and_no_other(
    helm: Path, tmp_path: Path, values: dict[str, Any], kinds: list[Kind]
) -> None:
    webhook = webhook_of(await render(helm, tmp_path, ON | values))
    asked = {
        (group, version, resource): set(rule["operations"])
        for rule in webhook["rules"]
        for group in rule["apiGroups"]
        for version in rule["apiVersions"]
        for resource in rule["resources"]
    }
    concerned = [kind for kind in kinds if lookups.concerns(kind)]
    assert asked == {
        (*_group_and_version(kind), kind.plural): {"CREATE"} if lookups.is_fixed(kind) else {"CREATE", "UPDATE"}
        for kind in concerned
    }
    conditions = conditions_of(webhook)
    for kind in concerned:
        first, path = kind.pod_spec_path[0], ".?".join(kind.pod_spec_path)
        assert re.search(re.escape(f"object.?{path}") + "[],]", conditions["may-name-a-tag"])
        assert f"object.?{first} != oldObject.?{first}" in conditions["changed"]


def _group_and_version(kind: Kind) -> tuple[str, str]:
    group, _, version = kind.api_version.rpartition("/")
    return group, version


NAMES = ["ruby", "ruby:2.7", "team/ruby:2.7", "r", "a.b:1", "a-b:V_1.2", "1/2:3", "a__b/c", "localhost/ruby"]
NO_NAMES = [
    "",
    f"ruby@{DIGEST}",
    f"ruby:2.7@{DIGEST}",
    "registry.example.com/ruby:2.7",
    "registry:5000/ruby",
    "registry.example.com/team/ruby",
    "a/b/c",
    f"localhost:5000/ruby@{DIGEST}",
    "[::1]/ruby",
]


@pytest.mark.parametrize(
    "image", [*NAMES, *NO_NAMES, "/ruby", "ruby/", "ruby:", "Ruby:1", "a:b:c", "Team/ruby", " ruby"]
)
def test_no_image_that_we_would_look_up_is_kept_from_us(chart_pattern: re.Pattern[str], image: str) -> None:
    containers: dict[Section, list[Container]] = {"containers": [Container("app", image)]}
    if lookups.find("shop", containers, forced=True):
        assert chart_pattern.search(image)
    if image in NO_NAMES:
        assert not chart_pattern.search(image)


@pytest.fixture(scope="module")
def chart_pattern() -> re.Pattern[str]:
    """What the chart takes for an image that may name a tag."""
    text = (CHART / "templates" / "lookup.yaml").read_text()
    (pattern,) = re.findall(r"matches\('(.*?)'\)", text)
    return re.compile(pattern)


# On an API server


def workload(kind: str, *images: str, init: str = "", **metadata: Any) -> dict[str, Any]:
    pod: dict[str, Any] = {
        "containers": [{"name": f"c{number}", "image": image} for number, image in enumerate(images)],
        "restartPolicy": "Never" if kind in {"Job", "CronJob"} else "Always",
    }
    if init:
        pod["initContainers"] = [{"name": "init", "image": init}]
    template = {"metadata": {"labels": {"app": "web"}}, "spec": pod}
    spec: dict[str, Any] = {"selector": {"matchLabels": {"app": "web"}}, "template": template}
    version = "apps/v1"
    match kind:
        case "Pod":
            version, spec = "v1", pod
        case "ReplicationController":
            version, spec = "v1", {"selector": {"app": "web"}, "template": template}
        case "Job":
            version, spec = "batch/v1", {"template": template}
        case "CronJob":
            version, spec = "batch/v1", {"schedule": "0 0 1 1 *", "jobTemplate": {"spec": {"template": template}}}
        case "StatefulSet":
            spec["serviceName"] = "web"
    return {"apiVersion": version, "kind": kind, "metadata": {"name": "web", **metadata}, "spec": spec}


KIND_NAMES = [kind.name for kind in KINDS if lookups.concerns(kind) and kind.everywhere]
OWNER = {"apiVersion": "v1", "kind": "ConfigMap", "name": "owner", "uid": "a7e0b0f2-6f0f-4f3b-9d52-2f7a0e9c5f11"}
HOSTED = "registry.example.com/ruby:2.7"


@asynccontextmanager
async def everything_fails(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, folder: Path, namespace: str
) -> AsyncIterator[None]:
    """Install the webhook of the chart for one namespace, changed so that whoever is asked about cannot be stored."""
    rendered = await render(helm, folder, ON | {"settings": {"namespaces": [namespace]}})
    configuration = rendered["MutatingWebhookConfiguration", CONFIGURATION]
    configuration["metadata"]["name"] = namespace
    configuration["webhooks"][0]["failurePolicy"] = "Fail"
    configuration["webhooks"][0]["clientConfig"]["service"]["namespace"] = namespace
    command = (kubectl, "--kubeconfig", cluster.kubeconfig)
    await real_parts.run(*command, "create", "--filename=-", stdin=json.dumps(configuration))
    try:
        yield
    finally:
        await real_parts.run(*command, "delete", "mutatingwebhookconfiguration", namespace)


async def is_asked_about(cluster: ClusterUnderTest, kubectl: Path, namespace: str, *command: str, **found: Any) -> bool:
    """Tell whether the webhook is asked about a write. Raises CalledProcessError for one that fails otherwise."""
    try:
        await real_parts.run(
            *(kubectl, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace),
            *command,
            stdin=json.dumps(found) if found else "",
        )
    except CalledProcessError as error:
        if f'service "{NAME}-admission" not found' in error.stderr.decode():
            return True
        raise
    return False


CREATE = ("create", "--dry-run=server", "--filename=-")


async def test_api_servers_ask_about_what_may_concern_us(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, tmp_path: Path
) -> None:
    namespace, elsewhere = await cluster.namespace("chart"), await cluster.namespace("chart")
    concern = {kind: workload(kind, HOSTED, "ruby:2.7") for kind in KIND_NAMES} | {
        "init container": workload("Deployment", HOSTED, init="ruby"),
        "with a namespace": workload("Deployment", "team/ruby:2.7"),
        "owned, but not controlled": workload("Pod", "ruby", ownerReferences=[OWNER]),
        "waits": workload("Pod", HOSTED, annotations={lookups.WAITS_FOR: '{"c0":"ruby:2.7"}'}),
    }
    none = {f"{kind} with a host": workload(kind, HOSTED, init=HOSTED) for kind in KIND_NAMES} | {
        "digest": workload("Pod", f"ruby@{DIGEST}"),
        "controlled": workload("Pod", "ruby", ownerReferences=[OWNER | {"controller": True}]),
    }
    async with everything_fails(cluster, helm, kubectl, tmp_path, namespace):
        asked = {
            name: await is_asked_about(cluster, kubectl, namespace, *CREATE, **found)
            for name, found in (concern | none).items()
        }
        other = await is_asked_about(cluster, kubectl, elsewhere, *CREATE, **concern["Pod"])
    assert asked == dict.fromkeys(concern, True) | dict.fromkeys(none, False)
    assert not other


async def test_api_servers_ask_about_changes_of_spec_and_annotations_only(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, tmp_path: Path
) -> None:
    namespace = await cluster.namespace("chart")
    for found in (workload("Deployment", "ruby"), workload("Job", "ruby")):
        assert not await is_asked_about(cluster, kubectl, namespace, "create", "--filename=-", **found)
    async with everything_fails(cluster, helm, kubectl, tmp_path, namespace):
        asked = [
            await is_asked_about(cluster, kubectl, namespace, *command)
            for command in (
                ("label", "deployment/web", "a=b"),
                ("scale", "deployment/web", "--replicas=0"),
                ("annotate", "deployment/web", "a=b"),
                ("set", "env", "deployment/web", "A=b"),
                ("set", "image", "deployment/web", f"c0={HOSTED}"),
                ("annotate", "job/web", "a=b"),
            )
        ]
    assert asked == [False, False, True, True, False, False]


@pytest.mark.parametrize("mode", ["true", "false"])
async def test_an_upgrade_keeps_the_certificate_and_an_uninstall_nothing(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, tmp_path: Path, mode: str
) -> None:
    namespace = await cluster.namespace("chart")
    release = (helm, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace)
    values = (
        *(
            "--set",
            "lookup.enabled=true",
            "--set",
            "crd.install=false",
            "--set",
            f"settings.namespaces={{{namespace}}}",
        ),
        # The sandbox lets everybody do everything, and so serves no roles.
        *("--set", f"rbac.create={str(cluster.sandbox is None).lower()}"),
    )
    name, configuration = f"{NAME}-lookup", f"{namespace}-{NAME}"
    data = {"ca.crt": b"bundle", "tls.key": b"key"}
    await real_parts.run(*release, "install", "release", CHART, *values, f"--server-side={mode}")
    try:
        async with await service_of(cluster, kubectl, tmp_path, namespace) as service:
            secret = await service.get_secret(namespace, name)
            assert secret is not None
            assert not secret.data
            assert (await service.store_secret(secret, data)).end is End.APPLIED
            webhooks = await service.get_webhooks(configuration)
            assert webhooks is not None
            assert (await service.store_bundle(webhooks, b"bundle")).end is End.APPLIED

            changed = ("--set", "rbac.openshift=true", "--set", "settings.logging.level=debug")
            await real_parts.run(*release, "upgrade", "release", CHART, *values, *changed, f"--server-side={mode}")
            await real_parts.run(*release, "rollback", "release", "1", f"--server-side={mode}")
            secret, webhooks = await service.get_secret(namespace, name), await service.get_webhooks(configuration)
            assert secret is not None
            assert secret.data == data
            assert webhooks is not None
            assert webhooks.bundles == (("lookup.imagestreams.dev", b"bundle"),)
    finally:
        await real_parts.run(*release, "uninstall", "release", "--wait")
    async with await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as administrator:
        assert await administrator.get_secret(namespace, name) is None
        assert await administrator.get_webhooks(configuration) is None


async def service_of(cluster: ClusterUnderTest, kubectl: Path, folder: Path, namespace: str) -> Cluster:
    """Connect as the account of the installed service; on the sandbox, where all are the same, as anybody."""
    if cluster.sandbox is not None:
        return await Cluster.connect(kubeconfig=str(cluster.kubeconfig))
    token = await real_parts.run(
        kubectl, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, "create", "token", NAME
    )
    config = yaml.safe_load(cluster.kubeconfig.read_text())
    for user in config["users"]:
        user["user"] = {"token": token.strip()}
    file = folder / "service.kubeconfig"
    file.write_text(yaml.safe_dump(config))
    return await Cluster.connect(kubeconfig=str(file))


async def test_the_service_may_touch_its_own_two_objects_only(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, tmp_path: Path
) -> None:
    """On the sandbox, which knows no rights, there is only what the chart writes."""
    rendered = await render(helm, tmp_path, ON)
    (of_secrets,) = rendered["Role", f"{NAME}-lookup"]["rules"]
    (of_webhooks,) = rendered["ClusterRole", f"{CONFIGURATION}-lookup"]["rules"]
    assert (of_secrets["resourceNames"], of_secrets["verbs"]) == ([f"{NAME}-lookup"], ["get", "patch"])
    assert (of_webhooks["resourceNames"], of_webhooks["verbs"]) == ([CONFIGURATION], ["get", "patch"])
    if cluster.sandbox is not None:
        return
    namespace = await cluster.namespace("chart")
    admin = (kubectl, "--kubeconfig", cluster.kubeconfig)
    objects = [found for found in await objects_of(helm, tmp_path, namespace, ON) if found["kind"] in RIGHTS]
    await real_parts.run(*admin, "apply", "--filename=-", stdin=_list_of(objects))
    try:
        others = [("secret", "others"), ("secret", f"{NAME}-lookup-tls"), ("mutatingwebhookconfiguration", "others")]
        own = [("secret", f"{NAME}-lookup"), ("mutatingwebhookconfiguration", f"{namespace}-{NAME}")]
        can = {
            f"{verb} {resource}/{name}": await _can(admin, namespace, verb, f"{resource}/{name}")
            for verb in ("get", "patch", "update", "delete")
            for resource, name in own + others
        }
        can |= {
            f"{verb} {resource}": await _can(admin, namespace, verb, resource)
            for verb in ("create", "list", "watch")
            for resource in ("secrets", "mutatingwebhookconfigurations")
        }
        async with await service_of(cluster, kubectl, tmp_path, namespace) as service:
            with pytest.raises(ClusterRefused):
                await service.get_secret(namespace, "others")
    finally:
        await real_parts.run(*admin, "delete", "--filename=-", stdin=_list_of(objects))
    assert {right for right, given in can.items() if given} == {
        f"{verb} {resource}/{name}" for verb in ("get", "patch") for resource, name in own
    }


RIGHTS = {"Role", "RoleBinding", "ClusterRole", "ClusterRoleBinding", "ServiceAccount"}


def _list_of(objects: list[dict[str, Any]]) -> str:
    return json.dumps({"apiVersion": "v1", "kind": "List", "items": objects})


async def _can(admin: tuple[str | Path, ...], namespace: str, verb: str, what: str) -> bool:
    account = f"--as=system:serviceaccount:{namespace}:{NAME}"
    try:
        said = await real_parts.run(*admin, "--namespace", namespace, "auth", "can-i", verb, what, account)
    except CalledProcessError as error:
        said = error.output.decode()
    return said.strip() == "yes"
