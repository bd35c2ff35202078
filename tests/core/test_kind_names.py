"""Kinds as kubectl people write them."""

from __future__ import annotations

import pytest

from listener.core import kind_names
from listener.core.kinds import (
    BUILD_CONFIG,
    CRON_JOB,
    DAEMON_SET,
    DEPLOYMENT,
    DEPLOYMENT_CONFIG,
    JOB,
    KINDS,
    POD,
    REPLICA_SET,
    REPLICATION_CONTROLLER,
    SHIPWRIGHT_BUILD,
    STATEFUL_SET,
    TEKTON_PIPELINE,
    Kind,
    custom,
)
from listener.core.names import InvalidName

ROLLOUT = custom("argoproj.io/v1alpha1", "Rollout", ("spec", "template", "spec"))
OTHER_BUILD = custom("other.io/v1", "Build", ("spec",))


@pytest.mark.parametrize(
    ("text", "kind"),
    [
        ("deployment", DEPLOYMENT),
        ("deployments", DEPLOYMENT),
        ("deploy", DEPLOYMENT),
        ("Deployment", DEPLOYMENT),
        ("deployments.apps", DEPLOYMENT),
        ("deploy.v1.apps", DEPLOYMENT),
        ("sts", STATEFUL_SET),
        ("ds", DAEMON_SET),
        ("cj", CRON_JOB),
        ("cronjobs.batch", CRON_JOB),
        ("job", JOB),
        ("rs", REPLICA_SET),
        ("rc", REPLICATION_CONTROLLER),
        ("po", POD),
        ("pods", POD),
        ("dc", DEPLOYMENT_CONFIG),
        ("deploymentconfig.apps.openshift.io", DEPLOYMENT_CONFIG),
        ("bc", BUILD_CONFIG),
        ("build", SHIPWRIGHT_BUILD),
        ("build.shipwright.io", SHIPWRIGHT_BUILD),
        ("build.other.io", OTHER_BUILD),
        ("pipelines.tekton.dev", TEKTON_PIPELINE),
        ("rollout", ROLLOUT),
        ("Rollout.argoproj.io", ROLLOUT),
    ],
)
def test_a_kind_by_what_it_is_called(text: str, kind: Kind) -> None:
    assert kind_names.parse(f"{text}/web", (*KINDS, ROLLOUT, OTHER_BUILD)) == (kind, "web")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        pytest.param("web", "write KIND/NAME", id="no kind"),
        pytest.param("deploy/", "write KIND/NAME", id="no name"),
        pytest.param("/web", "write KIND/NAME", id="nothing before the slash"),
        pytest.param("deploy/shop/web", "write KIND/NAME", id="a namespace"),
        pytest.param("svc/web", "'svc' is no kind that follows tags; those are deployment .deploy., ", id="a Service"),
        pytest.param("rollout/web", "name that file with --config", id="a kind of settings that were not named"),
        pytest.param("deployments.extensions/web", "is no kind that follows tags", id="of another group"),
    ],
)
def test_what_names_no_workload(text: str, why: str) -> None:
    with pytest.raises(InvalidName, match=why):
        kind_names.parse(text, KINDS)
