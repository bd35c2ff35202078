"""What a real API server refuses of a MutatingWebhookConfiguration, in the words of `pkg/apis/admissionregistration`.

Pure: a configuration with its defaults in, field errors out.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any, Final
from urllib.parse import urlsplit

from listener.sandbox.cluster import cel
from listener.sandbox.cluster.constraints import label_selector
from listener.sandbox.cluster.field_errors import (
    FieldError,
    duplicate,
    invalid,
    not_supported,
    required,
    too_many,
)
from listener.sandbox.cluster.selectors import SUBDOMAIN, SUBDOMAIN_RULE, key_problems

Object = dict[str, Any]

_REVIEW_VERSIONS: Final = ("v1", "v1beta1")
_OPERATIONS: Final = ("*", "CONNECT", "CREATE", "DELETE", "UPDATE")
_MOST_CONDITIONS: Final = 64
_URL_FORM: Final = "; desired format: https://host[/path]"
_VERSION: Final = re.compile(r"[a-z]([-a-z0-9]*[a-z0-9])?")
_VERSION_RULE: Final = (
    "a DNS-1035 label must consist of lower case alphanumeric characters or '-', start with an alphabetic character, "
    "and end with an alphanumeric character (e.g. 'my-name',  or 'abc-123', regex used for validation is "
    "'[a-z]([-a-z0-9]*[a-z0-9])?')"
)


def configuration_faults(configuration: Object, _old: Object | None) -> Iterator[FieldError]:
    names: set[str] = set()
    for place, webhook in enumerate(configuration.get("webhooks") or ()):
        path = f"webhooks[{place}]"
        yield from _webhook(webhook, path)
        name = webhook.get("name", "")
        if name in names:
            yield duplicate(f"{path}.name", name)
        names.add(name)


def _webhook(webhook: Object, path: str) -> Iterator[FieldError]:
    yield from _name(webhook.get("name", ""), f"{path}.name")
    yield from _review_versions(webhook.get("admissionReviewVersions") or [], f"{path}.admissionReviewVersions")
    for place, rule in enumerate(webhook.get("rules") or ()):
        yield from _rule(rule, f"{path}.rules[{place}]")
    for field, words in (("failurePolicy", ("Fail", "Ignore")), ("matchPolicy", ("Equivalent", "Exact"))):
        if webhook[field] not in words:
            yield not_supported(f"{path}.{field}", webhook[field], words)
    effects = webhook.get("sideEffects")
    if effects is None:
        yield required(f"{path}.sideEffects", "must specify one of None, NoneOnDryRun")
    elif effects not in ("None", "NoneOnDryRun"):
        yield not_supported(f"{path}.sideEffects", effects, ("None", "NoneOnDryRun"))
    if not 1 <= webhook["timeoutSeconds"] <= 30:
        why = "the timeout value must be between 1 and 30 seconds"
        yield invalid(f"{path}.timeoutSeconds", webhook["timeoutSeconds"], why)
    for field in ("namespaceSelector", "objectSelector"):
        yield from label_selector(webhook[field], f"{path}.{field}")
    yield from _client(webhook.get("clientConfig") or {}, f"{path}.clientConfig")
    if webhook["reinvocationPolicy"] not in ("IfNeeded", "Never"):
        yield not_supported(f"{path}.reinvocationPolicy", webhook["reinvocationPolicy"], ("IfNeeded", "Never"))
    yield from _conditions(webhook.get("matchConditions") or [], f"{path}.matchConditions")


def _name(name: str, path: str) -> Iterator[FieldError]:
    if not name:
        yield required(path)
    elif not SUBDOMAIN.fullmatch(name):
        yield invalid(path, name, SUBDOMAIN_RULE)
    elif name.count(".") < 2:
        yield invalid(path, name, "should be a domain with at least three segments separated by dots")


def _review_versions(versions: Sequence[str], path: str) -> Iterator[FieldError]:
    if not versions:
        yield required(path, f"must specify one of {', '.join(_REVIEW_VERSIONS)}")
        return
    for place, version in enumerate(versions):
        if version in versions[:place]:
            yield invalid(f"{path}[{place}]", version, "duplicate version")
        elif not _VERSION.fullmatch(version):
            yield invalid(f"{path}[{place}]", version, _VERSION_RULE)
    if not set(versions) & set(_REVIEW_VERSIONS):
        yield invalid(path, versions, f"must include at least one of {', '.join(_REVIEW_VERSIONS)}")


def _rule(rule: Object, path: str) -> Iterator[FieldError]:
    yield from _words(rule.get("operations") or [], f"{path}.operations", "operations", _OPERATIONS)
    yield from _words(rule.get("apiGroups") or [], f"{path}.apiGroups", "API groups", None)
    versions = rule.get("apiVersions") or []
    yield from _words(versions, f"{path}.apiVersions", "API versions", None)
    yield from (required(f"{path}.apiVersions[{place}]") for place, each in enumerate(versions) if not each)
    yield from _resources(rule.get("resources") or [], f"{path}.resources")
    if rule["scope"] not in ("*", "Cluster", "Namespaced"):
        yield not_supported(f"{path}.scope", rule["scope"], ("*", "Cluster", "Namespaced"))


def _words(words: Sequence[str], path: str, noun: str, known: Collection[str] | None) -> Iterator[FieldError]:
    if not words:
        yield required(path)
        return
    if "*" in words and len(words) > 1:
        yield invalid(path, words, f"if '*' is present, must not specify other {noun}")
    for place, word in enumerate(words):
        if known is not None and word not in known:
            yield not_supported(f"{path}[{place}]", word, sorted(known))


def _resources(resources: Sequence[str], path: str) -> Iterator[FieldError]:
    if not resources:
        yield required(path)
        return
    whole, parts = set(), set()
    for place, each in enumerate(resources):
        if not each:
            yield required(f"{path}[{place}]")
        plural, slash, part = each.partition("/")
        if plural in whole:
            yield invalid(f"{path}[{place}]", each, f"if '{plural}/*' is present, must not specify {each}")
        if part in parts:
            yield invalid(f"{path}[{place}]", each, f"if '*/{part}' is present, must not specify {each}")
        if part == "*":
            whole.add(plural)
        if slash and plural == "*":
            parts.add(part)
    if "*/*" in resources and len(resources) > 1:
        yield invalid(path, resources, "if '*/*' is present, must not specify other resources")
    if "*" in resources and any("/" not in each for each in resources if each != "*"):
        why = "if '*' is present, must not specify other resources without subresources"
        yield invalid(path, resources, why)


def _client(client: Object, path: str) -> Iterator[FieldError]:
    url, service = client.get("url"), client.get("service")
    if (url is None) == (service is None):
        yield required(path, "exactly one of url or service is required")
    elif url is not None:
        yield from _url(url, f"{path}.url")
    else:
        yield from _service(service or {}, f"{path}.service")


def _url(url: str, path: str) -> Iterator[FieldError]:
    try:
        parts = urlsplit(url)
        host = parts.hostname
    except ValueError as error:
        yield required(path, f'url must be a valid URL: parse "{url}": {error}{_URL_FORM}')
        return
    if parts.scheme != "https":
        yield invalid(path, parts.scheme, f"'https' is the only allowed URL scheme{_URL_FORM}")
    if not host:
        yield invalid(path, host or "", f"host must be specified{_URL_FORM}")
    if "@" in parts.netloc:
        user = parts.netloc.rpartition("@")[0]
        yield invalid(path, user, "user information is not permitted in the URL")
    if parts.fragment:
        yield invalid(path, parts.fragment, "fragments are not permitted in the URL")
    if parts.query:
        yield invalid(path, parts.query, "query parameters are not permitted in the URL")


def _service(service: Object, path: str) -> Iterator[FieldError]:
    yield from (required(f"{path}.{field}") for field in ("name", "namespace") if not service.get(field))
    port = service.get("port", 443)
    if not 1 <= port <= 65535:
        yield invalid(f"{path}.port", port, "port is not valid: must be between 1 and 65535, inclusive")
    where = service.get("path")
    if where is None:
        return
    if not where.startswith("/"):
        yield invalid(f"{path}.path", where, "must start with a '/'")
    steps = where[1:].removesuffix("/").split("/")
    for place, step in enumerate(steps if where not in ("/", "//") else ()):
        if not step:
            yield invalid(f"{path}.path", where, f"segment[{place}] may not be empty")
        elif not SUBDOMAIN.fullmatch(step):
            yield invalid(f"{path}.path", where, f"segment[{place}]: {SUBDOMAIN_RULE}")


def _conditions(conditions: Sequence[Object], path: str) -> Iterator[FieldError]:
    if len(conditions) > _MOST_CONDITIONS:
        yield too_many(path, len(conditions), _MOST_CONDITIONS)
    names: set[str] = set()
    for place, condition in enumerate(conditions):
        where = f"{path}[{place}]"
        yield from _condition(condition.get("expression", "").strip(), f"{where}.expression")
        name = condition.get("name", "")
        if not name:
            yield required(f"{where}.name")
        elif name in names:
            yield duplicate(f"{where}.name", name)
        else:
            yield from (invalid(f"{where}.name", name, why) for why in key_problems(name))
        names.add(name)


def _condition(text: str, path: str) -> Iterator[FieldError]:
    if not text:
        yield required(path)
        return
    try:
        found = cel.compile_expression(text)
    except cel.CompilationError as error:
        yield invalid(path, text, f"compilation failed: {error}")
        return
    if found.type != "bool":
        yield invalid(path, text, f"must evaluate to bool but got {found.type}")


Rule = Callable[[Object, Object | None], Iterator[FieldError]]
RULES: Final[dict[tuple[str, str], tuple[Rule, ...]]] = {
    ("admissionregistration.k8s.io/v1", "MutatingWebhookConfiguration"): (configuration_faults,),
}
