"""How registries say that something was pushed: one module per product, all of one shape, and the table naming them.

A dialect turns a raw delivery into what it holds. Whether the sender may say so was decided before; whether it is
true is decided later. A dialect must not know another one, a web framework, or the clock. What several share is in
`payload` and `notifications`. The guide for a registry's people stands beside its dialect, under the dialect's name.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from types import MappingProxyType
from typing import Final

from listener.core.authentication import Signature
from listener.core.events import Delivery, Parsed
from listener.dialects import (
    alibaba_acr,
    aws_ecr,
    aws_sns,
    azure_acr,
    azure_eventgrid,
    cloudevents,
    distribution,
    dockerhub,
    forgejo,
    generic,
    gitea,
    github,
    gitlab,
    google_pubsub,
    harbor,
    jfrog,
    mirantis_msr,
    nexus,
    openshift,
    quay,
    zot,
)


@dataclass(frozen=True, slots=True)
class Dialect:
    """One product's way to say it.

    `recognises` never raises. `parse` raises `MalformedDelivery` if the body is not what the product sends, and
    nothing else. `signature` is how the product signs, if it does by a shared secret. `has_digests` tells that its
    pushes name the digest; the others' are resolved. `patience_seconds` is how long its sender waits for an answer.
    """

    name: str
    title: str
    recognises: Callable[[Delivery], bool]
    parse: Callable[[Delivery], Parsed]
    signature: Signature | None = None
    has_digests: bool = True
    patience_seconds: float = 10


_ALL: Final = (
    # In the order in which `detect` asks: the surer signs first, headers before bodies.
    Dialect("aws-sns", "Amazon ECR through SNS", aws_sns.recognises, aws_sns.parse, patience_seconds=15),
    Dialect(
        "forgejo",
        "Forgejo packages",
        forgejo.recognises,
        forgejo.parse,
        signature=Signature("x-forgejo-signature", "sha256"),
        has_digests=False,
        patience_seconds=5,
    ),
    Dialect(
        "gitea",
        "Gitea packages",
        gitea.recognises,
        gitea.parse,
        signature=Signature("x-gitea-signature", "sha256"),
        has_digests=False,
        patience_seconds=5,
    ),
    Dialect(
        "nexus",
        "Sonatype Nexus Repository 3",
        nexus.recognises,
        nexus.parse,
        signature=Signature("x-nexus-webhook-signature", "sha1"),
        has_digests=False,
        patience_seconds=5,
    ),
    Dialect(
        "github",
        "GitHub packages (ghcr.io)",
        github.recognises,
        github.parse,
        signature=Signature("x-hub-signature-256", "sha256", "sha256="),
    ),
    Dialect(
        "distribution",
        "CNCF Distribution (registry:2, registry:3)",
        distribution.recognises,
        distribution.parse,
        patience_seconds=2,
    ),
    Dialect("gitlab", "GitLab container registry", gitlab.recognises, gitlab.parse, patience_seconds=2),
    Dialect("openshift", "OpenShift's integrated registry", openshift.recognises, openshift.parse, patience_seconds=2),
    Dialect("zot", "zot", zot.recognises, zot.parse),
    Dialect("harbor", "Harbor", harbor.recognises, harbor.parse, patience_seconds=3),
    Dialect(
        "azure-eventgrid",
        "Azure container registry through Event Grid",
        azure_eventgrid.recognises,
        azure_eventgrid.parse,
        patience_seconds=30,
    ),
    Dialect("aws-ecr", "Amazon ECR through EventBridge", aws_ecr.recognises, aws_ecr.parse, patience_seconds=5),
    Dialect(
        "cloudevents",
        "CloudEvents and CDEvents of a pipeline",
        cloudevents.recognises,
        cloudevents.parse,
        signature=Signature("x-signature-256", "sha256", "sha256="),
        patience_seconds=5,
    ),
    Dialect(
        "jfrog",
        "JFrog Artifactory",
        jfrog.recognises,
        jfrog.parse,
        signature=Signature("x-jfrog-event-auth", "sha256"),
        patience_seconds=5,
    ),
    Dialect(
        "google-pubsub",
        "Google Artifact Registry through Pub/Sub",
        google_pubsub.recognises,
        google_pubsub.parse,
    ),
    Dialect("quay", "Quay (quay.io, Red Hat Quay)", quay.recognises, quay.parse, has_digests=False),
    Dialect(
        "alibaba-acr",
        "Alibaba Cloud Container Registry",
        alibaba_acr.recognises,
        alibaba_acr.parse,
        patience_seconds=5,
    ),
    Dialect("dockerhub", "Docker Hub", dockerhub.recognises, dockerhub.parse, has_digests=False, patience_seconds=5),
    Dialect(
        "mirantis-msr",
        "Mirantis Secure Registry (MSR, DTR)",
        mirantis_msr.recognises,
        mirantis_msr.parse,
        patience_seconds=5,
    ),
    Dialect("azure-acr", "Azure container registry", azure_acr.recognises, azure_acr.parse, patience_seconds=5),
    Dialect(
        "generic",
        "Ours, for a line of curl",
        generic.recognises,
        generic.parse,
        signature=Signature("x-signature-256", "sha256", "sha256="),
    ),
)

DIALECTS: Final[Mapping[str, Dialect]] = MappingProxyType({dialect.name: dialect for dialect in _ALL})


def detect(delivery: Delivery) -> Dialect | None:
    """Return the dialect a delivery is written in, None if it is none we know. For the setting `auto`."""
    return next((dialect for dialect in DIALECTS.values() if dialect.recognises(delivery)), None)
