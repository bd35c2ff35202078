"""GitLab's and OpenShift's registries, which write as distribution does."""

from __future__ import annotations

from collections.abc import Callable

import pytest

from listener.core.events import Delivery, Parsed, PushEvent
from listener.dialects import distribution, gitlab, openshift
from listener.errors import MalformedDelivery
from tests.dialects.bodies import DIGEST, MANIFEST, SIGNATURE_TAG, delivery, only_ignored

Parse = Callable[[Delivery], Parsed]
all_three = pytest.mark.parametrize("parse", [distribution.parse, gitlab.parse, openshift.parse])


def envelope(tag: str) -> Delivery:
    target = {"mediaType": MANIFEST, "digest": DIGEST, "repository": "group/sub/project/web", "tag": tag}
    return delivery({"events": [{"id": "e", "action": "push", "target": target, "request": {"host": "r.io:5000"}}]})


@all_three
def test_a_push_by_tag(parse: Parse) -> None:
    found = PushEvent("r.io:5000", "group/sub/project/web", "v1", DIGEST, MANIFEST, None, None, "e")
    assert parse(envelope("v1")) == Parsed((found,))


@all_three
@pytest.mark.parametrize(
    "tag",
    [
        SIGNATURE_TAG,
        SIGNATURE_TAG.replace(".sig", ".att"),
        SIGNATURE_TAG.replace(".sig", ".sbom"),
        SIGNATURE_TAG.removesuffix(".sig"),
        "sha512-" + "b" * 64,
    ],
)
def test_a_signature_is_no_image(parse: Parse, tag: str) -> None:
    assert only_ignored(parse(envelope(tag)), "a signature, attestation or SBOM")


@all_three
@pytest.mark.parametrize("tag", ["sha256-1.sig", "sha256-" + "a" * 63 + ".sig", "v1.sig", "x" + SIGNATURE_TAG, "sbom"])
def test_what_only_looks_like_one_is(parse: Parse, tag: str) -> None:
    (found,) = parse(envelope(tag)).pushes
    assert found.tag == tag


@all_three
def test_another_body_says_what_was_expected(parse: Parse) -> None:
    with pytest.raises(MalformedDelivery, match="events"):
        parse(delivery([]))


@pytest.mark.parametrize("recognises", [gitlab.recognises, openshift.recognises])
def test_neither_claims_what_is_distribution_s(recognises: Callable[[Delivery], bool]) -> None:
    assert not recognises(envelope("v1"))
