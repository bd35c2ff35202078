"""What is asked of registries, and what becomes of the answers, a row per situation."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from listener.core import imports, references
from listener.core.conditions import HELD, IMPORT_SUCCESS, Problem
from listener.core.history import Condition, Resolution, TagHistory, TagItem
from listener.core.streams import SpecTag, Stream, StreamKey

THEN, NOW = "2026-06-01T11:00:00Z", "2026-06-01T12:00:00Z"
NAME = "quay.io/team/web"


def digest(letter: str) -> str:
    return "sha256:" + letter * 64


def item(letter: str, *, generation: int = 1, name: str = NAME, created: str = THEN) -> TagItem:
    return TagItem(created, f"{name}@{digest(letter)}", digest(letter), generation)


def failed(generation: int | None = 1, *, reason: str = "NotFound", kind: str = IMPORT_SUCCESS) -> Condition:
    return Condition(kind, "False", THEN, reason, "no such image", generation)


def succeeded(generation: int = 1) -> Condition:
    return Condition(IMPORT_SUCCESS, "True", THEN, "", "", generation)


def image(source: str = f"{NAME}:v1", *, generation: int | None = 1) -> SpecTag:
    return SpecTag("x", "DockerImage", "", source, generation=generation)


def resolved(spec_tag: SpecTag, followed: str = digest("a")) -> Resolution:
    return replace(spec_tag.asks(), followed=followed)


def stream(
    *spec_tags: SpecTag,
    tags: Sequence[TagHistory] = (),
    generation: int = 1,
    repository: str = "",
    is_checked: bool = False,
) -> Stream:
    return Stream(
        StreamKey("shop", "web"), "u", "7", generation, repository, "", spec_tags, tuple(tags), is_checked=is_checked
    )


A, B = item("a"), item("b")
DONE = TagHistory("x", (A,), (succeeded(),), resolved=resolved(image()))


class TestWhatIsWanted:
    @pytest.mark.parametrize(
        ("spec_tag", "known", "expected"),
        [
            pytest.param(image(), TagHistory("x"), True, id="new"),
            pytest.param(image(generation=None), TagHistory("x"), True, id="new, without a number"),
            pytest.param(image(generation=0), DONE, False, id="asked for, without a number"),
            pytest.param(image(), DONE, False, id="done"),
            pytest.param(image(generation=2), DONE, True, id="asked for again"),
            pytest.param(image(generation=2), TagHistory("x", (A,), (failed(2),)), False, id="tried in vain"),
            pytest.param(
                image(generation=3), TagHistory("x", (A,), (failed(2),)), True, id="asked for after a failure"
            ),
            pytest.param(image(), TagHistory("x", (), (failed(None),)), True, id="a failure of no generation"),
            pytest.param(
                image(generation=2), TagHistory("x", (A,), (failed(2, kind=HELD),)), True, id="a hold is no import"
            ),
            pytest.param(
                image(generation=2), TagHistory("x", (A,), waiting=(item("b", generation=2),)), False, id="waits"
            ),
            pytest.param(image(), TagHistory("x", (item("a", generation=5),)), False, id="pushed over meanwhile"),
            pytest.param(image(f"{NAME}:v2"), DONE, True, id="another tag, the same generation"),
            pytest.param(
                replace(image(), import_mode="PreserveOriginal"), DONE, True, id="another mode, the same generation"
            ),
            pytest.param(
                image(),
                replace(DONE, resolved=SpecTag("x", "ImageStreamTag", "", f"{NAME}:v1").asks()),
                True,
                id="another kind, the same generation",
            ),
            pytest.param(image(), replace(DONE, resolved=SpecTag("x").asks()), True, id="a placeholder before"),
            pytest.param(
                image(),
                replace(DONE, conditions=(failed(1, reason="Invalid"),)),
                False,
                id="failed, the same generation",
            ),
            pytest.param(replace(image(), scheduled=True), DONE, False, id="the schedule is another matter"),
            pytest.param(replace(image(), insecure=True, reference_policy="Local"), DONE, False, id="policies"),
            pytest.param(replace(image(), hold=""), TagHistory("x"), True, id="held"),
            pytest.param(image(f"{NAME}@{digest('a')}"), TagHistory("x"), True, id="a digest"),
            pytest.param(replace(image(), reference=True), TagHistory("x"), False, id="a reference"),
            pytest.param(image("NO NAME"), TagHistory("x"), False, id="no name"),
            pytest.param(image(""), TagHistory("x"), False, id="an empty name"),
            pytest.param(SpecTag("x", generation=1), TagHistory("x"), False, id="a placeholder"),
            pytest.param(
                SpecTag("x", "ImageStreamTag", "", "web:v1", generation=1),
                TagHistory("x"),
                False,
                id="a tag of a stream",
            ),
            pytest.param(
                SpecTag("x", "ImageStreamImage", "", "web@a", generation=1),
                TagHistory("x"),
                False,
                id="an image of one",
            ),
        ],
    )
    def test_of_a_tag(self, spec_tag: SpecTag, known: TagHistory, expected: bool) -> None:
        assert imports.wants_import(spec_tag, known) is expected

    @pytest.mark.parametrize(
        ("repository", "is_checked", "expected"),
        [
            pytest.param(NAME, False, True, id="never tried"),
            pytest.param(NAME, True, False, id="tried"),
            pytest.param("", False, False, id="none"),
            pytest.param("NO NAME", False, False, id="no name"),
        ],
    )
    def test_of_a_whole_repository(self, repository: str, is_checked: bool, expected: bool) -> None:
        assert imports.wants_repository(stream(repository=repository, is_checked=is_checked)) is expected


SCHEDULED = replace(image(), scheduled=True)
PINNED = replace(SCHEDULED, from_name=f"{NAME}@{digest('a')}")
PINNED_DONE = TagHistory("x", (A,), (succeeded(),), resolved=resolved(PINNED))


@pytest.mark.parametrize(
    ("spec_tag", "known", "expected"),
    [
        pytest.param(SCHEDULED, TagHistory("x"), True, id="new"),
        pytest.param(SCHEDULED, DONE, True, id="imported"),
        pytest.param(SCHEDULED, replace(DONE, conditions=(failed(),)), True, id="failed"),
        pytest.param(replace(SCHEDULED, hold=""), DONE, True, id="held"),
        pytest.param(image(), DONE, False, id="not asked for"),
        pytest.param(replace(SCHEDULED, reference=True), TagHistory("x"), False, id="a reference"),
        pytest.param(replace(SCHEDULED, from_name="NO NAME"), TagHistory("x"), False, id="no name"),
        pytest.param(replace(SCHEDULED, from_kind="ImageStreamTag"), DONE, False, id="a tag of a stream"),
        pytest.param(SpecTag("x", scheduled=True), TagHistory("x"), False, id="a placeholder"),
        pytest.param(PINNED, TagHistory("x"), True, id="a digest that is not there yet"),
        pytest.param(PINNED, TagHistory("x", (), (failed(),)), True, id="a digest that failed"),
        pytest.param(PINNED, PINNED_DONE, False, id="a digest that is there"),
        pytest.param(PINNED, replace(PINNED_DONE, items=(), waiting=(A,)), False, id="a digest that waits"),
        pytest.param(PINNED, replace(PINNED_DONE, items=(B,)), False, id="the image of the pinned index"),
        pytest.param(PINNED, DONE, True, id="a digest, imported by a tag before"),
        pytest.param(
            PINNED,
            TagHistory("x", (B,), (failed(),), resolved=resolved(PINNED, "")),
            True,
            id="a digest that failed, over an older image",
        ),
        pytest.param(replace(PINNED, generation=2), PINNED_DONE, True, id="a digest that is asked for again"),
    ],
)
def test_which_tags_are_imported_from_time_to_time(spec_tag: SpecTag, known: TagHistory, expected: bool) -> None:
    assert imports.is_scheduled(spec_tag, known) is expected


class TestGenerations:
    def test_each_missing_one_becomes_what_the_stream_is_about_to_have(self) -> None:
        found = stream(
            image(generation=None), replace(image(), name="y"), replace(image(), name="z", generation=0), generation=4
        )
        assert imports.number_generations(found) == (
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            {"op": "add", "path": "/spec/tags/0/generation", "value": 5},
            {"op": "add", "path": "/spec/tags/2/generation", "value": 5},
        )

    @pytest.mark.parametrize("spec_tag", [SpecTag("x"), SpecTag("x", "ImageStreamTag", "", "a"), image("NO NAME")])
    def test_of_whatever_kind(self, spec_tag: SpecTag) -> None:
        assert len(imports.number_generations(stream(replace(spec_tag, generation=None)))) == 2

    @pytest.mark.parametrize("found", [stream(), stream(image())], ids=["no tags", "numbered"])
    def test_nothing_to_number(self, found: Stream) -> None:
        assert imports.number_generations(found) == ()


class TestTagsOfARepository:
    def test_become_tags_of_the_stream(self) -> None:
        assert imports.add_tags(stream(image(), generation=4), ["v2", "v3"], references.parse(NAME)) == (
            {"op": "test", "path": "/metadata/resourceVersion", "value": "7"},
            *(
                {
                    "op": "add",
                    "path": "/spec/tags/-",
                    "value": {"name": tag, "from": {"kind": "DockerImage", "name": f"{NAME}:{tag}"}, "generation": 5},
                }
                for tag in ("v2", "v3")
            ),
        )

    def test_the_first_ones_bring_their_list_and_what_they_need_to_be_imported(self) -> None:
        found = replace(stream(), insecure_repository=True)
        operations = imports.add_tags(found, ["v2"], references.parse("nginx"))
        assert operations[1:] == (
            {
                "op": "add",
                "path": "/spec/tags",
                "value": [
                    {
                        "name": "v2",
                        "from": {"kind": "DockerImage", "name": "nginx:v2"},
                        "generation": 2,
                        "importPolicy": {"insecure": True},
                    }
                ],
            },
        )


def imported(found: Stream, spec_tag: SpecTag, letter: str, *, followed: str = "", name: str = NAME) -> TagHistory:
    taken = digest(letter)
    return imports.imported(found, spec_tag, name=name, digest=taken, followed=followed or taken, now=NOW, limit=10)


class TestSuccess:
    def test_the_first_image_of_a_tag(self) -> None:
        after = imported(stream(image(generation=3), generation=4), image(generation=3), "a", followed=digest("f"))
        assert after == TagHistory(
            "x",
            (item("a", generation=3, created=NOW),),
            (Condition(IMPORT_SUCCESS, "True", NOW, "", "", 3),),
            resolved=resolved(image(), digest("f")),
        )

    def test_another_image_goes_before_the_others(self) -> None:
        after = imported(stream(image(), tags=[DONE]), image(), "b")
        assert after.items == (item("b", created=NOW), A)
        assert after.conditions == (succeeded(),)  # since the first one

    def test_another_image_after_a_push_is_said_to_be_imported_now(self) -> None:
        after = imported(stream(image(), tags=[replace(DONE, conditions=())]), image(), "b")
        assert after.conditions == (Condition(IMPORT_SUCCESS, "True", NOW, "", "", 1),)

    @pytest.mark.parametrize(
        "known",
        [
            pytest.param(DONE, id="imported before"),
            pytest.param(replace(DONE, conditions=()), id="pushed before"),
            pytest.param(replace(DONE, items=(B,), waiting=(A,)), id="waiting"),
            pytest.param(replace(DONE, items=(replace(A, generation=9),)), id="pushed at a later generation"),
        ],
    )
    def test_a_check_that_finds_the_same_changes_nothing(self, known: TagHistory) -> None:
        assert imported(stream(image(), tags=[known]), image(), "a", followed=digest("f")) is known

    def test_the_same_image_after_it_was_asked_for_takes_the_generation(self) -> None:
        found, asked = stream(image(generation=2), tags=[DONE], generation=2), image(generation=2)
        after = imported(found, asked, "a")
        assert after.items == (replace(A, generation=2),)
        assert after.conditions == (succeeded(2),)
        assert not imports.wants_import(asked, after)

    def test_the_same_image_after_a_failure_ends_that(self) -> None:
        known = replace(DONE, conditions=(failed(2), failed(2, kind=HELD)))
        spec_tag = image(generation=2)
        after = imported(stream(spec_tag, tags=[known]), spec_tag, "a")
        assert after.items == (replace(A, generation=2),)
        assert after.condition(IMPORT_SUCCESS) == Condition(IMPORT_SUCCESS, "True", NOW, "", "", 2)
        assert after.condition(HELD) == failed(2, kind=HELD)  # that is seen to by settling
        assert imports.failure(after) is None

    def test_the_same_image_by_another_name_amends_the_head(self) -> None:
        spec_tag = image("mirror.io/web:v1")
        after = imported(stream(spec_tag, tags=[DONE]), spec_tag, "a", name="mirror.io/web")
        assert after.items == (item("a", name="mirror.io/web"),)
        assert after.resolved == resolved(spec_tag)

    def test_an_observed_generation_does_not_go_down(self) -> None:
        known = TagHistory("x", (item("a", generation=9),), resolved=resolved(image()))
        assert imported(stream(image(), tags=[known], generation=9), image(), "b").observed_generation == 9

    @pytest.mark.parametrize("missing", [None, 0])
    def test_the_stream_s_generation_stands_in_for_a_missing_one(self, missing: int | None) -> None:
        spec_tag = image(generation=missing)
        assert imported(stream(spec_tag, generation=6), spec_tag, "a").items == (item("a", generation=6, created=NOW),)

    def test_what_a_held_tag_imports_waits_and_is_a_success(self) -> None:
        spec_tag = replace(image(generation=2), hold="")
        after = imported(stream(spec_tag, tags=[DONE], generation=2), spec_tag, "b")
        assert after.items == (A,)
        assert after.waiting == (item("b", generation=2, created=NOW),)
        assert after.condition(IMPORT_SUCCESS) == succeeded(2)
        assert not imports.wants_import(spec_tag, after)

    def test_the_history_is_kept_to_its_limit(self) -> None:
        found = stream(image(), tags=[DONE])
        after = imports.imported(found, image(), name=NAME, digest=digest("b"), followed="", now=NOW, limit=1)
        assert after.items == (item("b", created=NOW),)

    def test_a_b_a_makes_three_items(self) -> None:
        found = stream(image())
        for letter in "aba":
            found = found.with_history(imported(found, image(), letter))
        assert [each.image for each in found.history("x").items] == [digest(letter) for letter in "aba"]


def fail(
    found: Stream, spec_tag: SpecTag, problem: Problem = Problem.NOT_FOUND, why: str = "no such image"
) -> TagHistory:
    return imports.import_failed(found, spec_tag, problem, why, now=NOW)


class TestFailure:
    def test_it_is_said_and_the_images_stay(self) -> None:
        spec_tag = image(generation=2)
        known = replace(DONE, items=(A, B), waiting=(B,))
        after = fail(stream(spec_tag, tags=[known], generation=3), spec_tag)
        assert (after.items, after.waiting) == (known.items, known.waiting)
        assert after.conditions == (Condition(IMPORT_SUCCESS, "False", NOW, "NotFound", "no such image", 2),)
        assert imports.failure(after) is Problem.NOT_FOUND
        assert after.observed_generation == 2
        assert not imports.wants_import(spec_tag, after)

    def test_the_same_failure_again_keeps_its_time_and_takes_the_generation(self) -> None:
        first = fail(stream(image()), image())
        again = image(generation=2)
        after = imports.import_failed(
            stream(again, tags=[first]), again, Problem.NOT_FOUND, "no such image", now="later"
        )
        assert after.conditions == (Condition(IMPORT_SUCCESS, "False", NOW, "NotFound", "no such image", 2),)

    def test_repeated_it_changes_nothing(self) -> None:
        first = fail(stream(image()), image())
        assert (
            imports.import_failed(
                stream(image(), tags=[first]), image(), Problem.NOT_FOUND, "no such image", now="later"
            )
            == first
        )

    def test_another_reason_has_its_own_time(self) -> None:
        first = replace(fail(stream(image()), image()), conditions=(failed(),))
        after = fail(stream(image(), tags=[first]), image(), Problem.UNAUTHORIZED)
        assert after.conditions == (Condition(IMPORT_SUCCESS, "False", NOW, "Unauthorized", "no such image", 1),)

    def test_what_was_followed_is_known_while_the_spec_asks_the_same(self) -> None:
        assert fail(stream(image(), tags=[DONE]), image()).resolved == resolved(image())
        other = image(f"{NAME}:v2")
        assert fail(stream(other, tags=[DONE]), other).resolved == other.asks()

    def test_a_change_that_failed_is_not_tried_for_ever(self) -> None:
        other = image(f"{NAME}:v2")
        assert not imports.wants_import(other, fail(stream(other, tags=[DONE]), other))

    def test_conditions_of_other_types_stay(self) -> None:
        known = replace(DONE, conditions=(failed(kind=HELD), succeeded()))
        assert [c.type for c in fail(stream(image(), tags=[known]), image()).conditions] == [HELD, IMPORT_SUCCESS]

    @pytest.mark.parametrize("missing", [None, 0])
    def test_the_stream_s_generation_stands_in_for_a_missing_one(self, missing: int | None) -> None:
        assert fail(stream(generation=6), image(generation=missing)).observed_generation == 6

    @pytest.mark.parametrize(
        ("conditions", "expected"),
        [
            pytest.param((), None, id="none"),
            pytest.param((succeeded(),), None, id="a success"),
            pytest.param((failed(kind=HELD),), None, id="another type"),
            pytest.param((failed(),), Problem.NOT_FOUND, id="a failure"),
            pytest.param((failed(reason="CircularReference"),), Problem.CIRCULAR, id="a circle"),
            pytest.param((failed(reason="of somebody else"),), Problem.INTERNAL_ERROR, id="any word"),
            pytest.param((replace(failed(), status="Unknown"),), None, id="nobody knows"),
        ],
    )
    def test_why_it_failed(self, conditions: tuple[Condition, ...], expected: Problem | None) -> None:
        assert imports.failure(TagHistory("x", conditions=conditions)) is expected
        assert imports.repository_failure(replace(stream(), conditions=conditions)) is expected


class TestConfirmed:
    """A tag without a source of its own, where its registry says that it is."""

    @pytest.mark.parametrize(
        "known",
        [TagHistory("x", (A, B)), TagHistory("x", (B,), waiting=(A,))],
        ids=["it is there", "it waits"],
    )
    def test_nothing_new(self, known: TagHistory) -> None:
        found = stream(tags=[known])
        assert imports.confirmed(found, "x", name="other.io/web", digest=digest("a"), now=NOW, limit=10) is known

    @pytest.mark.parametrize("known", [TagHistory("x"), TagHistory("x", (B,))], ids=["new", "moved"])
    def test_it_moves(self, known: TagHistory) -> None:
        found = stream(tags=[known], generation=5)
        after = imports.confirmed(found, "x", name=NAME, digest=digest("a"), now=NOW, limit=10)
        assert after == TagHistory("x", (item("a", generation=5, created=NOW), *known.items))

    def test_a_held_one_waits(self) -> None:
        found = stream(SpecTag("x", hold=""), tags=[TagHistory("x", (B,))])
        after = imports.confirmed(found, "x", name=NAME, digest=digest("a"), now=NOW, limit=10)
        assert after == TagHistory("x", (B,), waiting=(item("a", created=NOW),))


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        pytest.param("90s", 90, id="seconds"),
        pytest.param("15m", 900, id="minutes"),
        pytest.param("2h", 7200, id="hours"),
        pytest.param("1h30m", 5400, id="hours and minutes"),
        pytest.param("1h0m5s", 3605, id="as Go writes it"),
        pytest.param(" 15m\n", 900, id="spaces around"),
        *(
            pytest.param(text, None, id=repr(text))
            for text in (
                "",
                " ",
                "0s",
                "0h0m0s",
                "15",
                "m",
                "1d",
                "-5m",
                "1.5h",
                "30m1h",
                "1h 30m",
                "15M",
                "1h1h",
                "9" * 9 + "h",
            )
        ),
        pytest.param("\N{ARABIC-INDIC DIGIT FIVE}m", None, id="digits of elsewhere"),
    ],
)
def test_how_an_interval_is_written(text: str, expected: float | None) -> None:
    assert imports.interval_seconds(text) == expected


class TestOrder:
    @pytest.mark.parametrize(
        "expected",
        [
            pytest.param([], id="nothing"),
            pytest.param(["latest", "5.1", "5.1.3", "alpha"], id="one of each"),
            pytest.param(["10.0", "9.10", "9.9", "v1.0", "0.1"], id="as numbers, not as texts"),
            pytest.param(["v6.0", "5.1", "5.0", "v6.0.9", "5.9.9"], id="minor versions before full ones"),
            pytest.param(["5.1", "v5.1", "5.0", "v5.0", "1.2.3", "v1.2.3"], id="without v first"),
            pytest.param(["1.1", "1.1-rc1", "1.1-beta4", "1.1-beta1", "1.1-alpha1", "1.0"], id="pre-releases below"),
            pytest.param(["1.1.0", "v1.1.0-rc1", "1.1.0-beta", "1.0.9"], id="pre-releases of full versions"),
            pytest.param(["1.0-b.10", "1.0-b.9", "1.0-b", "1.0-a", "1.0-9"], id="pre-releases by their parts"),
            pytest.param(["Z", "_", "a", "v", "v1", "z"], id="the rest by their letters"),
            pytest.param(
                ["1.0", "01.0", "1", "1.0.0.0", "1.0.x", "1.0_1", "1.\N{ARABIC-INDIC DIGIT FIVE}", "v.1"],
                id="what is no version",
            ),
            pytest.param(["latest", "Latest", "latest-1", "latest1"], id="only latest is latest"),
            pytest.param(["1." + "9" * 120, "1.1"], id="as long as tags are"),
        ],
    )
    def test_of_tags(self, expected: list[str]) -> None:
        assert imports.order_tags(reversed(expected)) == expected
        assert imports.order_tags(expected) == expected

    TAGS = st.one_of(
        st.from_regex(r"v?[0-9]{1,2}\.[0-9]{1,2}(\.[0-9]{1,2})?(-[a-b0-2.]{1,4})?(\+[a-b0-1]{1,2})?", fullmatch=True),
        st.sampled_from(["latest", "1.0-", "v1", "1.0-a..b", "1.0-00", "1.0-0"]),
        st.text("v.01a-_", min_size=1, max_size=6),
    )

    @settings(max_examples=150, deadline=None)
    @given(st.lists(TAGS, max_size=8, unique=True), st.data())
    def test_is_total_and_stays(self, tags: list[str], data: st.DataObject) -> None:
        ordered = imports.order_tags(tags)
        assert sorted(ordered) == sorted(tags)
        assert imports.order_tags(ordered) == ordered
        assert imports.order_tags(data.draw(st.permutations(tags))) == ordered

    @settings(max_examples=150, deadline=None)
    @given(st.lists(TAGS, max_size=6, unique=True))
    def test_the_place_of_two_does_not_depend_on_others(self, tags: list[str]) -> None:
        ordered = imports.order_tags(tags)
        for n, first in enumerate(ordered):
            for second in ordered[n + 1 :]:
                assert imports.order_tags([second, first]) == [first, second]
