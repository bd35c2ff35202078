"""What can happen, one method a step; and what must be true when nothing happens any more.

A step is small, takes numbers and words only, and does nothing where it makes no sense: so any list of steps is a
program that can be played again, however it was found.
"""

from __future__ import annotations

import asyncio
from collections import defaultdict
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final

from listener.edges.cluster import STREAMS_PATH
from listener.sandbox.cluster import Fault
from listener.sandbox.cluster.faults import FaultKind
from tests.end_to_end.objects import path_of, workload
from tests.model import documents
from tests.model.documents import Document
from tests.model.expectations import POINTED, PUSHED, TAGS, Expectations
from tests.model.reference import Alias, Import, Item, Name, Pin, Source
from tests.model.world import NAMESPACE, Letter, World

WORKLOADS: Final = {"shop": "Deployment", "api": "Deployment", "db": "StatefulSet", "report": "CronJob"}
CONTAINERS: Final = ("web", "sidecar")
UPSTREAM: Final = "mirror/app:v1"
_FROZEN = "registry.example.com/shop/frozen:1"

_SETTLED_SECONDS = 40.0
_CONFIRMED_SECONDS = 1.25  # the service asks a second after a hook where the registry has put the tag
_CONTRADICTED_SECONDS = 2.5  # and once more, should that be elsewhere
_MOST_EDITS = 3  # of a followed image by hand: the fourth would end the fight over it

Step = tuple[str, dict[str, Any]]


class Play:
    """`mail` are hooks that were not taken yet, `read` those that were, each with its push."""

    def __init__(self, folder: Path) -> None:
        self.world = World(folder)
        self.expected = Expectations()
        self.model, self.witness = self.expected.model, self.expected.witness
        self.mail: list[tuple[Letter, Item]] = []
        self.read: list[Letter] = []
        self._number = 0
        self._pushes: dict[str, list[str]] = defaultdict(list)  # the seeds that were pushed to a tag, in their order
        self._edits: dict[str, int] = defaultdict(int)
        self._is_retrying = False  # a write to a stream has failed, and may be due again only in a while
        self._last_told = float("-inf")

    async def start(self) -> None:
        self.witness.watch(self.world.sandbox)
        await self.world.start()
        await self.world.serve()

    async def close(self) -> None:
        await self.world.close()

    async def do(self, step: str, **options: Any) -> None:
        await getattr(self, step)(**options)
        self.witness.judge()

    # Pushes, and what is told of them

    async def push(self, tag: int, back: int, tell: bool) -> None:
        """Push something new, or what was pushed `back` pushes ago, and have its hook delivered, or not yet."""
        name = PUSHED[tag]
        letter, item = await self._push(name, f"{NAMESPACE}/{name}", back)
        if self._outstanding(name) and not self._are_all_new(name):
            self.expected.blurred.add(name)
        self.mail.append((letter, item))
        if tell:
            await self._deliver(len(self.mail) - 1)

    async def deliver(self, n: int) -> None:
        """Deliver one of the hooks that wait."""
        if self.mail:
            await self._deliver(n % len(self.mail))

    async def repeat(self, n: int) -> None:
        """Deliver a hook again that was taken before."""
        if self.read and await self.world.deliver(self.read[n % len(self.read)]) == 200:
            self._last_told = _now()

    async def lose(self, n: int) -> None:
        """The sender gives up a hook that was never taken."""
        if self.mail:
            letter, item = self.mail.pop(n % len(self.mail))
            self.expected.lost(_name(letter), item.digest)

    async def upstream(self, back: int) -> None:
        """An image that is imported changes in its registry, which tells nobody."""
        await self._push(UPSTREAM, UPSTREAM, back)

    async def _push(self, name: str, image: str, back: int) -> tuple[Letter, Item]:
        repository, _, tag = image.partition(":")
        pushes = self._pushes[name]
        self._number += 1
        seed = pushes[-back] if 0 < back <= len(pushes) else f"{name} {self._number}"
        pushes.append(seed)
        letter = await self.world.push(repository, tag, seed)
        pull_spec = f"{self.world.registry.host}/{repository}@{letter.digest}"
        item = Item(pull_spec, letter.digest, self._number)
        self.expected.pushed(name, item)
        return letter, item

    async def _deliver(self, n: int) -> bool:
        letter, item = self.mail[n]
        name = _name(letter)
        if await self.world.deliver(letter) != 200:
            return False
        self._last_told = _now()
        self.mail.remove((letter, item))
        self.read.append(letter)
        tag = self.model.tag(name)
        in_a_row = not self._outstanding(name) or (self._are_all_new(name) and not tag.waiting and not tag.is_held)
        self.expected.acknowledged(name, item, in_a_row=in_a_row)
        return True

    def _outstanding(self, name: str) -> bool:
        """Whether a registry has taken pushes to a tag that nobody has told of yet."""
        return any(_name(letter) == name for letter, _ in self.mail)

    def _are_all_new(self, name: str) -> bool:
        return len(set(self._pushes[name])) == len(self._pushes[name])

    # What the owners of streams do

    async def point(self, tag: int, source: int) -> None:
        """Say where a tag comes from: another tag, one image that another tag had, a registry, or a bare name."""
        name = POINTED[tag]
        found = self._source(source, name)
        if found is None:
            return

        def change(before: Document | None, _: Document) -> Document:
            kept = {key: value for key, value in (before or {}).items() if key == "annotations"}
            return kept | {"name": _tag(name), "generation": 0} | self._written(found)

        await self._edit(name, change)
        self.model.tag(name).source = found
        self.expected.pointed(name)

    async def untag(self, tag: int) -> None:
        """Take a tag out of the spec: it stays where it is, and a hold goes along."""
        name = POINTED[tag]
        if await self._edit(name, lambda *_: None):
            self.model.tag(name).source = None
            self.model.release(name)

    async def hold(self, tag: int) -> None:
        name = TAGS[tag]
        if not self.model.tag(name).is_held:
            await self._edit(name, lambda before, _: documents.held(before, _tag(name), "true"))
            self.model.tag(name).is_held = True

    async def roll_back(self, tag: int, to: int) -> None:
        """Go back to an item of the history, and be held there."""
        name = TAGS[tag]
        chosen: list[Item] = []

        def change(before: Document | None, found: Document) -> Document | None:
            items, _ = documents.status_tag(found, _tag(name))
            chosen[:] = items[to % len(items) :][:1] if items else []
            return documents.held(before, _tag(name), chosen[0].pull_spec) if chosen else before

        await self._edit(name, change)
        if chosen:
            self.model.roll_back(name, chosen[0])

    async def release(self, tag: int) -> None:
        name = TAGS[tag]
        if not self.model.tag(name).is_held:
            return

        def change(before: Document | None, _: Document) -> Document | None:
            after = {key: value for key, value in (before or {}).items() if key != "annotations"}
            return after if self.model.tag(name).source else None

        await self._edit(name, change)
        self.model.release(name)

    def _source(self, source: int, name: str) -> Source | None:
        others = [other for other in TAGS if other != name]
        if source < len(others):
            return Alias(others[source])
        source -= len(others)
        if source < len(others):
            items, _ = self.expected.stand(others[source])
            is_image = bool(items) and bool(items[-1].digest)
            return Pin(others[source].partition(":")[0], items[-1].place) if is_image else None
        return Import(UPSTREAM) if source == len(others) else Name(_FROZEN)

    def _written(self, source: Source) -> Document:
        match source:
            case Alias(tag):
                return {"from": {"kind": "ImageStreamTag", "name": tag}}
            case Pin(stream, (_, digest)):
                return {"from": {"kind": "ImageStreamImage", "name": f"{stream}@{digest}"}}
            case Import(image):
                policy = {"scheduled": True, "insecure": True}
                name = f"{self.world.registry.host}/{image}"
                return {"from": {"kind": "DockerImage", "name": name}, "importPolicy": policy}
            case Name(name):
                return {"from": {"kind": "DockerImage", "name": name}, "reference": True}

    async def _edit(self, name: str, change: Callable[[Document | None, Document], Document | None]) -> bool:
        """Change one spec tag of a stream as it was read, and take over what the tag was when that was stored."""
        stream, _, tag = name.partition(":")
        path = f"{STREAMS_PATH}/namespaces/{NAMESPACE}/imagestreams"
        while True:
            status, found = await self.world.request("GET", f"{path}/{stream}")
            if status == 404:
                body = {"apiVersion": "image.openshift.io/v1", "kind": "ImageStream", "metadata": {"name": stream}}
                await self.world.request("POST", path, body)
                continue
            others = [each for each in documents.spec_tags(found) if each["name"] != tag]
            before = next((each for each in documents.spec_tags(found) if each["name"] == tag), None)
            after = change(before, found)
            if after == before:
                return False
            spec = {**found.get("spec", {}), "tags": [*others, *([after] if after else [])]}
            patch = [
                {"op": "test", "path": "/metadata/resourceVersion", "value": found["metadata"]["resourceVersion"]},
                {"op": "add", "path": "/spec", "value": spec},
            ]
            status, answer = await self.world.request("PATCH", f"{path}/{stream}", patch, "application/json-patch+json")
            if status == 200:
                self.expected.adopt(name, *documents.status_tag(answer, tag))
                return True

    # What the owners of workloads do

    async def create(self, who: int, tag: int) -> None:
        name, kind = list(WORKLOADS.items())[who]
        if name in self.witness.workloads:
            return
        body = workload(kind, NAMESPACE, name, documents.triggers(kind, {"web": TAGS[tag]}))
        while (made := await self.world.request("POST", path_of(kind, NAMESPACE), body))[0] == 409:
            pass
        status, answer = made
        assert status == 201, answer
        self._wrote(answer)
        self._edits[name] = 0

    async def delete(self, who: int) -> None:
        name, kind = list(WORKLOADS.items())[who]
        await self.world.request("DELETE", path_of(kind, NAMESPACE, name))

    async def follow(self, who: int, web: int, sidecar: int, paused: bool) -> None:
        """Let its containers follow these tags; a number too high is none."""
        chosen = {"web": web, "sidecar": sidecar}
        follows = {container: TAGS[n] for container, n in chosen.items() if n < len(TAGS)}
        kind = list(WORKLOADS.values())[who]

        def change(found: Document) -> None:
            annotations = found["metadata"].setdefault("annotations", {})
            annotations.pop(documents.TRIGGERS, None)
            if follows:
                annotations[documents.TRIGGERS] = documents.triggers(kind, follows, paused=paused)

        await self._change(who, change)

    async def reorder(self, who: int) -> None:
        await self._change(who, lambda found: documents.containers(found).reverse())

    async def edit_image(self, who: int, container: int) -> None:
        name, _ = list(WORKLOADS.items())[who]
        if self._edits[name] >= _MOST_EDITS:
            return
        self._edits[name] += 1

        def change(found: Document) -> None:
            chosen = next(each for each in documents.containers(found) if each["name"] == CONTAINERS[container])
            chosen["image"] = f"by-hand:{self._number}"

        await self._change(who, change)

    async def _change(self, who: int, change: Callable[[Document], None]) -> None:
        name, kind = list(WORKLOADS.items())[who]
        path = path_of(kind, NAMESPACE, name)
        while name in self.witness.workloads:
            status, found = await self.world.request("GET", path)
            if status == 404:
                return
            change(found)
            status, answer = await self.world.request("PUT", path, found)
            if status == 200:
                self._wrote(answer)
                return

    def _wrote(self, answer: Document) -> None:
        self.witness.own.add(int(answer["metadata"]["resourceVersion"]))

    # Bad days

    async def restart(self) -> None:
        self.expected.died()
        await self.world.stop()
        await self.world.serve()

    async def crash(self, comes_back: bool) -> None:
        self.expected.died()
        await self.world.die()
        if comes_back:
            await self.world.serve()

    async def crash_over_a_hook(self, tag: int, after_ms: int) -> None:
        """Die while a hook is being taken. Whoever got no answer comes again."""
        await self.push(tag, 0, tell=False)
        telling = asyncio.create_task(self._deliver(len(self.mail) - 1))
        await asyncio.sleep(after_ms / 1000)
        await self.world.die()
        await telling
        self.expected.died()
        await self.world.serve()

    async def fault(self, kind: FaultKind, resource: str, count: int) -> None:
        is_watch = kind in ("cut", "expired", "expired-event", "stall")
        verbs = ("watch",) if is_watch else ("patch", "create")
        self.witness.is_blind |= is_watch and resource != "imagestreams"
        self._is_retrying |= resource == "imagestreams"
        self.world.sandbox.faults.add(
            Fault(kind, verbs=verbs, resources=(resource,), count=count, seconds=0.05, retry_after=0)
        )

    async def breathe(self, ms: int) -> None:
        await asyncio.sleep(ms / 1000)

    # What must be true

    async def check(self, clean: bool) -> None:
        """Let everything come to rest: then the cluster is as the model says, and a restart changes nothing."""
        await asyncio.sleep(0.02)  # faults that wait for a request find it
        is_stalled = any(f["fault"] == "stall" and f["hits"] for f in self.world.sandbox.faults.shown()["faults"])
        self.world.sandbox.faults.clear()
        if is_stalled:
            self.expected.died()
            await self.world.die()  # a watch that is silent is given up after a minute or two
        if not self.world.is_served:
            await self.world.serve()
        await self.world.ready()
        async with asyncio.timeout(_SETTLED_SECONDS):
            while self.mail:
                if not await self._deliver(0):
                    await asyncio.sleep(0.05)
        await self._agrees()
        seconds = _CONTRADICTED_SECONDS if self.expected.is_contradicted() else _CONFIRMED_SECONDS
        await asyncio.sleep(max(0.0, self._last_told + seconds - _now()))
        await self._agrees()
        self.witness.judge()
        self.witness.is_blind = False
        self.expected.rested()
        await self._changes_nothing_more(clean=clean)

    async def _agrees(self) -> None:
        until = _now() + _SETTLED_SECONDS
        while (differences := self.expected.differences()) or self.world.queued():
            assert _now() < until, f"after {_SETTLED_SECONDS} s: {differences or 'the service is still at work'}"
            await asyncio.sleep(0.02)

    async def _changes_nothing_more(self, *, clean: bool) -> None:
        """Start again, and look at everything anew: there is nothing to write."""
        if self._is_retrying:
            self._is_retrying = False
            await self._begin_anew(clean=clean)
        before = self.expected.everything()
        await self._begin_anew(clean=clean)
        after = self.expected.everything()
        changed = {what: (before.get(what), now) for what, now in after.items() if now != before.get(what)}
        assert not changed, f"a restart alone changed {changed}"
        for name, found in self.witness.workloads.items():
            uid = found["metadata"]["uid"]
            assert self.witness.patches[uid] <= self.witness.most_patches(uid), f"{name} was patched too often"

    async def _begin_anew(self, *, clean: bool) -> None:
        self.expected.died()
        await (self.world.stop() if clean else self.world.die())
        await self.world.serve()
        await self.world.ready()
        await self._agrees()
        self.witness.judge()


async def replay(folder: Path, steps: Sequence[Step]) -> None:
    """Play a program, and see that all is well after it."""
    play = Play(folder)
    try:
        await play.start()
        for step, options in steps:
            await play.do(step, **options)
        await play.do("check", clean=True)
    finally:
        await play.close()


def _name(letter: Letter) -> str:
    """The tag that a letter speaks of."""
    return f"{letter.repository.partition('/')[2]}:{letter.tag}"


def _tag(name: str) -> str:
    return name.partition(":")[2]


def _now() -> float:
    return asyncio.get_running_loop().time()
