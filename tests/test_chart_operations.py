"""The chart for operators: replicas, ways in, who may connect, what Prometheus and Grafana are told, more CAs."""

from __future__ import annotations

import json
import re
import ssl
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any

import pytest
import trustme
import yaml
from prometheus_client.parser import text_string_to_metric_families

from listener.core.outcomes import End
from listener.edges.cluster import Cluster
from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest
from tests.edges.fake_registry import Registry, digest_of, manifest, running
from tests.end_to_end.parts import Api, eventually, free_port, push_event, registry, serve
from tests.end_to_end.test_imports import condition, importing, stream
from tests.test_chart import CHART, NAME, TEAM, Rendered, pod_of, render, settings_of
from tests.test_chart_lookup import ON, added, objects_of

OURS = {"app.kubernetes.io/name": "imagestream-listener", "app.kubernetes.io/instance": "release"}
ALONE = {"replicas": 1, "leaderElection": {"enabled": False}}
EVERYWHERE: dict[str, Any] = {}


async def refusal(helm: Path, folder: Path, values: Mapping[str, Any], *options: str) -> str:
    with pytest.raises(CalledProcessError) as refused:
        await render(helm, folder, values, *options)
    said: bytes = refused.value.stderr
    return said.decode()


def container_of(rendered: Rendered) -> dict[str, Any]:
    (container,) = pod_of(rendered)["containers"]
    assert isinstance(container, dict)
    return container


# Where it is installed, and with which secrets


async def test_what_openshift_does_itself_is_left_to_it(helm: Path, tmp_path: Path) -> None:
    openshift = ("--api-versions", "image.openshift.io/v1/ImageStreamImport")
    rendered = await render(helm, tmp_path, {"monitoring": {"rules": {"enabled": True}}}, *openshift)
    assert {kind for kind, _ in rendered} & {"CustomResourceDefinition", "Role", "RoleBinding"} == set()
    groups = [group["name"] for group in rendered["PrometheusRule", NAME]["spec"]["groups"]]
    assert groups == ["imagestream-listener"]
    assert "CustomResourceDefinition" in {kind for kind, _ in await render(helm, tmp_path, {})}
    assert "lookup.enabled: OpenShift" in await refusal(helm, tmp_path, {"lookup": {"enabled": True}}, *openshift)


async def test_secrets_of_hooks_may_come_by_value(helm: Path, tmp_path: Path) -> None:
    given = {"hookSecrets": ["theirs"], "hookSecretValues": {"team": "0123", "on": 'a "quoted" one: yes', "0x10": "x"}}
    rendered = await render(helm, tmp_path, given)
    assert rendered["Secret", f"{NAME}-hooks"]["stringData"] == given["hookSecretValues"]
    volumes = {volume["name"]: volume for volume in pod_of(rendered)["volumes"]}
    sources = volumes["secrets"]["projected"]["sources"]
    assert sources == [{"secret": {"name": "theirs"}}, {"secret": {"name": f"{NAME}-hooks"}}]
    mounts = {mount["name"]: mount["mountPath"] for mount in container_of(rendered)["volumeMounts"]}
    assert mounts["secrets"] == "/etc/listener/secrets"
    assert ("Secret", f"{NAME}-hooks") not in await render(helm, tmp_path, {"hookSecrets": ["theirs"]})


@pytest.mark.parametrize("values", [{"a/b": "x"}, {"": "x"}, {"team": ""}, {"team": 7}])
async def test_what_is_no_secret_of_a_hook_is_refused(helm: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    assert "hookSecretValues" in await refusal(helm, tmp_path, {"hookSecretValues": values})


# Replicas


async def test_two_replicas_share_the_work_by_a_lease(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {})
    deployment = rendered["Deployment", NAME]["spec"]
    assert deployment["replicas"] == 2
    assert deployment["strategy"] == {
        "type": "RollingUpdate",
        "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1},
    }
    found = settings_of(rendered).leader_election
    assert (found.enabled, found.lease) == (True, NAME)


async def test_a_pod_knows_who_it_is(helm: Path, tmp_path: Path) -> None:
    more = {"name": "LISTENER_LOGGING_LEVEL", "value": "debug"}
    env = container_of(await render(helm, tmp_path, {"env": [more]}))["env"]
    assert env == [
        {"name": "POD_NAME", "valueFrom": {"fieldRef": {"fieldPath": "metadata.name"}}},
        more,
    ]


async def test_the_rights_reach_one_lease(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {})
    create, others = rendered["Role", f"{NAME}-leader"]["rules"]
    lease = {"apiGroups": ["coordination.k8s.io"], "resources": ["leases"]}
    assert create == lease | {"verbs": ["create"]}
    assert others == lease | {"resourceNames": [NAME], "verbs": ["get", "list", "watch", "patch"]}
    binding = rendered["RoleBinding", f"{NAME}-leader"]
    assert binding["metadata"]["namespace"] == "here"
    assert binding["roleRef"]["name"] == f"{NAME}-leader"
    assert binding["subjects"] == [{"kind": "ServiceAccount", "name": NAME, "namespace": "here"}]


async def test_the_lease_stays_where_the_pods_are_if_namespaces_are_named(helm: Path, tmp_path: Path) -> None:
    objects = await objects_of(helm, tmp_path, "here", {"settings": {"namespaces": ["shop"]}})
    assert {
        found["metadata"]["namespace"]: found["roleRef"]["name"] for found in objects if found["kind"] == "RoleBinding"
    } == {"shop": f"here-{NAME}", "here": f"{NAME}-leader"}


async def test_one_pod_that_leads_by_itself_is_gone_before_the_next_one_comes(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, ALONE)
    deployment = rendered["Deployment", NAME]["spec"]
    assert (deployment["replicas"], deployment["strategy"]) == (1, {"type": "Recreate"})
    assert not settings_of(rendered).leader_election.enabled
    assert not {kind for kind, _ in rendered} & {"Role", "RoleBinding", "PodDisruptionBudget"}


async def test_one_pod_with_a_lease_is_replaced_without_a_gap(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {"replicas": 1})
    assert rendered["Deployment", NAME]["spec"]["strategy"]["type"] == "RollingUpdate"
    assert not {kind for kind, _ in rendered} & {"PodDisruptionBudget"}, "one Pod that must stay holds up every drain"


async def test_one_pod_stays_while_nodes_are_drained(helm: Path, tmp_path: Path) -> None:
    budget = (await render(helm, tmp_path, {}))["PodDisruptionBudget", NAME]["spec"]
    assert budget == {
        "minAvailable": 1,
        "unhealthyPodEvictionPolicy": "AlwaysAllow",
        "selector": {"matchLabels": OURS},
    }
    off = await render(helm, tmp_path, {"podDisruptionBudget": {"enabled": False}})
    assert ("PodDisruptionBudget", NAME) not in off


async def test_a_pod_takes_hooks_until_all_know_that_it_goes(helm: Path, tmp_path: Path) -> None:
    """The service itself needs up to 25 s once it is told to stop."""
    rendered = await render(helm, tmp_path, {})
    wait = container_of(rendered)["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert 0 < wait <= pod_of(rendered)["terminationGracePeriodSeconds"] - 25


async def test_pods_spread_over_nodes(helm: Path, tmp_path: Path) -> None:
    (constraint,) = pod_of(await render(helm, tmp_path, {}))["topologySpreadConstraints"]
    assert constraint == {
        "maxSkew": 1,
        "topologyKey": "kubernetes.io/hostname",
        "whenUnsatisfiable": "ScheduleAnyway",
        "matchLabelKeys": ["pod-template-hash"],
        "labelSelector": {"matchLabels": OURS},
    }


async def test_constraints_of_ones_own_take_its_place(helm: Path, tmp_path: Path) -> None:
    zone = {"maxSkew": 1, "topologyKey": "topology.kubernetes.io/zone", "whenUnsatisfiable": "DoNotSchedule"}
    selector = {"matchExpressions": [{"key": "app", "operator": "Exists"}]}
    mine = zone | {"labelSelector": selector}
    values = {"topologySpreadConstraints": [zone, mine]}
    first, second = pod_of(await render(helm, tmp_path, values))["topologySpreadConstraints"]
    assert first == zone | {"labelSelector": {"matchLabels": OURS}}
    assert second == zone | {"labelSelector": {"matchLabels": OURS, **selector}}
    assert "topologySpreadConstraints" not in pod_of(await render(helm, tmp_path, {"topologySpreadConstraints": []}))


WHERE = {
    "affinity": {
        "nodeAffinity": {
            "requiredDuringSchedulingIgnoredDuringExecution": {
                "nodeSelectorTerms": [{"matchExpressions": [{"key": "arch", "operator": "In", "values": ["arm64"]}]}]
            }
        }
    },
    "nodeSelector": {"kubernetes.io/os": "linux"},
    "tolerations": [{"key": "infra", "operator": "Exists", "effect": "NoSchedule"}],
    "priorityClassName": "system-cluster-critical",
}


async def test_where_pods_run_is_the_operators_to_say(helm: Path, tmp_path: Path) -> None:
    before, after = pod_of(await render(helm, tmp_path, {})), pod_of(await render(helm, tmp_path, WHERE))
    assert {key: after[key] for key in WHERE} == WHERE
    assert not before.keys() & WHERE.keys()


async def test_pods_carry_what_operators_put_on_them(helm: Path, tmp_path: Path) -> None:
    values = {"podAnnotations": {"example.com/a": "1"}, "podLabels": {"example.com/b": "2"}}
    template = (await render(helm, tmp_path, values))["Deployment", NAME]["spec"]["template"]["metadata"]
    assert template["annotations"].keys() == {"checksum/config", "example.com/a"}
    assert template["labels"]["example.com/b"] == "2"
    assert OURS.items() <= template["labels"].items()


# Ways in


async def test_an_ingress_leads_to_the_hooks_alone(helm: Path, tmp_path: Path) -> None:
    tls = [{"secretName": "hooks-tls", "hosts": ["hooks.example.com"]}]
    values = {
        "ingress": {
            "enabled": True,
            "className": "nginx",
            "annotations": {"cert-manager.io/cluster-issuer": "public"},
            "hosts": ["hooks.example.com", "hooks.example.org"],
            "tls": tls,
        }
    }
    assert await added(helm, tmp_path, values) == {("Ingress", NAME)}
    rendered = await render(helm, tmp_path, values)
    ingress = rendered["Ingress", NAME]
    assert ingress["metadata"]["annotations"] == {"cert-manager.io/cluster-issuer": "public"}
    assert (ingress["spec"]["ingressClassName"], ingress["spec"]["tls"]) == ("nginx", tls)
    backend = {"service": {"name": NAME, "port": {"name": "hooks"}}}
    hooks = {"paths": [{"path": "/hooks", "pathType": "Prefix", "backend": backend}]}
    assert ingress["spec"]["rules"] == [
        {"host": "hooks.example.com", "http": hooks},
        {"host": "hooks.example.org", "http": hooks},
    ]
    assert [port["name"] for port in rendered["Service", NAME]["spec"]["ports"]] == ["hooks"]


async def test_an_ingress_without_hosts_takes_any(helm: Path, tmp_path: Path) -> None:
    spec = (await render(helm, tmp_path, {"ingress": {"enabled": True}}))["Ingress", NAME]["spec"]
    assert spec.keys() == {"rules"}
    (rule,) = spec["rules"]
    assert rule.keys() == {"http"}


async def test_a_route_leads_to_the_hooks_alone(helm: Path, tmp_path: Path) -> None:
    gateway = {"name": "public", "namespace": "gateways", "sectionName": "https"}
    values = {
        "service": {"port": 80},
        "httpRoute": {
            "enabled": True,
            "parentRefs": [gateway],
            "hostnames": ["hooks.example.com"],
            "annotations": {"example.com/a": "b"},
        },
    }
    assert await added(helm, tmp_path, values) == {("HTTPRoute", NAME)}
    route = (await render(helm, tmp_path, values))["HTTPRoute", NAME]
    assert route["metadata"]["annotations"] == {"example.com/a": "b"}
    assert route["spec"] == {
        "parentRefs": [gateway],
        "hostnames": ["hooks.example.com"],
        "rules": [
            {
                "matches": [{"path": {"type": "PathPrefix", "value": "/hooks"}}],
                "backendRefs": [{"name": NAME, "port": 80}],
            }
        ],
    }


INGRESS = {"ingress": {"enabled": True, "hosts": ["a.example"], "tls": [{"secretName": "t", "hosts": ["a.example"]}]}}
ROUTE = {"httpRoute": {"enabled": True, "parentRefs": [{"name": "public"}], "hostnames": ["b.example"]}}


@pytest.mark.parametrize(
    ("values", "url"),
    [
        pytest.param({}, f"http://{NAME}.here.svc:8080/hooks/team", id="inside"),
        pytest.param(INGRESS, "https://a.example/hooks/team", id="Ingress"),
        pytest.param(
            {"ingress": {"enabled": True, "hosts": ["a.example"]}}, "http://a.example/hooks/team", id="no TLS"
        ),
        pytest.param(ROUTE, "https://b.example/hooks/team", id="HTTPRoute"),
        pytest.param(INGRESS | ROUTE, "https://a.example/hooks/team", id="both"),
        pytest.param({"service": {"type": "LoadBalancer"}}, "http://ADDRESS:8080/hooks/team", id="LoadBalancer"),
        pytest.param({"service": {"type": "NodePort"}}, "http://NODE:PORT/hooks/team", id="NodePort"),
    ],
)
async def test_the_notes_tell_where_the_hooks_are(helm: Path, tmp_path: Path, values: dict[str, Any], url: str) -> None:
    notes = await notes_of(helm, tmp_path, values | {"settings": {"registries": [TEAM]}})
    assert f"  registry.example.com\n    {url}\n    with the header   Authorization: Bearer SECRET\n" in notes
    assert f"url: {url}\n" in notes


@pytest.mark.parametrize(
    ("auth", "told"),
    [
        pytest.param(
            {"basic": {"username": "ann", "secretEnv": "X"}}, "with HTTP Basic authentication as ann", id="basic"
        ),
        pytest.param(
            {"header": {"name": "X-Token", "secretEnv": "X"}}, "with the header   X-Token: SECRET", id="header"
        ),
        pytest.param({"query": {"secretEnv": "X"}}, "?secret=SECRET", id="query"),
        pytest.param(
            {"hmac": {"header": "X-Sig", "secretEnv": "X"}}, "signed with SECRET in the header X-Sig", id="hmac"
        ),
        pytest.param(
            {"oidc": {"issuer": "https://i.example", "audience": "us", "claims": {"sub": "ci"}}},
            "with a token of https://i.example for audience us",
            id="oidc",
        ),
        pytest.param(
            {"sns": {"topics": ["arn:aws:sns:eu-west-1:123456789012:pushes"]}},
            "subscription of arn:aws:sns:eu-west-1:123456789012:pushes",
            id="sns",
        ),
        pytest.param({"none": True}, "without authentication", id="none"),
    ],
)
async def test_the_notes_tell_how_a_registry_proves_itself(
    helm: Path, tmp_path: Path, auth: dict[str, Any], told: str
) -> None:
    notes = await notes_of(helm, tmp_path, {"settings": {"registries": [TEAM | {"auth": auth}]}})
    assert told in notes
    assert ("without authentication" in notes) is ("none" in auth)


async def test_the_notes_ask_for_the_proxies_of_an_ingress(helm: Path, tmp_path: Path) -> None:
    values = INGRESS | {"settings": {"registries": [TEAM]}}
    assert "Set trustedProxies" in await notes_of(helm, tmp_path, values)
    assert "Set trustedProxies" not in await notes_of(helm, tmp_path, values | {"trustedProxies": ["10.0.0.0/8"]})


async def notes_of(helm: Path, folder: Path, values: Mapping[str, Any]) -> str:
    file = folder / "values.yaml"
    file.write_text(yaml.safe_dump(dict(values)))
    shown = await real_parts.run(
        helm, "install", "release", CHART, "--namespace", "here", "--dry-run=client", "--values", file
    )
    return shown.partition("\nNOTES:\n")[2]


# Who may connect


async def test_hooks_are_for_all_and_metrics_for_neighbours(helm: Path, tmp_path: Path) -> None:
    values = {"networkPolicy": {"enabled": True}}
    assert await added(helm, tmp_path, values) == {("NetworkPolicy", NAME)}
    policy = (await render(helm, tmp_path, values))["NetworkPolicy", NAME]["spec"]
    assert policy == {
        "podSelector": {"matchLabels": OURS},
        "policyTypes": ["Ingress"],
        "ingress": [
            {"ports": [{"port": "hooks"}]},
            {"ports": [{"port": "monitoring"}], "from": [{"podSelector": EVERYWHERE}]},
        ],
    }


async def test_each_port_has_its_own_callers(helm: Path, tmp_path: Path) -> None:
    proxies = [{"namespaceSelector": {"matchLabels": {"kubernetes.io/metadata.name": "ingress-nginx"}}}]
    prometheus = [{"namespaceSelector": EVERYWHERE, "podSelector": {"matchLabels": {"app": "prometheus"}}}]
    control_plane = [{"ipBlock": {"cidr": "10.1.0.0/28"}}]
    policy = {
        "enabled": True,
        "hooksFrom": proxies,
        "monitoringFrom": prometheus,
        "admissionFrom": control_plane,
    }
    rendered = await render(helm, tmp_path, {"networkPolicy": policy} | ON)
    rules = {rule["ports"][0]["port"]: rule.get("from") for rule in rendered["NetworkPolicy", NAME]["spec"]["ingress"]}
    assert rules == {"hooks": proxies, "monitoring": prometheus, "admission": control_plane}
    assert rules.keys() == {port["name"] for port in container_of(rendered)["ports"]}


async def test_api_servers_reach_us_from_everywhere_unless_told_otherwise(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {"networkPolicy": {"enabled": True}} | ON)
    assert rendered["NetworkPolicy", NAME]["spec"]["ingress"][-1] == {"ports": [{"port": "admission"}]}


async def test_nobody_named_for_the_metrics_is_nobody(helm: Path, tmp_path: Path) -> None:
    """To Kubernetes an empty list would mean everybody."""
    rendered = await render(helm, tmp_path, {"networkPolicy": {"enabled": True, "monitoringFrom": []}})
    assert rendered["NetworkPolicy", NAME]["spec"]["ingress"] == [{"ports": [{"port": "hooks"}]}]


# More CAs and volumes


async def test_a_bundle_is_where_its_variable_says(helm: Path, tmp_path: Path) -> None:
    values = {"extraCaBundle": {"configMap": "company-cas", "key": "bundle.pem"}}
    rendered = await render(helm, tmp_path, values)
    container = container_of(rendered)
    mounts = {mount["name"]: mount for mount in container["volumeMounts"]}
    volumes = {volume["name"]: volume for volume in pod_of(rendered)["volumes"]}
    assert mounts["ca"] == {"name": "ca", "mountPath": "/etc/listener/ca", "readOnly": True}
    assert volumes["ca"]["configMap"] == {
        "name": "company-cas",
        "items": [{"key": "bundle.pem", "path": "bundle.pem"}],
    }
    assert {"name": "SSL_CERT_FILE", "value": "/etc/listener/ca/bundle.pem"} in container["env"]


async def test_without_a_bundle_the_systems_cas_are_believed(helm: Path, tmp_path: Path) -> None:
    rendered = await render(helm, tmp_path, {})
    assert "SSL_CERT_FILE" not in {variable["name"] for variable in container_of(rendered)["env"]}
    assert [volume["name"] for volume in pod_of(rendered)["volumes"]] == ["config"]


@pytest.mark.parametrize(
    ("given", "expected"),
    [pytest.param(True, ("True", ""), id="with"), pytest.param(False, ("False", "InternalError"), id="without")],
)
async def test_a_registry_is_believed_by_the_variable_alone(
    cluster: ClusterUnderTest,
    ca: trustme.CA,
    ca_file: Path,
    monkeypatch: pytest.MonkeyPatch,
    tmp_path: Path,
    given: bool,
    expected: tuple[str, str],
) -> None:
    """What the chart's variable is for: a CA that no `caFile` names."""
    if given:
        monkeypatch.setenv("SSL_CERT_FILE", str(ca_file))
    tls = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    ca.issue_cert("127.0.0.1").configure_cert(tls)
    secure = Registry()
    secure.push("app", "1", manifest("a"))
    namespace = await cluster.namespace("chart")
    async with running(secure, tls=tls), await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as connection:
        api = Api(connection, cluster)
        await api.create(stream(namespace, importing("live", f"{secure.host}/app:1")))
        async with serve(cluster, tmp_path / "serve", registries=[registry(secure.host)], namespaces=[namespace]):

            async def ended() -> tuple[str, str] | None:
                if await api.history(namespace, "web", "live"):
                    return "True", ""
                return await condition(api, namespace, "live")

            assert await eventually(ended, what="the import has ended") == expected


async def test_the_systems_folder_of_cas_stays_beside_the_variable(
    ca: trustme.CA, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    system = trustme.CA()
    folder, file = tmp_path / "certs", tmp_path / "bundle.pem"
    folder.mkdir()
    system.cert_pem.write_to_path(folder / "system.pem")
    await real_parts.run(real_parts.debian_program("openssl", "openssl"), "rehash", folder)
    ca.cert_pem.write_to_path(file)
    monkeypatch.setenv("SSL_CERT_DIR", str(folder))
    monkeypatch.setenv("SSL_CERT_FILE", str(file))
    for authority in (ca, system):
        assert shakes_hands(authority, ssl.create_default_context())
    assert not shakes_hands(trustme.CA(), ssl.create_default_context())


def shakes_hands(authority: trustme.CA, context: ssl.SSLContext) -> bool:
    """Tell whether a client with this context believes a server with a certificate of this CA."""
    server = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    authority.issue_cert("registry.example").configure_cert(server)
    to_server, to_client = ssl.MemoryBIO(), ssl.MemoryBIO()
    here = context.wrap_bio(to_client, to_server, server_hostname="registry.example")
    there = server.wrap_bio(to_server, to_client, server_side=True)
    for _ in range(2):
        try:
            here.do_handshake()
        except ssl.SSLWantReadError:
            pass
        except ssl.SSLCertVerificationError:
            return False
        else:
            return True
        with suppress(ssl.SSLWantReadError):
            there.do_handshake()
    return False


async def test_more_volumes_are_mounted_beside_ours(helm: Path, tmp_path: Path) -> None:
    volume = {"name": "more", "secret": {"secretName": "more"}}
    mount = {"name": "more", "mountPath": "/etc/more", "readOnly": True}
    rendered = await render(helm, tmp_path, {"extraVolumes": [volume], "extraVolumeMounts": [mount]})
    assert pod_of(rendered)["volumes"][-1] == volume
    assert container_of(rendered)["volumeMounts"][-1] == mount
    assert len(pod_of(rendered)["volumes"]) == len(container_of(rendered)["volumeMounts"]) == 2


# Prometheus


async def test_a_service_monitor_finds_the_monitoring_service_alone(helm: Path, tmp_path: Path) -> None:
    monitor = {"enabled": True, "interval": "30s", "labels": {"release": "prometheus"}}
    values = {"monitoring": {"serviceMonitor": monitor}} | ON
    assert await added(helm, tmp_path, {"monitoring": {"serviceMonitor": monitor}}) == {("ServiceMonitor", NAME)}
    rendered = await render(helm, tmp_path, values)
    found = rendered["ServiceMonitor", NAME]
    assert found["metadata"]["labels"]["release"] == "prometheus"
    (endpoint,) = found["spec"]["endpoints"]
    assert endpoint == {"port": "monitoring", "path": "/metrics", "interval": "30s"}
    wanted = found["spec"]["selector"]["matchLabels"].items()
    services = {name: each for (kind, name), each in rendered.items() if kind == "Service"}
    chosen = [name for name, each in services.items() if wanted <= each["metadata"]["labels"].items()]
    assert chosen == [f"{NAME}-monitoring"]
    assert [port["name"] for port in services[chosen[0]]["spec"]["ports"]] == [endpoint["port"]]


async def test_a_pod_monitor_finds_the_pods(helm: Path, tmp_path: Path) -> None:
    values = {"monitoring": {"podMonitor": {"enabled": True, "labels": {"release": "prometheus"}}}}
    assert await added(helm, tmp_path, values) == {("PodMonitor", NAME)}
    rendered = await render(helm, tmp_path, values)
    found = rendered["PodMonitor", NAME]
    assert found["metadata"]["labels"]["release"] == "prometheus"
    assert found["spec"] == {
        "selector": {"matchLabels": OURS},
        "podMetricsEndpoints": [{"port": "monitoring", "path": "/metrics"}],
    }
    assert "monitoring" in {port["name"] for port in container_of(rendered)["ports"]}


async def test_nothing_is_scraped_twice(helm: Path, tmp_path: Path) -> None:
    both = {"serviceMonitor": {"enabled": True}, "podMonitor": {"enabled": True}}
    assert "serviceMonitor or podMonitor, not both" in await refusal(helm, tmp_path, {"monitoring": both})


RULES: dict[str, Any] = {"monitoring": {"rules": {"enabled": True}}}


async def rules_of(helm: Path, folder: Path, values: Mapping[str, Any]) -> Mapping[str, Any]:
    spec: dict[str, Any] = (await render(helm, folder, values))["PrometheusRule", NAME]["spec"]
    return spec


def alerts_of(spec: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    return {rule["alert"]: rule for group in spec["groups"] for rule in group["rules"]}


async def test_alerts_are_about_what_is_switched_on(helm: Path, tmp_path: Path) -> None:
    assert await added(helm, tmp_path, RULES) == {("PrometheusRule", NAME)}
    everything = alerts_of(await rules_of(helm, tmp_path, RULES | ON)).keys()
    assert everything - alerts_of(await rules_of(helm, tmp_path, RULES)).keys() == {"ListenerCertificateEnding"}
    assert everything - alerts_of(await rules_of(helm, tmp_path, RULES | ON | ALONE)).keys() == {
        "ListenerNoLeader",
        "ListenerTwoLeaders",
    }


async def test_each_alert_is_explained_and_leads_to_its_explanation(helm: Path, tmp_path: Path) -> None:
    page = "https://example.com/runbooks"
    rules = {"enabled": True, "runbookUrl": page, "labels": {"release": "prometheus"}}
    rendered = await render(helm, tmp_path, {"monitoring": {"rules": rules}} | ON)
    assert rendered["PrometheusRule", NAME]["metadata"]["labels"]["release"] == "prometheus"
    section = re.search(r"^## Alerts$(.*?)(?:^## |\Z)", (CHART / "README.md").read_text(), re.MULTILINE | re.DOTALL)
    assert section
    explained = re.findall(r"^### (\w+)$", section[1], re.MULTILINE)
    alerts = alerts_of(rendered["PrometheusRule", NAME]["spec"])
    assert sorted(explained) == sorted(alerts)
    for name, rule in alerts.items():
        assert rule["annotations"].keys() == {"summary", "description", "runbook_url"}
        assert rule["annotations"]["runbook_url"] == f"{page}#{name.lower()}"
        assert rule["labels"]["severity"] in {"critical", "warning"}
    for rule in alerts_of(await rules_of(helm, tmp_path, RULES)).values():
        assert rule["annotations"].keys() == {"summary", "description"}


async def test_prometheus_takes_the_rules(helm: Path, promtool: Path, tmp_path: Path) -> None:
    file = tmp_path / "rules.yaml"
    file.write_text(yaml.safe_dump(await rules_of(helm, tmp_path, RULES | ON)))
    said = await real_parts.run(promtool, "check", "rules", "--lint=all", "--lint-fatal", file)
    assert "SUCCESS" in said


@dataclass(frozen=True, slots=True)
class Scrape:
    """What two replicas show, minute by minute, in promtool's notation; and when to look, in minutes (`range`)."""

    series: Mapping[str, str]
    minutes: Sequence[int]


def of(metric: str, more: str = "", *, pod: str = "a", job: str = "release") -> str:
    return f'{metric}{{namespace="here", job="{job}", pod="{pod}"{", " if more else ""}{more}}}'


def hooks(**outcomes: str) -> dict[str, str]:
    return {of("listener_hooks_total", f'registry="team", outcome="{key}"'): value for key, value in outcomes.items()}


def imports(**outcomes: str) -> dict[str, str]:
    return {of("listener_imports_total", f'registry="team", outcome="{key}"'): value for key, value in outcomes.items()}


def patches(**outcomes: str) -> dict[str, str]:
    found = {}
    for key, value in outcomes.items():
        found[of("listener_patches_total", f'kind="Deployment", outcome="{key}"')] = value
    return found


def leaders(a: str, b: str, other: str = "release") -> dict[str, str]:
    return {of("listener_leader"): a, of("listener_leader", pod="b", job=other): b}


MISSED = of("listener_missed_hooks_total", 'registry="team"')
AGE = of("listener_watch_age_seconds", 'resource="deployments"')
CONTESTED = of("listener_contested_workloads", 'kind="Deployment"')
INVALID = of("listener_invalid_triggers", 'kind="Deployment"')
ENDS = of("listener_lookup_certificate_expiry_timestamp_seconds")
DAY = 24 * 60

FIRES = [
    ("ListenerHooksFailing", "one in five is answered 503", Scrape(hooks(unavailable="0+2x60", moved="0+8x60"), [30])),
    ("ListenerHooksFailing", "a bug of ours", Scrape(hooks(error="0+2x60", unchanged="0+8x60"), [30])),
    ("ListenerHooksUnauthenticated", "a wrong secret", Scrape(hooks(unauthenticated="0+1x60"), [40])),
    ("ListenerMissedHooks", "the first ever", Scrape({MISSED: "0x29 1x60"}, [31])),
    ("ListenerMissedHooks", "one more", Scrape({MISSED: "3x90 4x60"}, [100])),
    ("ListenerImportsFailing", "most fail", Scrape(imports(failed="0+6x90", unchanged="0+4x90"), [80])),
    ("ListenerWatchStalled", "silent for minutes", Scrape({AGE: "0+60x10"}, [8])),
    ("ListenerFanOutFailing", "refused", Scrape(patches(refused="0+2x60", applied="0+8x60"), [40])),
    ("ListenerFanOutFailing", "no answer", Scrape(patches(unreachable="0+2x60", applied="0+8x60"), [40])),
    ("ListenerWorkloadsContested", "one", Scrape({CONTESTED: "0x10 1x20"}, [20])),
    ("ListenerTriggersInvalid", "one", Scrape({INVALID: "0x10 1x30"}, [30])),
    ("ListenerNoLeader", "two that follow", Scrape(leaders("1x10 0x30", "0x40"), [15])),
    ("ListenerNoLeader", "nobody is there", Scrape({}, [3])),
    ("ListenerNoLeader", "the other release has one", Scrape(leaders("0x40", "1x40", "other"), [5])),
    ("ListenerTwoLeaders", "both", Scrape(leaders("1x40", "0x5 1x40"), [15])),
    ("ListenerCertificateEnding", "a day late", Scrape({ENDS: f"{8 * 86400}x{2 * DAY}"}, [DAY + 70])),
]
STAYS_SILENT = [
    ("ListenerHooksFailing", "one in twenty", Scrape(hooks(unavailable="0+1x60", moved="0+19x60"), range(60))),
    ("ListenerHooksFailing", "one in a quiet hour", Scrape(hooks(unavailable="0x20 1x40", moved="0x60"), range(60))),
    ("ListenerHooksFailing", "none come", Scrape(hooks(unavailable="0x60", error="0x60", moved="0x60"), range(60))),
    ("ListenerHooksFailing", "others' mistakes", Scrape(hooks(malformed="0+5x60", limited="0+5x60"), range(60))),
    (
        "ListenerHooksUnauthenticated",
        "a stranger tries",
        Scrape(hooks(unauthenticated="0+2x60", moved="0+8x60"), range(60)),
    ),
    (
        "ListenerHooksUnauthenticated",
        "a stranger tries once, and nobody else comes",
        Scrape(hooks(unauthenticated="0x20 1x40", moved="0x60"), range(60)),
    ),
    ("ListenerMissedHooks", "none", Scrape({MISSED: "0x200"}, range(200))),
    ("ListenerMissedHooks", "long before it is scraped", Scrape({MISSED: "_x20 3x180"}, range(200))),
    ("ListenerMissedHooks", "the Pod is another", Scrape({MISSED: "3x90 0x90"}, range(180))),
    ("ListenerImportsFailing", "some fail", Scrape(imports(failed="0+4x90", unchanged="0+6x90"), range(90))),
    ("ListenerWatchStalled", "a bookmark a minute", Scrape({AGE: "10 60 10 65 5 60x50"}, range(50))),
    ("ListenerWatchStalled", "a short break", Scrape({AGE: "10x10 190 10x40"}, range(50))),
    ("ListenerFanOutFailing", "one, once", Scrape(patches(refused="0x20 1x40", applied="0x60"), range(60))),
    (
        "ListenerFanOutFailing",
        "what ends by itself",
        Scrape(patches(stale="0+3x60", gone="0+3x60", throttled="0+3x60", applied="0+1x60"), range(60)),
    ),
    ("ListenerWorkloadsContested", "none", Scrape({CONTESTED: "0x40"}, range(40))),
    ("ListenerTriggersInvalid", "mended soon", Scrape({INVALID: "0x10 1x10 0x20"}, range(40))),
    ("ListenerNoLeader", "one hands over", Scrape(leaders("1x10 0x30", "0x11 1x30"), range(40))),
    ("ListenerTwoLeaders", "one hands over", Scrape(leaders("1x10 0x30", "0x7 1x30"), range(40))),
    ("ListenerTwoLeaders", "two releases", Scrape(leaders("1x40", "1x40", "other"), range(40))),
    ("ListenerCertificateEnding", "it is renewed in time", Scrape({ENDS: f"{30 * 86400}x{2 * DAY}"}, [DAY, 2 * DAY])),
]


@pytest.mark.parametrize(
    ("alert", "scrape", "count"),
    [pytest.param(alert, scrape, 1, id=f"{alert}: {why}") for alert, why, scrape in FIRES]
    + [pytest.param(alert, scrape, 0, id=f"no {alert}: {why}") for alert, why, scrape in STAYS_SILENT],
)
async def test_an_alert_fires_when_it_should_and_only_then(
    helm: Path, promtool: Path, tmp_path: Path, alert: str, scrape: Scrape, count: int
) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(await rules_of(helm, tmp_path, RULES | ON)))
    expected = [{"labels": "{}", "value": count}] if count else []
    looked = [
        {
            "expr": f'count(ALERTS{{alertname="{alert}", alertstate="firing"}})',
            "eval_time": f"{minute}m",
            "exp_samples": expected,
        }
        for minute in scrape.minutes
    ]
    await check_rules(promtool, tmp_path, scrape.series, promql_expr_test=looked)


async def check_rules(promtool: Path, folder: Path, series: Mapping[str, str], **looked: Any) -> None:
    test = {"interval": "1m", "input_series": [{"series": s, "values": v} for s, v in series.items()], **looked}
    file = folder / "test.yaml"
    file.write_text(yaml.safe_dump({"rule_files": ["rules.yaml"], "evaluation_interval": "1m", "tests": [test]}))
    try:
        await real_parts.run(promtool, "test", "rules", file)
    except CalledProcessError as error:
        pytest.fail(error.output.decode() + error.stderr.decode(), pytrace=False)


async def test_each_alert_was_seen_to_fire_and_to_stay_silent(helm: Path, tmp_path: Path) -> None:
    alerts = alerts_of(await rules_of(helm, tmp_path, RULES | ON)).keys()
    assert {alert for alert, *_ in FIRES} == {alert for alert, *_ in STAYS_SILENT} == alerts


async def test_an_alert_says_which_registry_and_how_much(helm: Path, promtool: Path, tmp_path: Path) -> None:
    (tmp_path / "rules.yaml").write_text(yaml.safe_dump(await rules_of(helm, tmp_path, RULES)))
    fired = {
        "exp_labels": {"namespace": "here", "job": "release", "registry": "team", "severity": "critical"},
        "exp_annotations": {
            "summary": "Hooks of registry team are not taken.",
            "description": (
                "20% of the deliveries of registry team in the last ten minutes were answered with 503 or 500. What its"
                " sender does not send again is found by the next import only."
            ),
        },
    }
    looked = [{"alertname": "ListenerHooksFailing", "eval_time": "30m", "exp_alerts": [fired]}]
    await check_rules(promtool, tmp_path, hooks(unavailable="0+2x60", moved="0+8x60"), alert_rule_test=looked)


# Grafana


DASHBOARD: dict[str, Any] = {"monitoring": {"dashboard": {"enabled": True}}}


async def test_grafana_finds_the_dashboard(helm: Path, tmp_path: Path) -> None:
    assert await added(helm, tmp_path, DASHBOARD) == {("ConfigMap", f"{NAME}-dashboard")}
    found = (await render(helm, tmp_path, DASHBOARD))["ConfigMap", f"{NAME}-dashboard"]
    assert found["metadata"]["labels"]["grafana_dashboard"] == "1"
    (text,) = found["data"].values()
    assert json.loads(text) == json.loads((CHART / "files" / "dashboard.json").read_text())
    mine = {"enabled": True, "labels": {"board": "yes"}, "annotations": {"grafana_folder": "Delivery"}}
    other = (await render(helm, tmp_path, {"monitoring": {"dashboard": mine}}))["ConfigMap", f"{NAME}-dashboard"]
    assert other["metadata"]["labels"]["board"] == "yes"
    assert other["metadata"]["annotations"] == {"grafana_folder": "Delivery"}


def panels() -> list[dict[str, Any]]:
    found = json.loads((CHART / "files" / "dashboard.json").read_text())["panels"]
    return [panel for panel in found if panel["type"] != "row"]


def queries() -> list[str]:
    """The dashboard's expressions, with Grafana's variables filled in."""
    return [
        target["expr"].replace("$__rate_interval", "5m").replace("$job", ".*")
        for panel in panels()
        for target in panel["targets"]
    ]


def test_each_panel_is_explained_and_overlaps_no_other() -> None:
    taken: set[tuple[int, int]] = set()
    for panel in panels():
        assert panel["title"]
        assert panel["description"].endswith("."), panel["title"]
        place = panel["gridPos"]
        columns = range(place["x"], place["x"] + place["w"])
        cells = {(x, y) for x in columns for y in range(place["y"], place["y"] + place["h"])}
        assert not taken & cells, panel["title"]
        assert columns.stop <= 24, panel["title"]
        taken |= cells
    assert len({panel["id"] for panel in panels()}) == len(panels())


async def test_prometheus_takes_all_queries_of_the_dashboard(promtool: Path, tmp_path: Path) -> None:
    assert not [query for query in queries() if "$" in query]
    rules = [{"record": f"query:{number}", "expr": query} for number, query in enumerate(queries())]
    file = tmp_path / "queries.yaml"
    file.write_text(yaml.safe_dump({"groups": [{"name": "dashboard", "rules": rules}]}))
    assert f"{len(rules)} rules found" in await real_parts.run(promtool, "check", "rules", file)


async def test_alerts_and_dashboard_are_about_what_the_service_tells(
    cluster: ClusterUnderTest, helm: Path, ca: trustme.CA, tmp_path: Path
) -> None:
    """Each name, and each outcome that can be brought about from outside."""
    asked = [rule["expr"] for rule in alerts_of(await rules_of(helm, tmp_path, RULES | ON)).values()] + queries()
    namespace, silent = await cluster.namespace("chart"), f"127.0.0.1:{free_port()}"
    key, certificate = tmp_path / "key.pem", tmp_path / "cert.pem"
    own = ca.issue_cert("localhost")
    own.private_key_pem.write_to_path(key)
    own.cert_chain_pems[0].write_to_path(certificate)
    settings: dict[str, Any] = {
        "listen": dict.fromkeys(("hooks", "monitoring", "admission"), "127.0.0.1:0"),
        "lookup": {"enabled": True, "certFile": str(certificate), "keyFile": str(key)},
    }
    async with (
        await Cluster.connect(kubeconfig=str(cluster.kubeconfig)) as connection,
        serve(
            cluster, tmp_path / "serve", registries=[registry(silent)], namespaces=[namespace], **settings
        ) as listener,
    ):
        await listener.ready()
        await Api(connection, cluster).create(stream(namespace, importing("live", f"{silent}/app:1")))
        push = push_event(silent, "app", "1", digest_of(b"pushed"))
        assert (await listener.deliver(push, secret="wrong"))[0] == 401
        assert (await listener.deliver(push))[0] == 503

        async def failed() -> float:
            return await listener.metric('listener_imports_total{outcome="failed",registry="team"}')

        await eventually(failed, what="the import has failed")
        families = list(text_string_to_metric_families((await listener.get("/metrics"))[1]))
    told = {family.name + suffix for family in families for suffix in SUFFIXES.get(family.type, ("",))}
    named = {name for expression in asked for name in re.findall(r"\b(?:listener|process)_\w+", expression)}
    assert named <= told
    shown = {family.name for family in families if named & {family.name + each for each in ("", "_total", "_bucket")}}
    ours = {family.name for family in families if family.name.startswith("listener_")}
    assert shown >= ours, "nothing is told that nobody sees"

    samples = [sample for family in families for sample in family.samples]
    seen = {(s.name, s.labels["outcome"]) for s in samples if "outcome" in s.labels and s.value}
    seen |= {("listener_patches_total", str(end)) for end in End}
    seen.add(("listener_hooks_total", "error"))  # a bug of ours
    wanted = {
        (metric, outcome)
        for expression in asked
        for metric, outcomes in re.findall(r'\b(listener_\w+)\{[^}]*outcome=~?"([^"]+)"', expression)
        for outcome in outcomes.split("|")
    }
    assert wanted
    assert wanted <= seen


SUFFIXES = {"counter": ("_total",), "histogram": ("_bucket", "_sum", "_count")}


# All of it


EVERYTHING: dict[str, Any] = {
    **INGRESS,
    **ROUTE,
    **WHERE,
    **ON,
    "networkPolicy": {"enabled": True},
    "monitoring": {
        "serviceMonitor": {"enabled": True, "interval": "30s"},
        "rules": {"enabled": True, "runbookUrl": "https://example.com/runbooks"},
        "dashboard": {"enabled": True},
    },
    "extraCaBundle": {"configMap": "company-cas"},
    "extraVolumes": [{"name": "more", "emptyDir": {}}],
    "extraVolumeMounts": [{"name": "more", "mountPath": "/more"}],
    "podLabels": {"example.com/a": "b"},
    "podAnnotations": {"example.com/a": "b"},
}


@pytest.mark.parametrize("values", [pytest.param(EVERYTHING, id="everything"), pytest.param(ALONE, id="alone")])
async def test_lint_finds_nothing(helm: Path, tmp_path: Path, values: dict[str, Any]) -> None:
    file = tmp_path / "values.yaml"
    file.write_text(yaml.safe_dump(values))
    await real_parts.run(helm, "lint", "--strict", CHART, "--values", file)


@pytest.mark.parametrize(
    ("values", "place"),
    [
        pytest.param({"replicas": "2"}, "/replicas", id="no number"),
        pytest.param({"replicas": 2, "leaderElection": {"enabled": False}}, "/replicas", id="two that both lead"),
        pytest.param({"leaderElection": {"lease": "mine"}}, "lease", id="a Lease of one's own"),
        pytest.param({"settings": {"leaderElection": {"enabled": False}}}, "leaderElection", id="among the settings"),
        pytest.param({"podDisruptionBudget": {"minAvailable": 2}}, "minAvailable", id="a budget that blocks"),
        pytest.param({"podLabels": {"app.kubernetes.io/name": "x"}}, "/podLabels/app", id="a label of the selector"),
        pytest.param({"podLabels": {"team": "a b"}}, "/podLabels/team", id="no label"),
        pytest.param({"podAnnotations": {"checksum/config": "x"}}, "/podAnnotations/checksum", id="the checksum"),
        pytest.param({"affinity": {"podAfinity": {}}}, "podAfinity", id="a misspelt affinity"),
        pytest.param({"tolerations": [{"effect": "Evict"}]}, "/tolerations/0/effect", id="no effect"),
        pytest.param({"nodeSelector": {"gpu": True}}, "/nodeSelector/gpu", id="no text"),
        pytest.param(
            {"topologySpreadConstraints": [{"topologyKey": "zone"}]}, "/topologySpreadConstraints/0", id="half of one"
        ),
        pytest.param({"ingress": {"hosts": ["https://a.example"]}}, "/ingress/hosts/0", id="a host with a scheme"),
        pytest.param({"ingress": {"path": "/"}}, "path", id="another path"),
        pytest.param({"httpRoute": {"enabled": True}}, "/httpRoute/parentRefs", id="no Gateway"),
        pytest.param(
            {"networkPolicy": {"hooksFrom": [{"cidr": "10.0.0.0/8"}]}}, "/networkPolicy/hooksFrom/0", id="no peer"
        ),
        pytest.param({"networkPolicy": {"egress": []}}, "egress", id="an unknown rule"),
        pytest.param(
            {"monitoring": {"serviceMonitor": {"interval": "30"}}}, "/monitoring/serviceMonitor/interval", id="no unit"
        ),
        pytest.param(
            {"monitoring": {"rules": {"runbookUrl": "runbooks"}}}, "/monitoring/rules/runbookUrl", id="no address"
        ),
        pytest.param({"monitoring": {"enabled": True}}, "enabled", id="all at once"),
        pytest.param({"extraCaBundle": {"secret": "x"}}, "secret", id="CAs in a Secret"),
        pytest.param({"extraCaBundle": {"key": "../x"}}, "/extraCaBundle/key", id="no key"),
        pytest.param({"extraVolumes": [{"name": "config", "emptyDir": {}}]}, "/extraVolumes/0/name", id="our volume"),
        pytest.param(
            {"extraVolumeMounts": [{"name": "more", "mountPath": "/etc/listener/secrets"}]},
            "/extraVolumeMounts/0/mountPath",
            id="our folder",
        ),
    ],
)
async def test_refuses_a_bad_value_by_its_place(helm: Path, tmp_path: Path, values: dict[str, Any], place: str) -> None:
    assert place in await refusal(helm, tmp_path, values)


@pytest.mark.parametrize(
    "values",
    [
        pytest.param(EVERYTHING, id="everything"),
        pytest.param({"monitoring": {"podMonitor": {"enabled": True, "interval": "1m"}}}, id="PodMonitor"),
        pytest.param(ALONE, id="alone"),
    ],
)
async def test_an_api_server_takes_all_objects(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, tmp_path: Path, values: dict[str, Any]
) -> None:
    namespace = await cluster.namespace("chart")
    objects = await objects_of(helm, tmp_path, namespace, values)
    command = (kubectl, "--kubeconfig", cluster.kubeconfig)
    async with others_kinds(command):
        await real_parts.run(
            *(*command, "apply", "--server-side", "--force-conflicts", "--dry-run=server", "--validate=strict"),
            "--filename=-",
            stdin=json.dumps({"apiVersion": "v1", "kind": "List", "items": objects}),
        )


@pytest.mark.parametrize("mode", ["true", "false"])
async def test_a_lease_can_be_switched_off_and_on(
    cluster: ClusterUnderTest, helm: Path, kubectl: Path, tmp_path: Path, mode: str
) -> None:
    """Kubernetes takes no `rollingUpdate` beside Recreate: an upgrade must take it away."""
    namespace = await cluster.namespace("chart")
    file = tmp_path / "values.yaml"
    release = (helm, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace)
    options = ("release", CHART, "--values", file, f"--server-side={mode}", "--set", "crd.install=false")
    get = (kubectl, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace, "get", "deployment", NAME)
    seen = []
    for verb, values in (("install", {}), ("upgrade", ALONE), ("upgrade", {})):
        file.write_text(yaml.safe_dump(values))
        await real_parts.run(*release, verb, *options)
        spec = json.loads(await real_parts.run(*get, "--output=json"))["spec"]
        seen.append((spec["replicas"], spec["strategy"]["type"], "rollingUpdate" in spec["strategy"]))
    await real_parts.run(*release, "uninstall", "release", "--wait")
    assert seen == [(2, "RollingUpdate", True), (1, "Recreate", False), (2, "RollingUpdate", True)]


@asynccontextmanager
async def others_kinds(command: Sequence[str | Path]) -> AsyncIterator[None]:
    """Have the cluster serve the kinds of the Gateway API and the Prometheus Operator, unless it does; then no more."""
    made = []
    for definition in DEFINITIONS:
        try:
            await real_parts.run(*command, "create", "--filename=-", stdin=json.dumps(definition))
        except CalledProcessError as error:
            if b"already exists" not in error.stderr:
                raise
        else:
            made.append(f"crd/{definition['metadata']['name']}")
    try:
        if made:
            await real_parts.run(*command, "wait", "--for=condition=Established", "--timeout=30s", *made)
        yield
    finally:
        if made:
            await real_parts.run(*command, "delete", *made)


def _definition(group: str, kind: str, **spec: Any) -> dict[str, Any]:
    plural = f"{kind.lower()}s"
    schema = {"type": "object", "properties": {"spec": _some(**spec)}}
    return {
        "apiVersion": "apiextensions.k8s.io/v1",
        "kind": "CustomResourceDefinition",
        "metadata": {
            "name": f"{plural}.{group}",
            # Groups of Kubernetes itself are refused without it.
            "annotations": {"api-approved.kubernetes.io": "unapproved, for tests"},
        },
        "spec": {
            "group": group,
            "scope": "Namespaced",
            "names": {"kind": kind, "listKind": f"{kind}List", "plural": plural, "singular": kind.lower()},
            "versions": [
                {"name": "v1", "served": True, "storage": True, "schema": {"openAPIV3Schema": schema}},
            ],
        },
    }


def _some(**properties: Any) -> dict[str, Any]:
    return {"type": "object", "properties": properties, "required": sorted(properties)}


def _list(item: Any) -> dict[str, Any]:
    return {"type": "array", "items": item, "minItems": 1}


def _optional(found: dict[str, Any], *names: str) -> dict[str, Any]:
    return found | {"required": [name for name in found["required"] if name not in names]}


_TEXT = {"type": "string", "minLength": 1}
_PORT = {"type": "integer", "minimum": 1, "maximum": 65535}
_TEXTS = {"type": "object", "additionalProperties": {"type": "string"}}
_SELECTOR = _some(matchLabels=_TEXTS)
_ENDPOINTS = _list(_optional(_some(port=_TEXT, path=_TEXT, interval=_TEXT), "interval"))
_RULE = _optional(_some(alert=_TEXT, expr=_TEXT, labels=_TEXTS, annotations=_TEXTS, **{"for": _TEXT}), "for")

# The fields that the chart writes, as these projects define them, and no others: an unknown field is refused.
DEFINITIONS = [
    _definition("monitoring.coreos.com", "ServiceMonitor", selector=_SELECTOR, endpoints=_ENDPOINTS),
    _definition("monitoring.coreos.com", "PodMonitor", selector=_SELECTOR, podMetricsEndpoints=_ENDPOINTS),
    _definition("monitoring.coreos.com", "PrometheusRule", groups=_list(_some(name=_TEXT, rules=_list(_RULE)))),
    _definition(
        "gateway.networking.k8s.io",
        "HTTPRoute",
        parentRefs=_list(_optional(_some(name=_TEXT, namespace=_TEXT, sectionName=_TEXT), "namespace", "sectionName")),
        hostnames=_list(_TEXT),
        rules=_list(
            _some(
                matches=_list(_some(path=_some(type={"enum": ["PathPrefix"], "type": "string"}, value=_TEXT))),
                backendRefs=_list(_some(name=_TEXT, port=_PORT)),
            )
        ),
    ),
]
