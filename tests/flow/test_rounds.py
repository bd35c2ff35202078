"""One round for each that a tag concerns, and the next one when it pays."""

from __future__ import annotations

import asyncio
from dataclasses import dataclass, field

import pytest

from listener.flow.rounds import Rounds


@dataclass
class World:
    """Each tag concerns the keys of `concerned`. `begun` is when rounds began, by tag."""

    concerned: dict[str, set[str]] = field(default_factory=lambda: {"web": {"a", "b"}, "api": {"b"}, "lonely": set()})
    begun: list[tuple[str, float]] = field(default_factory=list)

    def begin(self, tag: str) -> set[str]:
        self.begun.append((tag, asyncio.get_running_loop().time() - self.zero))
        return self.concerned[tag]

    def __post_init__(self) -> None:
        self.zero = 0.0

    @property
    def times(self) -> list[float]:
        return [round(moment, 3) for _, moment in self.begun]


@pytest.fixture
async def world() -> World:
    found = World()
    found.zero = asyncio.get_running_loop().time()
    return found


@pytest.fixture
def rounds(world: World) -> Rounds[str, str]:
    return Rounds(world.begin)


async def test_a_move_begins_a_round_at_once_and_so_does_the_next_when_that_is_over(
    world: World, rounds: Rounds[str, str]
) -> None:
    rounds.moved("web")
    await asyncio.sleep(2)
    rounds.begun("a")
    rounds.begun("b")
    rounds.moved("web")
    assert world.times == [0, 2]


async def test_moves_during_a_round_are_one_round_after_a_quiet_time(world: World, rounds: Rounds[str, str]) -> None:
    rounds.moved("web")
    for _ in range(20):
        await asyncio.sleep(0.1)
        rounds.moved("web")
    rounds.begun("a")
    await asyncio.sleep(10)
    assert world.times == [0]  # b was not looked at yet
    rounds.begun("b")
    await asyncio.sleep(10)
    assert world.times == [0, 12]  # the tag was quiet for long enough when the round ended
    rounds.moved("web")
    rounds.begun("a")
    rounds.begun("b")
    rounds.moved("web")
    await asyncio.sleep(4.9)
    assert len(world.times) == 2
    await asyncio.sleep(0.2)
    assert world.times == [0, 12, 27]


async def test_a_burst_waits_for_its_end_but_not_for_ever(world: World, rounds: Rounds[str, str]) -> None:
    rounds.moved("web")
    await asyncio.sleep(1)
    rounds.moved("web")
    rounds.begun("a")
    rounds.begun("b")
    for _ in range(700):
        await asyncio.sleep(0.1)
        rounds.moved("web")
    assert world.times == [0, 61]


async def test_a_tag_of_one_workload_hardly_waits(world: World, rounds: Rounds[str, str]) -> None:
    rounds.moved("api")
    await asyncio.sleep(0.01)
    rounds.moved("api")
    rounds.begun("b")
    await asyncio.sleep(0.1)
    assert world.times == [0, 0.015]


async def test_tags_have_rounds_of_their_own_though_they_concern_the_same(
    world: World, rounds: Rounds[str, str]
) -> None:
    rounds.moved("web")
    rounds.moved("api")
    rounds.begun("b")
    rounds.moved("api")
    rounds.moved("web")
    assert [tag for tag, _ in world.begun] == ["web", "api", "api"]


async def test_a_tag_that_concerns_nobody_has_no_round(world: World, rounds: Rounds[str, str]) -> None:
    rounds.moved("lonely")
    world.concerned["lonely"] = {"late"}
    rounds.moved("lonely")
    assert len(world.begun) == 2


async def test_what_is_held_begins_when_there_may_be_no_later(world: World, rounds: Rounds[str, str]) -> None:
    rounds.moved("web")
    await asyncio.sleep(4)
    rounds.moved("web")
    rounds.begun("a")
    rounds.begun("b")
    rounds.flush()
    rounds.flush()
    await asyncio.sleep(60)
    assert world.times == [0, 4]


async def test_who_was_looked_at_comes_again_if_the_tag_has_moved_since(rounds: Rounds[str, str]) -> None:
    assert not rounds.comes_again("web", "a")
    rounds.moved("web")
    assert not rounds.comes_again("web", "a")
    rounds.begun("a")
    assert not rounds.comes_again("web", "a")
    rounds.moved("web")
    assert rounds.comes_again("web", "a")
    assert not rounds.comes_again("web", "b")
    rounds.begun("b")
    rounds.flush()
    assert not rounds.comes_again("web", "a")


async def test_once_nothing_is_held_a_round_that_ends_is_repeated_at_once(
    world: World, rounds: Rounds[str, str]
) -> None:
    rounds.moved("web")
    await asyncio.sleep(4)
    rounds.moved("web")
    rounds.begun("a")
    rounds.flush()
    assert world.times == [0]
    rounds.begun("b")
    assert world.times == [0, 4]


async def test_one_who_was_never_asked_for_may_be_looked_at(world: World, rounds: Rounds[str, str]) -> None:
    rounds.begun("stranger")
    assert world.begun == []
