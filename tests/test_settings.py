"""Every mistake in the settings names its key."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

import msgspec
import pytest

from listener import settings
from listener.core.authentication import Basic, Bearer, Header, Open, Query, Scheme, Signature
from listener.core.kinds import KINDS
from listener.core.origins import Origin
from listener.errors import SettingsError

TEAM: Mapping[str, Any] = {"name": "team", "host": "registry.example.com", "auth": {"none": True}}


def with_team(**changes: Any) -> dict[str, Any]:
    return {"registries": [{**TEAM, **changes}]}


OIDC: Mapping[str, Any] = {"issuer": "https://issuer.example/realm", "audience": "us", "claims": {"sub": "ci"}}
GOOGLE: Mapping[str, Any] = {"issuer": "https://accounts.google.com", "audience": "us"}
TOPIC = "arn:aws:sns:us-gov-west-1:123456789012:ecr-push"
BEARER: Mapping[str, Any] = {"bearer": {"secretEnv": "X"}}


def with_auth(auth: Any) -> dict[str, Any]:
    return with_team(auth=auth)


ROLLOUT: Mapping[str, Any] = {
    "apiVersion": "argoproj.io/v1alpha1",
    "kind": "Rollout",
    "podSpecPath": "spec.template.spec",
}


def with_kind(**changes: Any) -> dict[str, Any]:
    return {"workloads": [{**ROLLOUT, **changes}]}


def with_lookup(**fields: Any) -> dict[str, Any]:
    return {"lookup": {"enabled": True, **fields}}


def test_nothing_is_needed() -> None:
    found = settings.load(None, {})
    assert (found.history.limit, found.fan_out.max_in_flight, found.namespaces) == (50, 100, ())
    assert found.listen.hooks == "0.0.0.0:8080"
    assert found.registries == ()


def test_the_whole_file_is_read(tmp_path: Path) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(
        """
        listen: {hooks: "[::1]:0", monitoring: "127.0.0.1:9"}
        registries:
          - name: team
            host: registry.example.com:5000
            aliases: [registry.internal:5000, localhost, "[fe80::1]:80"]
            dialect: distribution
            auth: {basic: {username: robot, secretFile: /etc/secret}}
            integrated: true
        history: {limit: 7}
        fanOut: {maxInFlight: 3, changeCause: false}
        namespaces: [shop, prod]
        logging: {level: debug, format: json}
        """
    )
    found = settings.load(file, {})
    [team] = found.registries
    assert team.auth.basic is not None
    assert (team.auth.basic.username, team.auth.basic.secret_file) == ("robot", "/etc/secret")
    assert (team.host, team.aliases[1], team.integrated) == ("registry.example.com:5000", "localhost", True)
    assert (found.history.limit, found.fan_out.max_in_flight, found.fan_out.change_cause) == (7, 3, False)
    assert (found.namespaces, found.logging.level) == (("shop", "prod"), "debug")


@pytest.mark.parametrize("text", ["", "# nothing\n", "{}"])
def test_an_empty_file_means_the_defaults(tmp_path: Path, text: str) -> None:
    file = tmp_path / "settings.yaml"
    file.write_text(text)
    assert settings.load(file, {}) == settings.Settings()


@pytest.mark.parametrize(
    "auth",
    [
        {"none": True},
        {"bearer": {"secretFile": "/x"}},
        {"bearer": {"secretEnv": "X"}},
        {"basic": {"username": "u", "secretEnv": "X"}},
        {"header": {"name": "X-Token", "secretFile": "/x"}},
        {"hmac": {"secretFile": "/x"}},
        {"hmac": {"secretEnv": "X", "header": "X-Signature", "algorithm": "sha1", "prefix": "sha1="}},
        {"query": {"secretFile": "/x"}},
        {"query": {"name": "token", "secretEnv": "X"}},
        {"oidc": OIDC},
        {"oidc": {**OIDC, "jwksUri": "https://keys.example/jwks", "claims": {"sub": "a", "run": 5, "ok": True}}},
        {"oidc": {**GOOGLE, "claims": {"email": "robot"}}},
        {"oidc": {**GOOGLE, "issuer": "accounts.google.com", "claims": {"email": "robot"}}},
        {"sns": {"topics": [TOPIC, "arn:aws-cn:sns:cn-north-1:123456789012:a.fifo"]}},
    ],
    ids=lambda auth: next(iter(auth)),
)
def test_each_way_to_authenticate(auth: Any) -> None:
    dialect = "aws-sns" if "sns" in auth else "auto"
    assert len(settings.parse(with_team(auth=auth, dialect=dialect), {}).registries) == 1


@pytest.mark.parametrize(
    ("given", "where", "what"),
    [
        pytest.param({"histroy": {}}, "top level", "histroy", id="unknown section"),
        pytest.param({"history": {"limits": 3}}, "history", "limits", id="unknown key"),
        pytest.param({"history": {"limit": "many"}}, "history.limit", "int", id="text for a number"),
        pytest.param({"history": {"limit": "7"}}, "history.limit", "int", id="a number in quotes"),
        pytest.param({"history": {"limit": 0}}, "history.limit", ">= 1", id="too small"),
        pytest.param({"history": {"limit": 10**6}}, "history.limit", "<= 1000", id="too large"),
        pytest.param({"history": None}, "history", "null", id="section is null"),
        pytest.param({"history": []}, "history", "array", id="section is a list"),
        pytest.param({"fanOut": {"maxInFlight": 251}}, "fanOut.maxInFlight", "<= 250", id="more than is polite"),
        pytest.param({"fanOut": {"changeCause": "yes"}}, "fanOut.changeCause", "bool", id="text for yes or no"),
        pytest.param({"logging": {"level": "loud"}}, "logging.level", "loud", id="no level"),
        pytest.param({"logging": {"format": "xml"}}, "logging.format", "xml", id="no format"),
        pytest.param({"namespaces": ["Shop"]}, "namespaces[0]", "regex", id="no namespace"),
        pytest.param({"namespaces": "shop"}, "namespaces", "array", id="one namespace instead of a list"),
        pytest.param({"registries": [{**TEAM, "auth": None}]}, "registries[0].auth", "null", id="auth is null"),
        pytest.param({"registries": [{"name": "a", "host": "b"}]}, "registries[0]", "auth", id="auth is missing"),
        pytest.param(with_team(name="Team"), "registries[0].name", "regex", id="name that is no name"),
        pytest.param(with_team(name="a" * 64), "registries[0].name", "regex", id="name too long"),
        pytest.param(with_team(host="https://r.example"), "registries[0].host", "regex", id="host with a scheme"),
        pytest.param(with_team(host="r.example/team"), "registries[0].host", "regex", id="host with a path"),
        pytest.param(with_team(host="R.example"), "registries[0].host", "regex", id="host in upper case"),
        pytest.param(with_team(aliases=["a b"]), "registries[0].aliases[0]", "regex", id="alias that is no host"),
        pytest.param(with_team(token="x"), "registries[0]", "token", id="secret in the file"),
        pytest.param(with_auth({}), "registries[0].auth", "none of them", id="auth is empty"),
        pytest.param(with_auth({"none": False}), "registries[0].auth", "none of them", id="none: false"),
        pytest.param(
            with_auth({"none": True, "bearer": {"secretEnv": "X"}}), "registries[0].auth", "bearer, none", id="two"
        ),
        pytest.param(
            with_auth({"bearer": {}}),
            "registries[0].auth.bearer",
            "secretFile, secretEnv",
            id="no source of the secret",
        ),
        pytest.param(
            with_auth({"bearer": {"secretFile": "/x", "secretEnv": "X"}}),
            "registries[0].auth.bearer",
            "exactly one",
            id="two sources of the secret",
        ),
        pytest.param(
            with_auth({"bearer": {"secretFile": ""}}), "registries[0].auth.bearer", "exactly one", id="empty file name"
        ),
        pytest.param(
            with_auth({"bearer": {"secret": "x"}}), "registries[0].auth.bearer", "`secret`", id="secret written out"
        ),
        pytest.param(with_auth({"basic": {"secretEnv": "X"}}), "registries[0].auth.basic", "username", id="no user"),
        pytest.param(
            with_auth({"header": {"name": "a b", "secretEnv": "X"}}),
            "registries[0].auth.header.name",
            "regex",
            id="header",
        ),
        pytest.param(with_auth({"bearer": "x"}), "registries[0].auth.bearer", "object", id="secret as text"),
        pytest.param(with_auth({"hmac": {}}), "registries[0].auth.hmac", "exactly one", id="HMAC without a secret"),
        pytest.param(
            with_auth({"hmac": {"secretEnv": "X", "algorithm": "md5"}}),
            "registries[0].auth.hmac.algorithm",
            "md5",
            id="an algorithm nobody should use",
        ),
        pytest.param(
            with_auth({"hmac": {"secretEnv": "X", "header": "a b"}}),
            "registries[0].auth.hmac.header",
            "regex",
            id="HMAC",
        ),
        pytest.param(with_auth({"query": {}}), "registries[0].auth.query", "exactly one", id="query without a secret"),
        pytest.param(
            with_auth({"query": {"secretEnv": "X", "name": "a&b"}}),
            "registries[0].auth.query.name",
            "regex",
            id="query",
        ),
        pytest.param(with_auth({"oidc": {}}), "registries[0].auth.oidc", "issuer", id="no issuer"),
        pytest.param(
            with_auth({"oidc": {**OIDC, "issuer": "http://issuer.example"}}),
            "registries[0].auth.oidc.issuer",
            "regex",
            id="an issuer without TLS",
        ),
        pytest.param(
            with_auth({"oidc": {**OIDC, "issuer": "https://a:b@issuer.example"}}),
            "registries[0].auth.oidc.issuer",
            "regex",
            id="an issuer with a login",
        ),
        pytest.param(
            with_auth({"oidc": {**OIDC, "jwksUri": "http://keys.example"}}),
            "registries[0].auth.oidc.jwksUri",
            "regex",
            id="keys without TLS",
        ),
        pytest.param(
            with_auth({"oidc": {**OIDC, "audience": ""}}), "registries[0].auth.oidc.audience", ">= 1", id="no audience"
        ),
        pytest.param(
            with_auth({"oidc": {**OIDC, "claims": {}}}),
            "registries[0].auth.oidc.claims",
            "a valid one proves nothing",
            id="no claim",
        ),
        pytest.param(
            with_auth({"oidc": {**OIDC, "claims": {"iss": "x", "aud": "us", "email_verified": True}}}),
            "registries[0].auth.oidc.claims",
            "at least one claim besides issuer and audience",
            id="only claims of every token",
        ),
        pytest.param(
            with_auth({"oidc": {**GOOGLE, "claims": {"sub": "5"}}}),
            "registries[0].auth.oidc.claims",
            "expected email",
            id="Google without an address",
        ),
        pytest.param(
            with_auth({"oidc": {**GOOGLE, "issuer": "accounts.google.com", "claims": {"email": True}}}),
            "registries[0].auth.oidc.claims",
            "expected email",
            id="Google with an address that is none",
        ),
        pytest.param(
            with_auth({"oidc": {**OIDC, "claims": {"sub": ["a"]}}}),
            "registries[0].auth.oidc.claims[...]",
            "array",
            id="a list for a claim",
        ),
        pytest.param(
            with_auth({"sns": {"topics": [TOPIC]}}), "registries[0].dialect", "aws-sns", id="SNS in another dialect"
        ),
        pytest.param(with_auth({"sns": {}}), "registries[0].auth.sns", "topics", id="SNS without topics"),
        pytest.param(with_auth({"sns": {"topics": []}}), "registries[0].auth.sns.topics", ">= 1", id="no topics"),
        pytest.param(
            with_auth({"sns": {"topics": ["arn:aws:sqs:eu-west-1:123456789012:a"]}}),
            "registries[0].auth.sns.topics[0]",
            "regex",
            id="no topic of SNS",
        ),
        pytest.param(
            with_auth({"sns": {"topics": ["arn:aws:sns:s3-eu-west-1:123456789012:a"]}}),
            "registries[0].auth.sns.topics[0]",
            "regex",
            id="a region that is none",
        ),
        pytest.param(
            with_team(verify=False),
            "registries[0].verify",
            "believeAnybody: true",
            id="neither a secret nor verification",
        ),
        pytest.param(
            with_team(believeAnybody=True), "registries[0].believeAnybody", "take it out", id="believed, yet verified"
        ),
        pytest.param(
            with_team(auth=BEARER, verify=False, believeAnybody=True),
            "registries[0].believeAnybody",
            "take it out",
            id="anybody, yet with a secret",
        ),
        pytest.param(
            with_team(whenUnreachable="believe"),
            "registries[0].whenUnreachable",
            "needs a secret",
            id="a stranger is believed",
        ),
        pytest.param(
            with_team(auth=BEARER, whenUnreachable="wait"), "registries[0].whenUnreachable", "wait", id="no such end"
        ),
        pytest.param(with_team(name="other"), "registries[0].name", "metrics", id="a name that means none"),
        pytest.param({"registries": [TEAM, TEAM]}, "registries[1].name", "registries[0]", id="the same name twice"),
        pytest.param(with_team(publicHost="p.example"), "registries[0].publicHost", "integrated", id="public alone"),
        pytest.param(with_team(verify="no"), "registries[0].verify", "bool", id="verify as text"),
        pytest.param({"leaderElection": {"lease": "ns/ours"}}, "leaderElection.lease", "regex", id="no lease"),
        pytest.param(with_lookup(), "lookup.secret", "over TLS only", id="lookups without a certificate"),
        pytest.param(with_lookup(secret="ns/tls"), "lookup.hosts", "NAME.NAMESPACE.svc", id="a certificate for nobody"),
        pytest.param(with_lookup(secret="tls"), "lookup.secret", "regex", id="a Secret of no namespace"),
        pytest.param(
            with_lookup(secret="ns/tls", hosts=["a.ns.svc", "https://a"]), "lookup.hosts[1]", "neither", id="no host"
        ),
        pytest.param(with_lookup(certFile="a"), "lookup.keyFile", "go together", id="a certificate without its key"),
        pytest.param(with_lookup(keyFile="a"), "lookup.certFile", "go together", id="a key without its certificate"),
        pytest.param(
            with_lookup(secret="ns/tls", certFile="a", keyFile="b"), "lookup.secret", "either", id="two certificates"
        ),
        pytest.param(
            with_lookup(hosts=["a.ns.svc"], certFile="a", keyFile="b"),
            "lookup.hosts",
            "of our own",
            id="hosts, files",
        ),
        pytest.param(
            with_lookup(webhook="x", certFile="a", keyFile="b"), "lookup.webhook", "of our own", id="webhook, files"
        ),
        pytest.param({"imports": {"interval": "15"}}, "imports.interval", "regex", id="no unit"),
        pytest.param({"imports": {"interval": "0s"}}, "imports.interval", "above zero", id="no interval"),
        pytest.param({"imports": {"interval": "5s"}}, "imports.interval", "imports.minInterval", id="below the least"),
        pytest.param({"imports": {"perHost": {"rate": 0}}}, "imports.perHost.rate", "> 0", id="no rate"),
        pytest.param({"imports": {"perHost": {"limit": 1}}}, "imports.perHost", "limit", id="unknown key, deep"),
        pytest.param({"imports": {"maxTags": 0}}, "imports.maxTags", ">= 1", id="no tags"),
        pytest.param({"imports": {"allowed": ["a/b"]}}, "imports.allowed[0]", "regex", id="a path is no host"),
        pytest.param({"imports": {"allowed": ["*"]}}, "imports.allowed[0]", "inside the cluster", id="everything"),
        pytest.param({"fanOut": {"maxPerSecond": 0}}, "fanOut.maxPerSecond", "> 0", id="no patches at all"),
        pytest.param({"fanOut": {"maxPerSecond": -1}}, "fanOut.maxPerSecond", "> 0", id="fewer than none"),
        pytest.param({"fanOut": {"maxPerSecond": 10**6}}, "fanOut.maxPerSecond", "<= 10000", id="too many to mean it"),
        pytest.param({"fanOut": {"maxPerSecond": "5"}}, "fanOut.maxPerSecond", "float", id="a rate in quotes"),
        pytest.param(
            {"fanOut": {"maxPerSecond": float("nan")}}, "fanOut.maxPerSecond", "> 0", id="a rate that is none"
        ),
        pytest.param({"workloads": {}}, "workloads", "array", id="kinds that are no list"),
        pytest.param({"workloads": ["Rollout"]}, "workloads[0]", "object", id="a kind by its name alone"),
        pytest.param({"workloads": [{"kind": "Rollout"}]}, "workloads[0]", "missing", id="half a kind"),
        pytest.param(with_kind(path="x"), "workloads[0]", "`path`", id="unknown key of a kind"),
        pytest.param(with_kind(apiVersion="argoproj.io"), "workloads[0].apiVersion", "regex", id="no version"),
        pytest.param(with_kind(apiVersion="a/b/v1"), "workloads[0].apiVersion", "regex", id="two groups"),
        pytest.param(with_kind(apiVersion="../v1"), "workloads[0].apiVersion", "regex", id="a way out"),
        pytest.param(with_kind(apiVersion=1), "workloads[0].apiVersion", "str", id="a number for a version"),
        pytest.param(with_kind(kind="rollouts"), "workloads[0].kind", "regex", id="a plural"),
        pytest.param(with_kind(kind=""), "workloads[0].kind", "regex", id="no name"),
        pytest.param(with_kind(podSpecPath=""), "workloads[0].podSpecPath", "regex", id="no path"),
        pytest.param(with_kind(podSpecPath=".spec"), "workloads[0].podSpecPath", "regex", id="a path with a dot first"),
        pytest.param(with_kind(podSpecPath="spec."), "workloads[0].podSpecPath", "regex", id="a path with a dot last"),
        pytest.param(with_kind(podSpecPath="/spec"), "workloads[0].podSpecPath", "regex", id="a JSON Pointer"),
        pytest.param(with_kind(podSpecPath="spec[0]"), "workloads[0].podSpecPath", "regex", id="a path into a list"),
        pytest.param(with_kind(podSpecPath="metadata.x"), "workloads[0].podSpecPath", "regex", id="into metadata"),
        pytest.param(with_kind(podSpecPath=".".join("a" * 11)), "workloads[0].podSpecPath", "regex", id="a deep path"),
        pytest.param({"workloads": [ROLLOUT, ROLLOUT]}, "workloads[1]", "workloads[0]", id="a kind twice"),
        pytest.param(
            {"workloads": [ROLLOUT, {**ROLLOUT, "apiVersion": "argoproj.io/v1"}]},
            "workloads[1]",
            "workloads[0]",
            id="a kind twice, in two versions",
        ),
        pytest.param(
            with_kind(apiVersion="apps/v1beta1", kind="Deployment"), "workloads[0]", "anyway", id="a kind of Kubernetes"
        ),
        pytest.param(with_kind(apiVersion="v1", kind="Pod"), "workloads[0]", "anyway", id="a kind of its core"),
        pytest.param(
            with_kind(apiVersion="tekton.dev/v1", kind="Pipeline"), "workloads[0]", "anyway", id="a known one"
        ),
        pytest.param({"listen": {"hooks": "8080"}}, "listen.hooks", "HOST:PORT", id="port alone"),
        pytest.param({"listen": {"hooks": 8080}}, "listen.hooks", "str", id="port as a number"),
        pytest.param({"listen": {"monitoring": ":8081"}}, "listen.monitoring", "HOST:PORT", id="no host"),
        pytest.param({"listen": {"hooks": "a:70000"}}, "listen.hooks", "HOST:PORT", id="no port"),
        pytest.param({"listen": {"hooks": "::1:80"}}, "listen.hooks", "HOST:PORT", id="IPv6 without brackets"),
        pytest.param({"listen": {"proxies": ["10.0.0.1/8"]}}, "listen.proxies[0]", "10.0.0.0/8", id="bits of a host"),
        pytest.param({"listen": {"proxies": ["::1", "here"]}}, "listen.proxies[1]", "network", id="no network"),
        pytest.param({"listen": {"proxies": ["0.0.0.0/0"]}}, "listen.proxies[0]", "everybody", id="all addresses"),
    ],
)
def test_a_mistake_is_named_by_its_key(given: Any, where: str, what: str) -> None:
    with pytest.raises(SettingsError) as error:
        settings.parse(given, {})
    message = str(error.value)
    assert message.startswith(f"{where}: ")
    assert what in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("content", "what"),
    [
        pytest.param(None, "cannot be read", id="missing"),
        pytest.param(b"\xff\xfe\xfa", "cannot be read", id="no text"),
        pytest.param(b"a: [1,", "is not YAML", id="broken"),
        pytest.param(b"a: !!python/object:os.system {}", "is not YAML", id="a tag that could run code"),
        pytest.param(b"- a", "must hold a mapping of keys, not a list", id="a list"),
        pytest.param(b"hello", "must hold a mapping of keys, not a str", id="a word"),
        pytest.param(b"history: {limit: x}", "history.limit", id="a mistake inside"),
        pytest.param(b"1: 2", "top level", id="a key that is no text"),
    ],
)
def test_a_file_that_cannot_be_used_is_named_on_one_line(tmp_path: Path, content: bytes | None, what: str) -> None:
    file = tmp_path / "settings.yaml"
    if content is not None:
        file.write_bytes(content)
    with pytest.raises(SettingsError) as error:
        settings.load(file, {})
    message = str(error.value)
    assert message.startswith(f"settings file {file}")
    assert what in message
    assert "\n" not in message


@pytest.mark.parametrize(
    ("variable", "value", "path"),
    [
        ("LISTENER_HISTORY_LIMIT", "9", ("history", "limit", 9)),
        ("LISTENER_FAN_OUT_MAX_IN_FLIGHT", "9", ("fan_out", "max_in_flight", 9)),
        ("LISTENER_FAN_OUT_CHANGE_CAUSE", "false", ("fan_out", "change_cause", False)),
        ("LISTENER_IMPORTS_INTERVAL", "1h30m", ("imports", "interval", "1h30m")),
        ("LISTENER_IMPORTS_MAX_TAGS", "9", ("imports", "max_tags", 9)),
        ("LISTENER_LISTEN_HOOKS", "127.0.0.1:9", ("listen", "hooks", "127.0.0.1:9")),
        ("LISTENER_LISTEN_MONITORING", "127.0.0.1:9", ("listen", "monitoring", "127.0.0.1:9")),
        ("LISTENER_LEADER_ELECTION_ENABLED", "false", ("leader_election", "enabled", False)),
        ("LISTENER_LEADER_ELECTION_LEASE", "mine", ("leader_election", "lease", "mine")),
        ("LISTENER_LOGGING_LEVEL", "error", ("logging", "level", "error")),
        ("LISTENER_LOGGING_FORMAT", "console", ("logging", "format", "console")),
    ],
)
def test_the_environment_overrides_a_scalar_and_leaves_its_neighbours(
    variable: str, value: str, path: tuple[str, str, Any]
) -> None:
    section, key, expected = path
    given = {"history": {"limit": 3}, "fanOut": {"maxInFlight": 3}, "logging": {"level": "debug"}}
    plain, found = settings.parse(given, {}), settings.parse(given, {variable: value})
    assert getattr(getattr(found, section), key) == expected
    changed = msgspec.structs.replace(getattr(plain, section), **{key: expected})
    assert found == msgspec.structs.replace(plain, **{section: changed})
    assert given["history"] == {"limit": 3}


@pytest.mark.parametrize(
    ("api_version", "kind", "path"),
    [
        ("argoproj.io/v1alpha1", "Rollout", "spec.template.spec"),
        ("serving.knative.dev/v1", "Service", "spec.template.spec"),
        ("apps.kruise.io/v1beta1", "StatefulSet", "spec.template.spec"),
        ("v1", "PodTemplate", "template.spec"),
        ("example.com/v1", "Bare", "pod"),
        ("example.com/v1", "Tree", "a.b.c.d.e.f.g.h.i.j"),
        ("example.com/v1", "Odd", "metadataOf.status"),
    ],
)
def test_a_kind_of_this_clusters_own(api_version: str, kind: str, path: str) -> None:
    given = with_kind(apiVersion=api_version, kind=kind, podSpecPath=path)
    assert settings.parse(given, {}).workloads == (
        settings.WorkloadKind(api_version=api_version, kind=kind, pod_spec_path=path),
    )


@pytest.mark.parametrize("rate", [None, 0.1, 5, 10_000])
def test_how_many_patches_in_a_second(rate: float | None) -> None:
    assert settings.parse({"fanOut": {"maxPerSecond": rate}}, {}).fan_out.max_per_second == rate


def test_a_section_in_a_section_can_be_overridden_key_by_key() -> None:
    given = {"imports": {"perHost": {"burst": 3}}}
    found = settings.parse(given, {"LISTENER_IMPORTS_PER_HOST_RATE": "2.5"})
    assert (found.imports.per_host.rate, found.imports.per_host.burst) == (2.5, 3)
    assert given == {"imports": {"perHost": {"burst": 3}}}


def test_every_scalar_outside_lists_has_its_variable() -> None:
    names = {variable for *_, variable in settings._overridable(settings.Settings)}
    assert names == {
        "LISTENER_LEADER_ELECTION_ENABLED",
        "LISTENER_LEADER_ELECTION_LEASE",
        "LISTENER_IMPORTS_INTERVAL",
        "LISTENER_IMPORTS_MIN_INTERVAL",
        "LISTENER_IMPORTS_MAX_INTERVAL",
        "LISTENER_IMPORTS_PER_HOST_RATE",
        "LISTENER_IMPORTS_PER_HOST_BURST",
        "LISTENER_IMPORTS_MAX_TAGS",
        "LISTENER_HISTORY_LIMIT",
        "LISTENER_FAN_OUT_MAX_IN_FLIGHT",
        "LISTENER_FAN_OUT_MAX_PER_SECOND",
        "LISTENER_FAN_OUT_CHANGE_CAUSE",
        "LISTENER_LISTEN_HOOKS",
        "LISTENER_LISTEN_MONITORING",
        "LISTENER_LISTEN_ADMISSION",
        "LISTENER_LOOKUP_ENABLED",
        "LISTENER_LOOKUP_SECRET",
        "LISTENER_LOOKUP_WEBHOOK",
        "LISTENER_LOOKUP_CERT_FILE",
        "LISTENER_LOOKUP_KEY_FILE",
        "LISTENER_LOGGING_LEVEL",
        "LISTENER_LOGGING_FORMAT",
    }


@pytest.mark.parametrize(
    ("variable", "value", "where"),
    [
        ("LISTENER_HISTORY_LIMIT", "many", "history.limit"),
        ("LISTENER_HISTORY_LIMIT", "", "history.limit"),
        ("LISTENER_FAN_OUT_CHANGE_CAUSE", "perhaps", "fanOut.changeCause"),
        ("LISTENER_FAN_OUT_MAX_PER_SECOND", "fast", "fanOut.maxPerSecond"),
        ("LISTENER_FAN_OUT_MAX_PER_SECOND", "0", "fanOut.maxPerSecond"),
        ("LISTENER_LOGGING_LEVEL", "loud", "logging.level"),
    ],
)
def test_a_mistake_in_the_environment_names_key_and_variable(variable: str, value: str, where: str) -> None:
    with pytest.raises(SettingsError, match=rf"^{where}: .*{variable}"):
        settings.parse({}, {variable: value})


def test_what_else_stands_in_the_environment_does_not_matter() -> None:
    assert settings.parse({}, {"LISTENER_UNHEARD_OF": "1", "PATH": "/bin"}) == settings.Settings()


def test_an_override_does_not_hide_a_section_of_the_wrong_kind() -> None:
    with pytest.raises(SettingsError, match=r"^history: "):
        settings.parse({"history": [1]}, {"LISTENER_HISTORY_LIMIT": "5"})


def test_an_override_makes_the_rest_of_the_file_no_less_strict() -> None:
    with pytest.raises(SettingsError, match=r"^fanOut\.maxInFlight: "):
        settings.parse({"fanOut": {"maxInFlight": "9"}}, {"LISTENER_HISTORY_LIMIT": "5"})


def test_kinds_of_the_settings_are_followed_beside_ours_under_the_name_that_was_given() -> None:
    found = settings.parse({"workloads": [{**ROLLOUT, "plural": "rolls"}, {**ROLLOUT, "kind": "Policy"}]}, {}).kinds()
    assert found[: len(KINDS)] == KINDS
    assert [(kind.label, kind.plural) for kind in found[len(KINDS) :]] == [
        ("Rollout.argoproj.io", "rolls"),
        ("Policy.argoproj.io", ""),
    ]


# Who is believed


@pytest.mark.parametrize("host", ["docker.io", "index.docker.io", "registry-1.docker.io"])
def test_docker_hub_has_one_name(host: str) -> None:
    """By that name what streams import is compared, whatever pull specs call it."""
    (registry,) = settings.parse(with_team(host=host), {}).registries
    assert registry.host == registry.origin().host == "docker.io"


@pytest.mark.parametrize(
    ("changes", "origin"),
    [
        pytest.param({}, Origin("team", "registry.example.com", is_proven=False), id="anybody's"),
        pytest.param({"auth": BEARER}, Origin("team", "registry.example.com"), id="with a secret"),
        pytest.param(
            {"auth": BEARER, "whenUnreachable": "believe", "aliases": ["a:5000"]},
            Origin("team", "registry.example.com", frozenset({"a:5000"}), believes_unverified=True),
            id="believed",
        ),
        pytest.param(
            {"auth": BEARER, "integrated": True, "publicHost": "public.example", "verify": False},
            Origin("team", "registry.example.com", frozenset({"public.example"}), integrated=True, verify=False),
            id="integrated",
        ),
    ],
)
def test_whose_hook_it_is(changes: Mapping[str, Any], origin: Origin) -> None:
    (registry,) = settings.parse(with_team(**changes), {}).registries
    assert registry.origin() == origin


def test_a_registry_that_cannot_be_asked_refuses_unless_told_otherwise() -> None:
    [team] = settings.parse(with_team(), {}).registries
    assert (team.verify, team.when_unreachable, team.believe_anybody) == (True, "refuse", False)


@pytest.mark.parametrize(
    "changes",
    [
        pytest.param({"verify": False, "believeAnybody": True}, id="written out"),
        pytest.param({"verify": False, "auth": BEARER}, id="a secret"),
        pytest.param({"whenUnreachable": "believe", "auth": BEARER}, id="a secret, and a registry that may be down"),
    ],
)
def test_what_is_not_verified_must_be_meant(changes: dict[str, Any]) -> None:
    assert len(settings.parse(with_team(**changes), {}).registries) == 1


def auth_of(given: Any) -> settings.Auth:
    [team] = settings.parse(with_team(auth=given, dialect="aws-sns" if "sns" in given else "auto"), {}).registries
    return team.auth


GITHUB = Signature("x-hub-signature-256", "sha256", "sha256=")


@pytest.mark.parametrize(
    ("hmac", "dialect", "scheme"),
    [
        pytest.param({}, GITHUB, GITHUB, id="all as the dialect says"),
        pytest.param({"header": "X-Mine"}, GITHUB, Signature("x-mine", "sha256", "sha256="), id="another header"),
        pytest.param({"algorithm": "sha1"}, GITHUB, Signature(GITHUB.header, "sha1", "sha1="), id="another algorithm"),
        pytest.param({"prefix": ""}, GITHUB, Signature(GITHUB.header, "sha256", ""), id="no prefix"),
        pytest.param({"header": "X-Mine"}, None, Signature("x-mine", "sha256", ""), id="no dialect"),
        pytest.param(
            {"header": "X-Mine", "algorithm": "sha512", "prefix": "v1="},
            None,
            Signature("x-mine", "sha512", "v1="),
            id="all written out",
        ),
    ],
)
def test_what_an_hmac_leaves_out_is_as_the_dialect_says(
    hmac: dict[str, str], dialect: Signature | None, scheme: Signature
) -> None:
    assert auth_of({"hmac": {"secretEnv": "X", **hmac}}).scheme(dialect) == scheme


def test_an_hmac_without_a_header_needs_a_dialect_that_signs() -> None:
    with pytest.raises(SettingsError, match=r"^hmac\.header: expected the header"):
        auth_of({"hmac": {"secretEnv": "X"}}).scheme(None)


@pytest.mark.parametrize(
    ("given", "scheme"),
    [
        ({"none": True}, Open()),
        (BEARER, Bearer()),
        ({"basic": {"username": "robot", "secretEnv": "X"}}, Basic("robot")),
        ({"header": {"name": "X-Token", "secretEnv": "X"}}, Header("x-token")),
        ({"query": {"secretEnv": "X"}}, Query("secret")),
        ({"query": {"secretEnv": "X", "name": "Token"}}, Query("Token")),
    ],
    ids=lambda value: next(iter(value)) if isinstance(value, dict) else "",
)
def test_how_a_secret_is_carried(given: Any, scheme: Scheme) -> None:
    auth = auth_of(given)
    assert auth.scheme(None) == scheme
    assert (auth.secret() is None) is isinstance(scheme, Open)


@pytest.mark.parametrize("given", [{"oidc": OIDC}, {"sns": {"topics": [TOPIC]}}], ids=["oidc", "sns"])
def test_what_others_sign_is_never_taken_for_an_open_door(given: Any) -> None:
    auth = auth_of(given)
    assert auth.secret() is None
    with pytest.raises(ValueError, match="no secret of ours"):
        auth.scheme(GITHUB)
