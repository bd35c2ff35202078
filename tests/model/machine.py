"""Hypothesis' shell around a play: it chooses the steps. Each failure is told as a program for `play.replay`."""

from __future__ import annotations

import asyncio
import tempfile
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, ClassVar

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, initialize, rule

from tests.model.expectations import POINTED, PUSHED, TAGS
from tests.model.play import WORKLOADS, Play, Step

_pushed = st.integers(0, len(PUSHED) - 1)
_pointed = st.integers(0, len(POINTED) - 1)
_tags = st.integers(0, len(TAGS) - 1)
_sources = st.integers(0, 2 * (len(TAGS) - 1) + 1)
_workloads = st.integers(0, len(WORKLOADS) - 1)
_few = st.integers(0, 3)
_back = st.sampled_from([0, 0, 0, 1, 2])
_kinds = st.sampled_from(["deployments", "statefulsets"])
_refusals = st.sampled_from(["conflict", "throttle", "error", "reset", "latency"])
_resources = st.sampled_from(["imagestreams", "deployments", "statefulsets"])


@dataclass(eq=False)
class Scene:
    """One play, and what was done in it."""

    folder: tempfile.TemporaryDirectory[str]
    play: Play
    program: list[Step] = field(default_factory=list)
    has_failed: bool = False


class Stage:
    """One event loop for many plays. While one is played those before it come to rest: that is mostly waiting."""

    def __init__(self) -> None:
        self.steps = 0
        self._runner = asyncio.Runner()
        self._resting: list[asyncio.Task[None]] = []

    def begin(self) -> Scene:
        folder = tempfile.TemporaryDirectory()
        scene = Scene(folder, Play(Path(folder.name)))
        self._runner.run(scene.play.start())
        return scene

    def do(self, scene: Scene, step: str, **options: Any) -> None:
        self.steps += 1
        self._runner.run(self._do(scene, step, **options))

    def end(self, scene: Scene) -> None:
        """Let a play come to rest, and check it then; raise what was found wrong in those before."""
        self._resting.append(self._runner.get_loop().create_task(self._rest(scene)))
        ended = [task for task in self._resting if task.done()]
        self._resting = [task for task in self._resting if not task.done()]
        self._runner.run(_all(ended))

    def close(self) -> None:
        """Wait for all that still rest. Raises what was found wrong."""
        try:
            self._runner.run(_all(self._resting))
        finally:
            self._runner.close()

    async def _rest(self, scene: Scene) -> None:
        try:
            if not scene.has_failed:
                await self._do(scene, "check", clean=True)
        finally:
            await scene.play.close()
            scene.folder.cleanup()

    async def _do(self, scene: Scene, step: str, **options: Any) -> None:
        scene.program.append((step, options))
        try:
            await scene.play.do(step, **options)
        except BaseException as error:
            scene.has_failed = True
            lines = "".join(f"    {each!r},\n" for each in scene.program)
            error.add_note(f"the program, for play.replay:\n[\n{lines}]")
            raise


async def _all(tasks: list[asyncio.Task[None]]) -> None:
    ends = await asyncio.gather(*tasks, return_exceptions=True)
    for error in ends:
        if error is not None:
            raise error


class Machine(RuleBasedStateMachine):
    """`stage` is where the plays of one run are played; a test sets it."""

    stage: ClassVar[Stage]

    def __init__(self) -> None:
        super().__init__()
        self._scene = self.stage.begin()
        self._last: tuple[int, str, str] | None = None

    def teardown(self) -> None:
        if self._last and not self._scene.has_failed:
            tag, kind, resource = self._last
            self.push_on_a_bad_day(tag, kind, resource)
        self.stage.end(self._scene)

    def _do(self, step: str, **options: Any) -> None:
        self.stage.do(self._scene, step, **options)

    @initialize(tag=_pushed, kind=_refusals, resource=_kinds)
    def begin(self, tag: int, kind: str, resource: str) -> None:
        """Without a tag and workloads that follow it little can go wrong; and what fails last nothing else mends."""
        self._last = (tag, kind, resource)
        self._do("create", who=0, tag=tag)
        self._do("create", who=2, tag=tag)
        self._do("point", tag=1, source=tag)  # an alias of it
        self._do("push", tag=tag, back=0, tell=True)

    @rule(tag=_pushed, back=_back)
    def push(self, tag: int, back: int) -> None:
        self._do("push", tag=tag, back=back, tell=True)

    @rule(tag=_pushed, back=_back)
    def push_untold(self, tag: int, back: int) -> None:
        self._do("push", tag=tag, back=back, tell=False)

    @rule(tag=_pushed, kind=_refusals, resource=_kinds)
    def push_on_a_bad_day(self, tag: int, kind: str, resource: str) -> None:
        self._do("fault", kind=kind, resource=resource, count=1)
        self._do("push", tag=tag, back=0, tell=True)
        self._do("breathe", ms=10)

    @rule(tag=_pushed, resource=_kinds, who=_workloads)
    def push_while_it_cannot_see(self, tag: int, resource: str, who: int) -> None:
        """What is done to a workload meanwhile, the service learns from the answers to its own patches."""
        self._do("fault", kind="stall", resource=resource, count=1)
        self._do("reorder", who=who)
        self._do("push", tag=tag, back=0, tell=True)
        self._do("breathe", ms=10)

    @rule(n=_few)
    def deliver(self, n: int) -> None:
        self._do("deliver", n=n)

    @rule(n=_few)
    def repeat(self, n: int) -> None:
        self._do("repeat", n=n)

    @rule(n=_few)
    def lose(self, n: int) -> None:
        self._do("lose", n=n)

    @rule(back=_back)
    def upstream(self, back: int) -> None:
        self._do("upstream", back=back)

    @rule(tag=_pointed, source=_sources)
    def point(self, tag: int, source: int) -> None:
        self._do("point", tag=tag, source=source)

    @rule(tag=_pointed)
    def untag(self, tag: int) -> None:
        self._do("untag", tag=tag)

    @rule(tag=_tags)
    def hold(self, tag: int) -> None:
        self._do("hold", tag=tag)

    @rule(tag=_tags, to=_few)
    def roll_back(self, tag: int, to: int) -> None:
        self._do("roll_back", tag=tag, to=to)

    @rule(tag=_tags)
    def release(self, tag: int) -> None:
        self._do("release", tag=tag)

    @rule(who=_workloads, tag=_tags)
    def create(self, who: int, tag: int) -> None:
        self._do("create", who=who, tag=tag)

    @rule(who=_workloads)
    def delete(self, who: int) -> None:
        self._do("delete", who=who)

    @rule(who=_workloads, web=st.integers(0, len(TAGS)), sidecar=st.integers(0, len(TAGS)), paused=st.booleans())
    def follow(self, who: int, web: int, sidecar: int, paused: bool) -> None:
        self._do("follow", who=who, web=web, sidecar=sidecar, paused=paused)

    @rule(who=_workloads)
    def reorder(self, who: int) -> None:
        self._do("reorder", who=who)

    @rule(who=_workloads, container=st.integers(0, 1))
    def edit_image(self, who: int, container: int) -> None:
        self._do("edit_image", who=who, container=container)

    @rule(
        how=st.sampled_from(["restart", "crash", "stay away", "crash over a hook"]), tag=_pushed, ms=st.integers(0, 12)
    )
    def end(self, how: str, tag: int, ms: int) -> None:
        match how:
            case "restart":
                self._do("restart")
            case "crash over a hook":
                self._do("crash_over_a_hook", tag=tag, after_ms=ms)
            case _:
                self._do("crash", comes_back=how == "crash")

    @rule(
        kind=_refusals,
        resource=_resources,
        count=st.integers(1, 3),
    )
    def fault(self, kind: str, resource: str, count: int) -> None:
        self._do("fault", kind=kind, resource=resource, count=count)

    @rule(
        kind=st.sampled_from(["cut", "expired", "expired-event", "stall"]),
        resource=_resources,
        count=st.integers(1, 2),
    )
    def broken_watch(self, kind: str, resource: str, count: int) -> None:
        self._do("fault", kind=kind, resource=resource, count=count)

    @rule(ms=st.integers(0, 30))
    def breathe(self, ms: int) -> None:
        self._do("breathe", ms=ms)
