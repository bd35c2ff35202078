"""ImageStreamImports, which only OpenShift serves: nothing is kept of one, its answer is what it did.

Written from OpenShift's documented API and the sources of its API server (openshift-apiserver,
`pkg/image/apiserver/registry/imagestreamimport`), and not compared with a running OpenShift. The registry is really
asked, over HTTP where a tag is `insecure`, else over HTTPS. Left out: whole repositories, credentials, mirrors, Image
objects, limits and allow-lists, the creation of a stream. An index is imported as a whole, whatever `importMode` says.
"""

from __future__ import annotations

import asyncio
from typing import Any, Final

import aiohttp

from listener.core import references
from listener.core.references import Reference
from listener.errors import InvalidReference
from listener.sandbox.cluster import status
from listener.sandbox.cluster.resources import Resource
from listener.sandbox.cluster.status import ApiError
from listener.sandbox.cluster.verbs import STREAMS, Verbs, WriteOptions, now

Object = dict[str, Any]

_CHECK: Final = "openshift.io/image.dockerRepositoryCheck"
_OPTIONS: Final = WriteOptions(manager="openshift-apiserver")
_SECONDS: Final = 15
_ACCEPT: Final = ", ".join(
    f"application/vnd.{each}+json"
    for each in (
        *("oci.image.index.v1", "docker.distribution.manifest.list.v2"),
        *("oci.image.manifest.v1", "docker.distribution.manifest.v2"),
    )
)


class Imports:
    def __init__(self, verbs: Verbs) -> None:
        self._verbs = verbs

    async def answer(self, namespace: str, given: Object) -> Object:
        """Import the images, store what came of it, and return the request with its status. Raises `ApiError`."""
        metadata, spec = given["metadata"], given.get("spec") or {}
        streams = self._verbs.catalog.stored(STREAMS)
        if streams is None:
            raise status.not_served()
        before = self._verbs.load(streams, self._verbs.get(streams, namespace, metadata["name"]))
        _compare(streams, metadata, before["metadata"])
        asked = spec.get("images") or []
        async with aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=_SECONDS)) as session:
            images = list(await asyncio.gather(*(_imported(session, image) for image in asked)))
        found: Object = {"images": images}
        if spec.get("import"):
            found["import"] = self._stored(streams, before, asked, images)
        metadata = {**metadata, "namespace": namespace, "creationTimestamp": now()}
        return {**given, "metadata": metadata, "status": found}

    def _stored(self, streams: Resource, before: Object, asked: list[Object], images: list[Object]) -> Object:
        """Store it in the stream as it was read: 409 if somebody changed that meanwhile."""
        generation = before["metadata"]["generation"] + 1
        spec_tags = {tag["name"]: tag for tag in before.get("spec", {}).get("tags") or ()}
        tags = {tag["tag"]: tag for tag in before.get("status", {}).get("tags") or ()}
        for wanted, found in zip(asked, images, strict=True):
            name = wanted["to"]["name"]
            known = tags.get(name, {"tag": name, "items": []})
            after = (_with_image if found.get("image") else _with_failure)(known, found, generation)
            if after != known:
                policies = {key: wanted[key] for key in ("importPolicy", "referencePolicy") if key in wanted}
                spec_tag = {"from": wanted["from"], **spec_tags.get(name, {}), **policies}
                spec_tags[name] = {**spec_tag, "name": name, "generation": generation}
                tags[name] = after
        metadata = before["metadata"]
        annotations = {**(metadata.get("annotations") or {}), _CHECK: now()}
        spec = {**before.get("spec", {}), "tags": list(spec_tags.values())}
        state = {**before.get("status", {}), "tags": list(tags.values())}
        changed = self._update(streams, {**before, "metadata": {**metadata, "annotations": annotations}, "spec": spec})
        return self._update(streams, {**changed, "status": state}, "status")

    def _update(self, streams: Resource, obj: Object, subresource: str | None = None) -> Object:
        namespace, name = obj["metadata"]["namespace"], obj["metadata"]["name"]
        proposal = self._verbs.propose_update(streams, namespace, name, obj, _OPTIONS, subresource)
        return self._verbs.load(streams, self._verbs.commit(proposal).entry)


def _compare(streams: Resource, asked: Object, stream: Object) -> None:
    """Refuse what was meant for another state of the stream, or for another stream of that name."""
    if asked.get("resourceVersion") not in (None, "", stream["resourceVersion"]):
        raise status.conflict(streams, stream["name"])
    if asked.get("uid") not in (None, "", stream["uid"]):
        raise status.not_found(streams, stream["name"])


async def _imported(session: aiohttp.ClientSession, wanted: Object) -> Object:
    """What `status.images` says of one image."""
    name, insecure = wanted["from"]["name"], (wanted.get("importPolicy") or {}).get("insecure", False)
    tag = (wanted.get("to") or {}).get("name", "")
    try:
        reference = references.parse(name)
        digest = await _digest(session, reference, "http" if insecure else "https")
    except InvalidReference as error:
        refusal = ApiError(422, str(error))
    except ApiError as error:
        refusal = error
    except (aiohttp.ClientError, OSError) as error:
        refusal = status.internal(f"{name}: {error}")
    else:
        pulled = str(Reference(reference.registry, reference.repository, None, digest))
        image = {"metadata": {"name": digest}, "dockerImageReference": pulled}
        return {"tag": tag, "status": {"metadata": {}, "status": "Success"}, "image": image}
    return {"tag": tag, "status": refusal.status()}


async def _digest(session: aiohttp.ClientSession, reference: Reference, scheme: str) -> str:
    found = reference.with_defaults()
    url = f"{scheme}://{found.registry}/v2/{found.repository}/manifests/{found.digest or found.tag}"
    async with session.head(url, headers={"Accept": _ACCEPT}) as response:
        match response.status:
            case 200:
                return response.headers["Docker-Content-Digest"]
            case 404:
                raise ApiError(404, f'dockerimage.image.openshift.io "{reference}" not found')
            case 401 | 403:
                why = f'you may not have access to the container image "{reference}"'
                raise ApiError(401, why)
            case other:
                raise status.internal(f"{found}: the registry answered {other}")


def _with_image(known: Object, found: Object, generation: int) -> Object:
    """The status tag with an image on top, and no failure any more."""
    image, items = found["image"], known.get("items") or []
    if not items or items[0]["image"] != image["metadata"]["name"]:
        event = {"created": now(), "generation": generation}
        event |= {"dockerImageReference": image["dockerImageReference"], "image": image["metadata"]["name"]}
        items = [event, *items]
    return {key: value for key, value in {**known, "items": items}.items() if key != "conditions"}


def _with_failure(known: Object, found: Object, generation: int) -> Object:
    said = {"type": "ImportSuccess", "status": "False", "message": found["status"]["message"]}
    said["reason"] = found["status"].get("reason", "")
    if any(said.items() <= condition.items() for condition in known.get("conditions") or ()):
        return known
    return {**known, "conditions": [{**said, "generation": generation, "lastTransitionTime": now()}]}
