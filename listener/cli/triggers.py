"""`listener triggers`: which tags a workload follows, and letting it follow one."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Any

import click

from listener.cli import output
from listener.cli.options import Common, run, stream_tag, workload_options
from listener.cli.streams import cluster_of, settings_of
from listener.cli.workloads import Workloads, named
from listener.core import kind_names, overview, plans, trigger_edits
from listener.core.actions import Operation
from listener.core.edits import EditRefused
from listener.core.kinds import Form, Kind
from listener.core.names import InvalidName, TagName
from listener.core.overview import State, TriggerState
from listener.core.trigger_edits import Choice, Found
from listener.core.triggers import ALPHA_ANNOTATION, ANNOTATION
from listener.core.workloads import WorkloadKey

_NONE = "-"


@click.command("triggers")
@click.argument("workload", metavar="KIND/NAME")
@click.option(
    "--from-image",
    "source",
    callback=lambda _, __, text: stream_tag(text) if text is not None else None,
    metavar="[NAMESPACE/]STREAM:TAG",
    help="Follow that tag; with --remove, the triggers on that tag are meant.",
)
@click.option(
    "-c",
    "--container",
    "target",
    metavar="NAME",
    help="The container whose image the tag sets; of a Shipwright Build or a Tekton Pipeline, the parameter of a run"
    " that is told the image. May be left out where there is one container.",
)
@click.option("--pause", is_flag=True, help="Let triggers rest: of -c, or all.")
@click.option("--resume", is_flag=True, help="Let paused triggers act again: of -c, or all.")
@click.option("--remove", is_flag=True, help="Take triggers away: of -c, or all.")
@workload_options
def command(
    common: Common,
    workload: str,
    source: TagName | None,
    target: str | None,
    pause: bool,
    resume: bool,
    remove: bool,
) -> None:
    """Show which tags a workload follows, what they point at and what is wrong; or change it.

    KIND is written as for kubectl (deployment, deploy, sts, cj, dc, Rollout.argoproj.io, ...). The trigger that
    --from-image writes is the one that `oc set triggers` writes. Triggers that nothing is said of stay as they are.
    """
    if pause + resume + remove > 1:
        raise click.UsageError("expected one of --pause, --resume and --remove")
    settings = settings_of(common)
    kinds = settings.kinds()
    try:
        kind, name = kind_names.parse(workload, kinds)
    except InvalidName as error:
        raise click.UsageError(str(error)) from error
    asked = _Asked(kind, name, target, source, True if pause else False if resume else None, remove)
    run(_triggers(common, asked, settings.namespaces))


class _Asked:
    """What the command line says."""

    def __init__(
        self, kind: Kind, name: str, target: str | None, source: TagName | None, paused: bool | None, remove: bool
    ) -> None:
        self.kind = kind
        self.name = name
        self.target = target
        self.source = source
        self.paused = paused
        self.remove = remove

    @property
    def changes(self) -> bool:
        return self.source is not None or self.paused is not None or self.remove

    def plan(self, found: Found) -> tuple[Operation, ...]:
        """Plan the patch. Raises EditRefused, which names the workload."""
        try:
            return self._plan(found)
        except EditRefused as error:
            raise EditRefused(f"{named(found.key)}: {error}") from error

    def _plan(self, found: Found) -> tuple[Operation, ...]:
        if found.controller:
            raise EditRefused(f"it was made by {found.controller}, which may replace it: set triggers there")
        source = self.source.within(found.key.namespace) if self.source else None
        wanted = (source.key, source.tag) if source else None
        if self.remove:
            return trigger_edits.remove(found, Choice(self.target, wanted))
        if wanted is not None:
            return trigger_edits.follow(found, wanted, self.target, paused=self.paused)
        return trigger_edits.pause(found, Choice(self.target), paused=bool(self.paused))


async def _triggers(common: Common, asked: _Asked, namespaces: Sequence[str]) -> None:
    async with cluster_of(common) as cluster:
        key = WorkloadKey(asked.kind.label, common.namespace or cluster.namespace, asked.name)
        workloads = Workloads(cluster, namespaces=namespaces)
        before, changed = None, False
        if asked.changes:
            before, changed = await workloads.change(asked.kind, key, asked.plan)
        found, states = await look(workloads, asked.kind, key)
        chosen = [state for state in states if asked.target in (None, state.target) or state.trigger is None]
        if before is None:
            _show(common, found, chosen)
            return
        if common.output == "table":
            output.say(_told(asked, before, chosen, changed=changed))
        else:
            output.say(output.document(_document(found, states), common.output))
        _note(asked, found, chosen)


async def look(workloads: Workloads, kind: Kind, key: WorkloadKey) -> tuple[Found, tuple[TriggerState, ...]]:
    """Read a workload and what its tags point at; tell how its triggers stand. Raises CommandFailed."""
    found, workload = await workloads.get(kind, key)
    snapshot = await workloads.streams(trigger.stream for trigger in workload.triggers.valid)
    plan = plans.plan(workload, kind, snapshot.view, now=datetime.now(UTC))
    return found, overview.look(workload, plan, snapshot.view, snapshot.missing)


def _show(common: Common, found: Found, states: Sequence[TriggerState]) -> None:
    if common.output != "table":
        output.say(output.document(_document(found, states), common.output))
    elif states:
        output.say(output.table(_header(found.kind), [_row(state) for state in states]))
    else:
        output.say(f"{named(found.key)} follows no tag{_why_none(found)}")


def _why_none(found: Found) -> str:
    """Why the annotation that an object has is not read, if it has one."""
    if not any(found.annotations.get(key) for key in (ANNOTATION, ALPHA_ANNOTATION)):
        return ""
    if found.controller:
        return f": its annotation does not count, for it was made by {found.controller}, which may replace it"
    if found.kind.form in (Form.DEPLOYMENT_CONFIG, Form.BUILD_CONFIG):
        return ": its annotation does not count, for its kind has spec.triggers"
    if found.document["metadata"].get("deletionTimestamp"):
        return ": it is being deleted"
    return ": it has run to its end" if found.kind.name in ("Job", "Pod") else ""


def _header(kind: Kind) -> tuple[str, ...]:
    first = "PARAMETER" if kind.form is Form.RUN else "CONTAINER"
    now = "BUILT FROM" if kind.form in (Form.RUN, Form.BUILD_CONFIG) else "IMAGE NOW"
    return first, "FOLLOWS", "PAUSED", now, "TAG POINTS AT", "STATE"


def _row(state: TriggerState) -> tuple[str, ...]:
    trigger = state.trigger
    why = f"{state.state}: {state.why}" if state.why else str(state.state)
    if trigger is None:
        return *[_NONE] * 5, why
    return (
        state.target or _NONE,
        f"{trigger.stream}:{trigger.tag}",
        "yes" if trigger.paused else "no",
        output.short(state.now) or _NONE,
        output.short(state.tagged) or _NONE,
        why,
    )


def _document(found: Found, states: Sequence[TriggerState]) -> dict[str, Any]:
    """A workload's triggers for programs. What is not known, or not there, is null."""
    return {
        "apiVersion": found.kind.api_version,
        "kind": found.kind.name,
        "namespace": found.key.namespace,
        "name": found.key.name,
        "triggers": [_written(found.kind, state) for state in states],
    }


def _written(kind: Kind, state: TriggerState) -> dict[str, Any]:
    trigger = state.trigger
    return {
        ("parameter" if kind.form is Form.RUN else "container"): state.target or None,
        "fieldPath": trigger.field_path if trigger else None,
        "from": {"namespace": trigger.stream.namespace, "name": f"{trigger.stream.name}:{trigger.tag}"}
        if trigger
        else None,
        "paused": trigger.paused if trigger else None,
        "image": state.now or None,
        "tagged": state.tagged or None,
        "state": str(state.state),
        "reason": state.why or None,
    }


def _told(asked: _Asked, before: Found, states: Sequence[TriggerState], *, changed: bool) -> str:
    """What was done, in a sentence."""
    name = named(before.key)
    if asked.source is not None and not asked.remove:
        return _told_of_following(asked, before, states, changed=changed)
    subject = f"the trigger for {asked.target}" if asked.target else "its triggers"
    one = bool(asked.target)
    if asked.remove:
        return f"{name}: {subject} {'is' if one else 'are'} removed"
    if asked.paused:
        return f"{name}: {subject} {'is' if one else 'are'} paused{'' if changed else ' already'}"
    return f"{name}: {subject} {'acts' if one else 'act'} {'again' if changed else 'already'}"


def _told_of_following(asked: _Asked, before: Found, states: Sequence[TriggerState], *, changed: bool) -> str:
    assert asked.source is not None  # noqa: S101 - as the caller has looked
    source = asked.source.within(before.key.namespace)
    target = trigger_edits.only_target(before, asked.target)
    is_ours = _same(source, target)
    state = next((state for state in states if is_ours(state)), None)
    who = f"{named(before.key)}: {target}" if target else named(before.key)
    told = f"{who} {'now follows' if changed else 'follows'} {source.full}{'' if changed else ' already'}"
    if state is None or state.state in (State.WAITS, State.BROKEN):
        return told
    image = output.short(state.tagged)
    runs = before.kind.form in (Form.RUN, Form.BUILD_CONFIG)
    match state.state:
        case State.PAUSED:
            return f"{told}, but is paused; --resume lets it act"
        case State.CURRENT:
            return f"{told} and {'was built from' if runs else 'has'} its image, {image}"
        case _:
            return f"{told}; {'it is to be run with' if runs else 'its image is to be'} {image}"


def _same(source: TagName, target: str) -> Callable[[TriggerState], bool]:
    def is_ours(state: TriggerState) -> bool:
        trigger = state.trigger
        return bool(trigger and (trigger.stream, trigger.tag, state.target) == (source.key, source.tag, target))

    return is_ours


def _note(asked: _Asked, found: Found, states: Sequence[TriggerState]) -> None:
    """What a person should know of the workload now, beside what was done."""
    if ANNOTATION in found.annotations and ALPHA_ANNOTATION in found.annotations and found.annotations[ANNOTATION]:
        output.note(
            f"{named(found.key)} has the annotation {ALPHA_ANNOTATION} too, which does not count beside {ANNOTATION};"
            " remove it"
        )
    follows = asked.source is not None and not asked.remove
    for state in states:
        if state.why and (follows or state.state is State.BROKEN):
            who = f"{state.target} " if state.target else ""
            output.note(f"{named(found.key)}: {who}{state.state}: {state.why}")
