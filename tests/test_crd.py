"""The definition of ImageStream: what it takes as OpenShift does, what it refuses and by which name, what it fills in.

Every row is tried twice: by a plain validator of the schema, and by an API server that serves the definition. The
manifests are ours, in the shapes of those that OpenShift ships, exports and generates.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from importlib.resources import files
from pathlib import Path
from subprocess import CalledProcessError
from typing import Any, cast

import jsonschema
import pytest
import yaml
from hypothesis import assume, given
from hypothesis import strategies as st
from kubernetes_asyncio import client, config

from listener.core import references
from listener.errors import InvalidReference
from tests import real_parts
from tests.cluster_under_test import ClusterUnderTest

DEFINITION = yaml.safe_load(files("listener.sandbox").joinpath("imagestreams.yaml").read_text())
SCHEMA = DEFINITION["spec"]["versions"][0]["schema"]["openAPIV3Schema"]

HEX = "0123456789abcdef" * 4
DIGEST = f"sha256:{HEX}"


def stream(name: str = "shop", **parts: Any) -> dict[str, Any]:
    return {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": name}, **parts}


def tagged(*tags: Mapping[str, Any]) -> dict[str, Any]:
    return stream(spec={"tags": list(tags)})


def taken_from(kind: str | None, name: str | None, **rest: Any) -> dict[str, Any]:
    """A stream with one tag that comes from there."""
    source = {"kind": kind, "name": name}
    return tagged({"name": "prod", "from": {key: value for key, value in source.items() if value is not None}} | rest)


def from_registry(reference: str) -> dict[str, Any]:
    return taken_from("DockerImage", reference)


BUILDER = yaml.safe_load("""
kind: ImageStream
apiVersion: image.openshift.io/v1
metadata:
  name: python
  creationTimestamp: null
  annotations: {openshift.io/display-name: Python}
spec:
  lookupPolicy: {local: false}
  tags:
    - name: latest
      annotations:
        openshift.io/display-name: Python (Latest)
        tags: builder,python,hidden
        sampleRepo: https://git.example.com/django.git
      from: {kind: ImageStreamTag, name: 3.12-minimal}
      generation: null
      importPolicy: {}
      referencePolicy: {type: Local}
    - name: 3.12-minimal
      annotations: {version: "3.12"}
      from: {kind: DockerImage, name: "registry.example.com/base9/python-312:latest"}
      generation: null
      importPolicy: {scheduled: true}
      referencePolicy: {type: Local}
status:
  dockerImageRepository: ""
""")

EXPORTED = yaml.safe_load("""
apiVersion: image.openshift.io/v1
kind: ImageStream
metadata:
  annotations: {openshift.io/image.dockerRepositoryCheck: "2026-01-30T09:41:00Z"}
  creationTimestamp: "2026-01-30T09:40:59Z"
  generation: 4
  name: exported
spec:
  lookupPolicy: {local: true}
  tags:
  - annotations: null
    from: {kind: DockerImage, name: docker.io/acme/web}
    generation: 4
    importPolicy: {importMode: Legacy, insecure: true}
    name: latest
    referencePolicy: {type: Source}
  - annotations: null
    from: {kind: ImageStreamImage, namespace: build, name: "web@sha256:0123456789ab"}
    generation: 2
    importPolicy: {importMode: PreserveOriginal}
    name: pinned
    reference: true
    referencePolicy: {type: Source}
status:
  dockerImageRepository: image-registry.openshift-image-registry.svc:5000/shop/exported
  publicDockerImageRepository: registry.apps.example.com/shop/exported
  tags:
  - conditions:
    - generation: 4
      lastTransitionTime: "2026-01-30T09:41:00Z"
      message: "Internal error occurred: docker.io/acme/web:latest: Get: unauthorized"
      reason: InternalError
      status: "False"
      type: ImportSuccess
    items: null
    tag: latest
  - items:
    - created: "2026-01-30T09:41:00Z"
      dockerImageReference: docker.io/acme/web@sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
      generation: 2
      image: sha256:0123456789abcdef0123456789abcdef0123456789abcdef0123456789abcdef
    tag: pinned
""")

TAKEN = [
    pytest.param(stream(), id="nothing but a name, as for a stream that is pushed to"),
    pytest.param(stream(spec={}), id="an empty spec"),
    pytest.param(BUILDER, id="as OpenShift ships its builders: null generation, empty policy, a tag that follows"),
    pytest.param(EXPORTED, id="as `oc get -o yaml` exports it, status and all"),
    pytest.param(
        tagged(
            {
                "name": "latest",
                "annotations": {"openshift.io/imported-from": "acme/web"},
                "from": {"kind": "DockerImage", "name": "acme/web"},
                "importPolicy": {},
                "referencePolicy": {"type": ""},
            }
        ),
        id="as `oc new-app` generates it: a policy without type",
    ),
    pytest.param(
        tagged({"name": "a", "annotations": None, "from": None, "generation": None}), id="null for each field it may be"
    ),
    pytest.param(tagged({"name": "a", "importPolicy": None, "referencePolicy": None}), id="null for a policy"),
    pytest.param(tagged({"name": "a"}), id="a placeholder tag"),
    pytest.param(
        tagged({"name": "a", "from": None, "importPolicy": {"scheduled": True}}), id="a scheduled placeholder"
    ),
    pytest.param(tagged({"name": "_A.b-9" + "x" * 122}), id="the longest tag, of every kind of character"),
    pytest.param(tagged({"name": "a", "generation": 0}), id="generation 0 asks for an import"),
    pytest.param(tagged({"name": "a", "generation": 1 << 40}), id="a generation of 64 bits"),
    pytest.param(tagged({"name": "a", "importPolicy": {"importMode": ""}}), id="an empty import mode"),
    pytest.param(
        taken_from("DockerImage", "acme/web", importPolicy={"scheduled": True, "insecure": True}), id="scheduled import"
    ),
    pytest.param(
        taken_from("ImageStreamTag", "dev", importPolicy={"scheduled": False}),
        id="scheduled false on a tag that follows",
    ),
    pytest.param(taken_from("ImageStreamTag", "build:"), id="a source stream with an empty tag means latest"),
    pytest.param(taken_from("ImageStreamTag", "shop:dev", reference=True), id="the own stream named, for reference"),
    pytest.param(taken_from("ImageStreamImage", HEX[:12]), id="the beginning of a digest"),
    pytest.param(
        tagged(
            {
                "name": "a",
                "from": {
                    "apiVersion": "image.openshift.io/v1",
                    "kind": "ImageStreamTag",
                    "namespace": "build",
                    "name": "web:1",
                    "uid": "u",
                    "resourceVersion": "7",
                    "fieldPath": "",
                },
            }
        ),
        id="an object reference with all its fields",
    ),
    pytest.param(stream(spec={"dockerImageRepository": "reg.example.com:5000/acme/web"}), id="a whole repository"),
    pytest.param(stream(spec={"dockerImageRepository": ""}), id="an empty repository"),
    pytest.param(stream(name="web.shop-2"), id="a name of several parts"),
    pytest.param(from_registry("wildfly:15.0"), id="a bare name and tag"),
    pytest.param(from_registry("Registry.Example.COM/web"), id="capitals in a host"),
    pytest.param(from_registry(f"localhost:5000/a/b__c:t@{DIGEST}"), id="tag and digest"),
    pytest.param(from_registry(f"web@sha512:{HEX}{HEX}"), id="a digest of 512 bits"),
]

REFUSED = [
    pytest.param(stream(name="a--b"), "metadata.name", id="a name that is no path component"),
    pytest.param(stream(name="Shop"), "metadata.name", id="a name with a capital"),
    pytest.param(stream(spec={"lookupPolicy": {"local": "yes"}}), "spec.lookupPolicy.local", id="text for a switch"),
    pytest.param(stream(spec={"tags": {}}), "spec.tags", id="a map for the tags"),
    pytest.param(
        stream(spec={"dockerImageRepository": "acme/web:1"}), "spec.dockerImageRepository", id="a repository with a tag"
    ),
    pytest.param(
        stream(spec={"dockerImageRepository": f"acme/web@{DIGEST}"}),
        "spec.dockerImageRepository",
        id="a repository with a digest",
    ),
    pytest.param(
        stream(spec={"dockerImageRepository": "https://acme.com/web"}),
        "spec.dockerImageRepository",
        id="a repository with a scheme",
    ),
    pytest.param(tagged({"from": None}), "spec.tags[0].name", id="a tag without a name"),
    pytest.param(tagged({"name": "ok"}, {"name": ""}), "spec.tags[1].name", id="an empty tag"),
    pytest.param(tagged({"name": "a b"}), "spec.tags[0].name", id="a tag with a blank"),
    pytest.param(tagged({"name": "-a"}), "spec.tags[0].name", id="a tag that begins with a dash"),
    pytest.param(tagged({"name": "a:b"}), "spec.tags[0].name", id="a tag with a colon"),
    pytest.param(tagged({"name": "x" * 129}), "spec.tags[0].name", id="a tag that is too long"),
    pytest.param(
        tagged({"name": "a", "annotations": {"version": 2.7}}),
        "spec.tags[0].annotations.version",
        id="a number for an annotation",
    ),
    pytest.param(tagged({"name": "a", "reference": "yes"}), "spec.tags[0].reference", id="text for reference"),
    pytest.param(tagged({"name": "a", "generation": "1"}), "spec.tags[0].generation", id="text for a generation"),
    pytest.param(tagged({"name": "a", "from": {}}), "spec.tags[0].from.kind", id="an empty source"),
    pytest.param(taken_from(None, "acme/web"), "spec.tags[0].from.kind", id="a source without a kind"),
    pytest.param(taken_from("Image", "acme/web"), "spec.tags[0].from.kind", id="a source of an unknown kind"),
    pytest.param(taken_from("DockerImage", None), "spec.tags[0].from.name", id="a source without a name"),
    pytest.param(from_registry(""), "spec.tags[0].from.name", id="a source with an empty name"),
    pytest.param(from_registry("docker://acme/web"), "spec.tags[0].from.name", id="a reference with a scheme"),
    pytest.param(from_registry("reg.io/Acme/web"), "spec.tags[0].from.name", id="capitals in a repository"),
    pytest.param(from_registry("Acme/web"), "spec.tags[0].from.name", id="capitals in a namespace"),
    pytest.param(from_registry("acme//web"), "spec.tags[0].from.name", id="an empty component"),
    pytest.param(from_registry("web@sha256:123"), "spec.tags[0].from.name", id="a digest that is too short"),
    pytest.param(from_registry("acme/web:"), "spec.tags[0].from.name", id="a reference with an empty tag"),
    pytest.param(taken_from("ImageStreamTag", "a:b:c"), "spec.tags[0].from.name", id="a stream tag with two colons"),
    pytest.param(taken_from("ImageStreamTag", "build/web:1"), "spec.tags[0].from.name", id="a namespace in the name"),
    pytest.param(taken_from("ImageStreamImage", "a@b@c"), "spec.tags[0].from.name", id="a stream image with two @"),
    pytest.param(
        taken_from("ImageStreamTag", "dev", importPolicy={"scheduled": True}),
        "spec.tags[0].importPolicy.scheduled",
        id="a schedule for a tag that follows",
    ),
    pytest.param(
        taken_from("ImageStreamImage", HEX, importPolicy={"scheduled": True}),
        "spec.tags[0].importPolicy.scheduled",
        id="a schedule for a pinned tag",
    ),
    pytest.param(
        tagged({"name": "a", "importPolicy": {"importMode": "All"}}),
        "spec.tags[0].importPolicy.importMode",
        id="an unknown import mode",
    ),
    pytest.param(
        tagged({"name": "a", "referencePolicy": {"type": "Remote"}}),
        "spec.tags[0].referencePolicy.type",
        id="an unknown reference policy",
    ),
]


def item(**changes: Any) -> dict[str, Any]:
    event = {
        "created": "2026-01-30T09:41:00Z",
        "dockerImageReference": f"a/b@{DIGEST}",
        "image": DIGEST,
        "generation": 1,
    }
    return {key: value for key, value in (event | changes).items() if value is not None}


def history(event: Mapping[str, Any]) -> dict[str, Any]:
    return {"tags": [{"tag": "prod", "items": [event]}]}


STATUS_TAKEN = [
    pytest.param(history(item()), id="an image"),
    pytest.param(history(item(dockerImageReference="acme/web:floating", image="")), id="a reference without an image"),
    pytest.param({"tags": [{"tag": "prod", "items": None, "conditions": None}]}, id="a tag that was never seen"),
    pytest.param(
        {"tags": [{"tag": "prod", "items": [], "conditions": [{"type": "ImportSuccess", "status": "False"}]}]},
        id="a tag whose import failed",
    ),
]

FAN_OUT: dict[str, Any] = {
    "tag": "prod",
    "dockerImageReference": f"quay.io/acme/web@{DIGEST}",
    "image": DIGEST,
    "generation": 3,
    "cause": "push",
    "delivery": "4f2a",
    "started": "2026-01-01T00:00:00.123456Z",
    "phase": "RollingOut",
    "matched": 12,
    "patched": 10,
    "current": 0,
    "paused": 1,
    "waiting": 0,
    "failed": 1,
    "rollouts": 9,
    "rolledOut": 8,
    "firstPatched": "2026-01-01T00:00:00.2Z",
    "lastPatched": "2026-01-01T00:00:01.234567Z",
    "firstRolledOut": "2026-01-01T00:00:05Z",
    "lastRolledOut": "2026-01-01T00:00:06+01:00",
    "failures": [{"kind": "Deployment", "namespace": "shop", "name": "web", "reason": "admission webhook denied it"}],
}

STATUS_TAKEN += [
    pytest.param({"fanOuts": [FAN_OUT, {"tag": "prod", "started": "2026-01-01T00:00:00Z"}]}, id="fan-outs"),
    pytest.param({"fanOuts": None}, id="no fan-outs"),
]

STATUS_REFUSED = [
    pytest.param({"tags": [{"items": []}]}, "status.tags[0].tag", id="a history without a tag"),
    pytest.param(
        history(item(dockerImageReference=None)), "status.tags[0].items[0].dockerImageReference", id="no pull spec"
    ),
    pytest.param(
        history(item(dockerImageReference="!")), "status.tags[0].items[0].dockerImageReference", id="no reference"
    ),
    pytest.param(history(item(created=None)), "status.tags[0].items[0].created", id="no time"),
    pytest.param(history(item(generation="1")), "status.tags[0].items[0].generation", id="text for a generation"),
    pytest.param(
        {"tags": [{"tag": "prod", "conditions": [{"type": "ImportSuccess", "status": "Perhaps"}]}]},
        "status.tags[0].conditions[0].status",
        id="an unknown status of a condition",
    ),
    pytest.param({"fanOuts": [FAN_OUT | {"phase": "Over"}]}, "status.fanOuts[0].phase", id="an unknown phase"),
    pytest.param({"fanOuts": [FAN_OUT | {"matched": "12"}]}, "status.fanOuts[0].matched", id="text for a count"),
    pytest.param({"fanOuts": [{"tag": "prod"}]}, "status.fanOuts[0].started", id="a fan-out that never began"),
]


# --- by a plain validator


@pytest.mark.parametrize("manifest", TAKEN)
def test_the_schema_takes_what_openshift_takes(manifest: dict[str, Any]) -> None:
    assert refused_by_schema(manifest) == set()


@pytest.mark.parametrize(("manifest", "field"), REFUSED)
def test_the_schema_refuses_a_bad_field_by_its_name(manifest: dict[str, Any], field: str) -> None:
    assert field in refused_by_schema(manifest)


@pytest.mark.parametrize("status", STATUS_TAKEN)
def test_the_schema_takes_a_status(status: dict[str, Any]) -> None:
    assert refused_by_schema(stream(status=status)) == set()


@pytest.mark.parametrize(("status", "field"), STATUS_REFUSED)
def test_the_schema_refuses_a_bad_status_by_its_name(status: dict[str, Any], field: str) -> None:
    assert field in refused_by_schema(stream(status=status))


PIECES = st.sampled_from(
    [
        *"_-.:/@[] é0a",
        "web",
        "Web",
        "__",
        "--",
        "[::1]",
        "reg.io",
        "localhost",
        ":5000/",
        ":123456/",
        "sha384:",
        HEX,
        DIGEST,
    ]
)


@given(st.lists(PIECES, min_size=1, max_size=9).map("".join))
def test_the_schema_and_our_parser_know_the_same_references(text: str) -> None:
    assume(len(text) <= 255)  # a pattern cannot say how long the name without tag and digest may be
    by_schema = "spec.tags[0].from.name" not in refused_by_schema(from_registry(text))
    # To the grammar a registry alone is a repository; that it cannot be pulled is for the parser to say.
    name = text.partition(":")[0].partition("@")[0]
    alone = "/" not in name and ("." in name or name == "localhost")
    assert by_schema == is_reference(text) or (by_schema and alone)
    assert (
        "status.tags[0].items[0].dockerImageReference"
        not in refused_by_schema(stream(status=history(item(dockerImageReference=text))))
    ) == by_schema


# --- by an API server


@pytest.mark.parametrize("manifest", TAKEN)
async def test_takes_what_openshift_takes(cluster: ClusterUnderTest, manifest: dict[str, Any]) -> None:
    assert await refused_by_server(cluster, manifest) == set()


@pytest.mark.parametrize(("manifest", "field"), REFUSED)
async def test_refuses_a_bad_field_by_its_name(cluster: ClusterUnderTest, manifest: dict[str, Any], field: str) -> None:
    assert field in await refused_by_server(cluster, manifest)


async def test_refuses_a_tag_that_is_there_twice(cluster: ClusterUnderTest) -> None:
    assert await refused_by_server(cluster, tagged({"name": "a"}, {"name": "b"}, {"name": "a"})) == {"spec.tags[2]"}


@pytest.mark.parametrize("status", STATUS_TAKEN)
async def test_takes_a_status(cluster: ClusterUnderTest, status: dict[str, Any]) -> None:
    assert await status_refused_by_server(cluster, status) == set()


@pytest.mark.parametrize(("status", "field"), STATUS_REFUSED)
async def test_refuses_a_bad_status_by_its_name(cluster: ClusterUnderTest, status: dict[str, Any], field: str) -> None:
    assert field in await status_refused_by_server(cluster, status)


@pytest.mark.parametrize(
    ("given_spec", "shown"),
    [
        pytest.param(None, {"lookupPolicy": {"local": False}}, id="no spec"),
        pytest.param(
            {"lookupPolicy": {"local": True}, "tags": [{"name": "a"}]},
            {
                "lookupPolicy": {"local": True},
                "tags": [
                    {"name": "a", "importPolicy": {"importMode": "Legacy"}, "referencePolicy": {"type": "Source"}}
                ],
            },
            id="a tag without policies",
        ),
        pytest.param(
            {
                "lookupPolicy": None,
                "tags": [
                    {
                        "name": "a",
                        "annotations": None,
                        "generation": None,
                        "importPolicy": {"scheduled": True},
                        "referencePolicy": {"type": "Local"},
                    }
                ],
            },
            {
                "lookupPolicy": {"local": False},
                "tags": [
                    {
                        "name": "a",
                        "annotations": None,
                        "generation": None,
                        "importPolicy": {"scheduled": True, "importMode": "Legacy"},
                        "referencePolicy": {"type": "Local"},
                    }
                ],
            },
            id="what is given stays, nulls too",
        ),
    ],
)
async def test_fills_in_what_openshift_fills_in(
    cluster: ClusterUnderTest, given_spec: dict[str, Any] | None, shown: dict[str, Any]
) -> None:
    manifest = stream() if given_spec is None else stream(spec=given_spec)
    assert (await created(cluster, manifest))["spec"] == shown


@pytest.mark.parametrize("options", [(), ("--server-side",)], ids=["client side", "server side"])
async def test_kubectl_applies_and_applies_again(
    cluster: ClusterUnderTest, kubectl: Path, options: tuple[str, ...]
) -> None:
    namespace = await cluster.namespace()
    command = (kubectl, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace)
    manifests = json.dumps({"apiVersion": "v1", "kind": "List", "items": [stream("empty"), BUILDER, EXPORTED]})
    for _ in range(2):
        await real_parts.run(*command, "apply", *options, "--filename=-", stdin=manifests)
    shown = json.loads(await real_parts.run(*command, "get", "imagestreams", "--output=json"))
    assert {found["metadata"]["name"]: found["metadata"]["generation"] for found in shown["items"]} == {
        "empty": 1,
        "exported": 1,
        "python": 1,
    }


async def test_kubectl_names_a_field_that_does_not_exist(cluster: ClusterUnderTest, kubectl: Path) -> None:
    manifest = json.dumps(taken_from("DockerImage", "acme/web", importpolicy={}))
    with pytest.raises(CalledProcessError) as refused:
        await real_parts.run(
            kubectl, "--kubeconfig", cluster.kubeconfig, "create", "--dry-run=server", "--filename=-", stdin=manifest
        )
    assert 'unknown field "spec.tags[0].importpolicy"' in refused.value.stderr.decode()


async def test_kubectl_shows_the_columns_of_oc(cluster: ClusterUnderTest, kubectl: Path) -> None:
    namespace = await cluster.namespace()
    command = (kubectl, "--kubeconfig", cluster.kubeconfig, "--namespace", namespace)
    await real_parts.run(*command, "create", "--filename=-", stdin=json.dumps(stream()))
    inside = {
        "dockerImageRepository": "inside/shop",
        "summary": {"tags": "prod,dev", "updated": "2020-01-30T09:41:00Z"},
    }
    both = inside | {"publicDockerImageRepository": "outside/shop"}
    shown = []
    for status in (inside, both):
        patch = json.dumps({"status": status})
        await real_parts.run(
            *command, "patch", "is", "shop", "--subresource=status", "--type=merge", f"--patch={patch}"
        )
        shown.append((await real_parts.run(*command, "get", "is")).splitlines())
    assert shown[0][0].split() == ["NAME", "IMAGE", "REPOSITORY", "TAGS", "UPDATED"]
    assert [lines[1].split()[:3] for lines in shown] == [
        ["shop", "inside/shop", "prod,dev"],
        ["shop", "outside/shop", "prod,dev"],
    ]


# --- how both are asked


def _json_schema(schema: Any) -> Any:
    """Say OpenAPI's `nullable` in the words of JSON schema."""
    if isinstance(schema, list):
        return [_json_schema(part) for part in schema]
    if not isinstance(schema, dict):
        return schema
    plain = {key: value if key in ("enum", "default") else _json_schema(value) for key, value in schema.items()}
    return {"anyOf": [{"type": "null"}, plain]} if plain.pop("nullable", False) else plain


VALIDATOR = jsonschema.Draft202012Validator(_json_schema(SCHEMA))


def refused_by_schema(manifest: Mapping[str, Any]) -> set[str]:
    """Name the fields that a validator of JSON schemas finds fault with."""
    return {field for error in VALIDATOR.iter_errors(_without_defaulted_nulls(manifest)) for field in _blamed(error)}


def _without_defaulted_nulls(manifest: Any) -> Any:
    """Take away null policies: the API server puts the default there before it looks."""
    if isinstance(manifest, list):
        return [_without_defaulted_nulls(part) for part in manifest]
    if not isinstance(manifest, dict):
        return manifest
    defaulted = ("lookupPolicy", "importPolicy", "referencePolicy")
    return {
        key: _without_defaulted_nulls(value)
        for key, value in manifest.items()
        if not (value is None and key in (*defaulted, "creationTimestamp"))
    }


def _blamed(error: jsonschema.ValidationError) -> Iterator[str]:
    for part in error.context or ():
        yield from _blamed(part)
    path = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in error.absolute_path).lstrip(".")
    if error.validator == "required":
        required, given = cast(list[str], error.validator_value), cast(dict[str, Any], error.instance)
        yield from (f"{path}.{name}" for name in required if name not in given)
    else:
        yield path


async def refused_by_server(cluster: ClusterUnderTest, manifest: dict[str, Any]) -> set[str]:
    """Ask for the stream in a dry run; return the fields of the answer's causes."""
    try:
        await created(cluster, manifest)
    except client.ApiException as refused:
        return _causes(refused)
    return set()


async def created(cluster: ClusterUnderTest, manifest: dict[str, Any]) -> Any:
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        return await client.CustomObjectsApi(api).create_namespaced_custom_object(
            "image.openshift.io", "v1", "default", "imagestreams", manifest, dry_run="All", field_validation="Strict"
        )


async def status_refused_by_server(cluster: ClusterUnderTest, status: dict[str, Any]) -> set[str]:
    namespace = await cluster.namespace()
    async with await config.new_client_from_config(str(cluster.kubeconfig)) as api:
        streams = client.CustomObjectsApi(api)
        where = ("image.openshift.io", "v1", namespace, "imagestreams")
        stored = await streams.create_namespaced_custom_object(*where, stream())
        try:
            await streams.replace_namespaced_custom_object_status(*where, "shop", stored | {"status": status})
        except client.ApiException as refused:
            return _causes(refused)
    return set()


def _causes(refused: client.ApiException) -> set[str]:
    assert refused.status == 422, refused.body
    return {cause["field"] for cause in json.loads(refused.body)["details"]["causes"]}


def is_reference(text: str) -> bool:
    try:
        references.parse(text)
    except InvalidReference:
        return False
    return True
