"""The odd things that a receiver of registries' hooks meets, each with the tests that show what becomes of it.

A name is `module::test`, or `module::test[id]` for one row of its table. Whoever renames a test has to say so here,
and a case without a test cannot be added.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from importlib import import_module
from typing import Any, Final, NamedTuple

import pytest


class Case(NamedTuple):
    what: str
    tests: tuple[str, ...]


def case(what: str, *tests: str) -> Case:
    return Case(what, tests)


LAST: Final = 54

CASES: Final[Mapping[int, Case]] = {
    # Whose it is, and what it is called
    1: case(
        "the host is an internal name, an address, has a port, differs in case",
        "tests.core.test_origins::test_a_push_is_to_the_registry_whose_hook_it_is[an alias]",
        "tests.core.test_origins::test_a_push_is_to_the_registry_whose_hook_it_is[an address]",
        "tests.core.test_origins::test_a_push_is_to_the_registry_whose_hook_it_is[its host at a port]",
        "tests.dialects.test_distribution::test_a_push_by_tag[host in lower case]",
    ),
    2: case(
        "the host was invented by who pushed",
        "tests.flow.test_intake::test_another_host_is_refused_and_the_rest_goes_on",
        "tests.flow.test_intake::test_no_payload_makes_us_ask_a_host_of_its_choice",
        "tests.dialects.test_distribution::test_a_push_by_tag[an invented host stays recognisably wrong]",
        "tests.edges.test_web_abuse::test_what_strangers_say_and_nobody_confirms_is_counted_as_refused",
    ),
    3: case(
        "no host is told",
        "tests.core.test_origins::test_a_push_is_to_the_registry_whose_hook_it_is[no host]",
        "tests.dialects.test_zot::test_a_push",
        "tests.dialects.test_nexus::test_a_push",
        "tests.dialects.test_jfrog::test_a_push[no base URL]",
    ),
    4: case(
        "one registry under several names",
        "tests.flow.test_intake::test_a_registry_may_name_itself_as_its_settings_say",
        "tests.cli.test_hook::test_a_registrys_names",
        "tests.cli.test_hook::test_the_public_name_of_an_integrated_registry_is_its_own",
    ),
    5: case(
        "Docker Hub's three names, none at all, and library/",
        "tests.dialects.test_odd_bodies::test_docker_hub_is_one_registry_whatever_calls_it_what",
        "tests.dialects.test_dockerhub::test_a_push[an official image]",
        "tests.core.test_streams::test_docker_hub_is_one_repository_under_all_its_names",
        "tests.flow.test_intake::test_docker_hub_s_names_are_one_registry",
        "tests.test_settings::test_docker_hub_has_one_name",
    ),
    6: case(
        "capitals in the owner and in the tag",
        "tests.dialects.test_packages::test_a_push[as it is]",
        "tests.dialects.test_distribution::test_a_push_by_tag[repository in lower case]",
        "tests.dialects.test_distribution::test_a_push_by_tag[case of a tag is kept]",
        "tests.dialects.test_generic::test_a_push[repository in lower case, not the tag]",
    ),
    7: case(
        "a project, a group or the key of a repository in front of the name",
        "tests.dialects.test_harbor::test_a_push_of_the_default_payload[the name in two pieces]",
        "tests.dialects.test_jfrog::test_a_push[as it is]",
        "tests.dialects.test_gitlab::test_a_push_by_tag",
        "tests.dialects.test_google_pubsub::test_references_are_taken_apart[tag alone]",
    ),
    8: case(
        "repositories of many segments",
        "tests.dialects.test_gitlab::test_a_push_by_tag",
        "tests.dialects.test_packages::test_a_push[as it is]",
        "tests.flow.test_intake::test_an_integrated_repository_must_be_a_namespace_and_a_name",
        "tests.flow.test_intake::test_a_repository_that_cannot_be_a_stream_may_still_feed_one",
    ),
    # What was pushed
    9: case("a blob", "tests.dialects.test_distribution::test_what_is_not_for_us_is_ignored[layer]"),
    10: case(
        "the child of an index, by digest",
        "tests.dialects.test_distribution::test_what_is_not_for_us_is_ignored[child of an index]",
        "tests.dialects.test_packages::test_what_is_not_for_us_is_ignored[child of an index]",
    ),
    11: case(
        "children first, then the index that the tag is at",
        "tests.dialects.test_odd_bodies::test_children_come_first_and_the_tag_is_at_the_index",
        "tests.flow.test_intake::test_a_tag_takes_of_a_pushed_index_what_its_import_would",
    ),
    12: case(
        "a digest where the tag belongs",
        "tests.dialects.test_harbor::test_what_no_workload_can_follow_is_ignored[a digest in the place of the tag]",
        "tests.dialects.test_zot::test_what_no_workload_can_follow_is_ignored[by digest]",
        "tests.dialects.test_packages::test_what_is_not_for_us_is_ignored[child of an index]",
        "tests.dialects.test_jfrog::test_what_is_not_for_us_is_ignored[tag is a digest]",
        "tests.dialects.test_nexus::test_what_is_not_for_us_is_ignored[component by digest]",
    ),
    13: case(
        "the tag is empty, absent or null",
        "tests.dialects.test_github::test_what_is_not_for_us_is_ignored[empty tag]",
        "tests.dialects.test_github::test_what_is_not_for_us_is_ignored[no tag]",
        "tests.dialects.test_dockerhub::test_an_unusable_push_is_refused[empty tag]",
        "tests.dialects.test_dockerhub::test_an_unusable_push_is_refused[no tag]",
        "tests.dialects.test_harbor::test_what_no_workload_can_follow_is_ignored[null]",
        "tests.dialects.test_distribution::test_what_is_not_for_us_is_ignored[empty tag]",
    ),
    14: case(
        "the same image to the same tag again",
        "tests.flow.test_intake::test_an_identical_push_is_unchanged_and_wakes_nobody",
        "tests.core.test_history::test_nothing_new_gives_the_same_object_with_its_conditions",
    ),
    15: case(
        "one image under several tags",
        "tests.dialects.test_distribution::test_the_same_digest_under_several_tags_is_several_pushes_in_order",
        "tests.flow.test_intake::test_many_tags_in_one_delivery_are_all_taken_in_their_order",
    ),
    16: case(
        "a tag is pushed back to an older image",
        "tests.flow.test_intake::test_the_registrys_time_orders_pushes[pushed back to an older image]",
        "tests.core.test_pushes::test_what_becomes_of_a_push[pushed back]",
        "tests.core.test_history::test_back_and_forth_makes_three_items",
    ),
    17: case(
        "signatures, attestations and SBOMs",
        "tests.dialects.test_gitlab::test_a_signature_is_no_image",
        "tests.dialects.test_gitlab::test_what_only_looks_like_one_is",
    ),
    18: case(
        "charts and other artifacts",
        "tests.dialects.test_samples::test_the_pushes_are_those_expected[distribution/manifest-push-tag-helm-chart.json]",
        "tests.dialects.test_samples::test_the_pushes_are_those_expected[dockerhub/push-helm-chart.json]",
        "tests.dialects.test_generic::test_what_is_not_for_us_is_ignored[no manifest]",
        "tests.dialects.test_distribution::test_what_is_not_for_us_is_ignored[artifact manifest]",
    ),
    19: case(
        "scans, quotas, replications, builds that name a tag",
        "tests.dialects.test_harbor::test_only_a_pushed_artifact_is_a_push",
        "tests.dialects.test_quay::test_without_updated_tags_it_is_no_push",
        "tests.dialects.test_zot::test_only_an_updated_image_is_a_push",
        "tests.dialects.test_mirantis_msr::test_only_a_pushed_tag_is_a_push",
        "tests.dialects.test_aws_ecr::test_what_is_not_for_us_is_ignored[ECR Image Scan]",
    ),
    20: case(
        "a push that the registry refused",
        "tests.dialects.test_samples::test_the_pushes_are_those_expected[zot/image-lint-failed.json]",
        "tests.dialects.test_samples::test_the_pushes_are_those_expected[harbor/default-quota-exceeded.json]",
        "tests.dialects.test_aws_ecr::test_what_is_not_for_us_is_ignored[failed]",
    ),
    21: case(
        "mounts, pulls, and our own look-ups that come back",
        "tests.dialects.test_distribution::test_what_is_not_for_us_is_ignored[mount]",
        "tests.dialects.test_distribution::test_what_is_not_for_us_is_ignored[pull, HEAD too]",
        "tests.dialects.test_samples::test_the_pushes_are_those_expected[distribution/manifest-head-tag.json]",
        "tests.edges.test_web_abuse::test_what_brings_no_news_is_some_lines_and_a_count",
    ),
    22: case(
        "deletions with a digest, a tag, or neither",
        "tests.dialects.test_odd_bodies::test_a_deletion_is_no_push_of_nothing[digest only]",
        "tests.dialects.test_odd_bodies::test_a_deletion_is_no_push_of_nothing[tag only]",
        "tests.dialects.test_odd_bodies::test_a_deletion_is_no_push_of_nothing[both empty]",
    ),
    23: case(
        "a tag that was made without an event",
        "tests.flow.test_importer::test_a_registry_nobody_configured_owes_us_no_hook",
        "tests.end_to_end.test_imports::test_a_scheduled_tag_follows_its_registry_and_rolls_the_deployment",
    ),
    24: case(
        "a promotion inside a registry",
        "tests.dialects.test_jfrog::test_what_is_not_for_us_is_ignored[promoted]",
        "tests.dialects.test_mirantis_msr::test_only_a_pushed_tag_is_a_push",
    ),
    25: case(
        "a cache that fills itself",
        "tests.dialects.test_jfrog::test_a_push[cache]",
        "tests.dialects.test_aws_ecr::test_what_is_not_for_us_is_ignored[ECR Pull Through Cache Action]",
        "tests.flow.test_intake::test_nobody_takes_it",
    ),
    # Time and order
    26: case(
        "events out of order",
        "tests.flow.test_intake::test_the_registrys_time_orders_pushes[swapped]",
        "tests.flow.test_intake::test_the_registrys_time_orders_pushes[no order in their times, so that of arrival]",
        "tests.flow.test_intake::test_without_a_time_the_registry_decides_about_an_image_the_tag_had_before",
        "tests.core.test_pushes::test_hooks_may_arrive_in_any_order",
        "tests.end_to_end.test_order::test_hooks_in_any_order_and_thrice_to_two_replicas_end_with_the_last_push",
    ),
    27: case(
        "the event comes before the tag has moved",
        "tests.flow.test_intake::test_a_tag_that_moves_a_moment_after_its_hook_is_waited_for",
        "tests.flow.test_intake::test_an_image_that_is_there_in_a_moment_is_waited_for",
        "tests.flow.test_intake::test_a_registry_that_trips_over_the_push_it_is_storing_is_asked_again",
    ),
    28: case(
        "times of every spelling, of no zone, of year 1, and to come",
        "tests.core.test_events::test_reads_times_that_can_be_compared",
        "tests.dialects.test_odd_bodies::test_unix_times",
        "tests.dialects.test_odd_bodies::test_a_time_that_is_none_costs_the_time_and_not_the_push",
        "tests.dialects.test_nexus::test_a_push[a zone without a colon]",
        "tests.flow.test_intake::test_a_time_that_is_yet_to_come_orders_nothing",
    ),
    29: case(
        "a delivery that comes again days later",
        "tests.flow.test_intake::test_the_registrys_time_orders_pushes[an old hook once more]",
        "tests.flow.test_intake::test_what_may_be_an_old_push_is_not_believed",
        "tests.core.test_pushes::test_a_late_hook_does_not_undo_what_an_import_found",
    ),
    30: case(
        "events that never come",
        "tests.flow.test_importer::test_hooks_that_prove_alive_make_polls_rare_and_a_missed_one_makes_them_frequent_again",
        "tests.end_to_end.test_fan_out::test_a_service_that_starts_late_finds_what_the_tags_say",
    ),
    # Delivery
    31: case(
        "the same event again after a time-out",
        "tests.flow.test_intake::test_what_is_recorded_already_needs_no_cluster",
        "tests.flow.test_intake::test_a_slow_registry_has_answered_when_the_sender_comes_again",
        "tests.edges.test_web::test_a_sender_who_hangs_up_does_not_stop_what_was_begun",
    ),
    32: case(
        "the same push again without an id, or with another",
        "tests.flow.test_intake::test_the_registrys_time_orders_pushes[the same hook twice]",
        "tests.core.test_pushes::test_what_becomes_of_a_push[the same hook again, no time]",
        "tests.dialects.test_github::test_the_event_of_apps",
        "tests.core.test_pushes::test_interleavings_and_repeats_end_at_the_last_push",
    ),
    33: case(
        "many events in one request, some of them bad",
        "tests.dialects.test_distribution::test_an_unusable_push_is_refused_alone",
        "tests.dialects.test_harbor::test_every_resource_counts_and_a_bad_one_is_refused_alone",
        "tests.end_to_end.test_bad_input::test_each_bad_delivery_gets_a_clear_answer_and_the_good_push_beside_it_is_stored",
    ),
    34: case(
        "empty lists and bodies, and who only looks",
        "tests.dialects.test_distribution::test_an_empty_envelope_is_legal",
        "tests.dialects.test_generic::test_an_empty_list_is_nothing",
        "tests.dialects.test_azure_acr::test_a_ping_may_have_no_body",
        "tests.edges.test_web_abuse::test_who_looks_at_a_hook_is_told_what_it_is",
    ),
    35: case(
        "slow, huge, chunked and compressed bodies, and those of another length",
        "tests.edges.test_web::test_a_body_that_comes_too_slowly_is_408_and_holds_nothing_up",
        "tests.edges.test_web::test_a_body_that_is_too_large_is_413",
        "tests.edges.test_web::test_a_body_that_does_not_arrive_whole_is_no_bug_of_ours",
        "tests.edges.test_web_abuse::test_a_compressed_body_is_read_within_the_same_size",
    ),
    36: case("a redirect that loses the body", "tests.edges.test_web_abuse::test_no_path_is_redirected"),
    37: case(
        "a burst of pushes",
        "tests.end_to_end.test_fan_out::test_a_burst_of_pushes_ends_on_the_last_and_keeps_all_in_history",
        "tests.edges.test_web_abuse::test_one_hook_has_only_so_many_deliveries_under_way_and_the_others_pass",
        "tests.flow.test_intake::test_a_large_delivery_asks_a_few_questions_at_once",
    ),
    38: case(
        "the end while deliveries are under way",
        "tests.edges.test_web::test_while_draining_new_ones_are_503_and_those_that_are_in_are_answered",
        "tests.end_to_end.test_crashes::test_no_acknowledged_push_is_lost_however_often_the_service_is_killed",
    ),
    39: case(
        "a sender that gives up, or blocks itself, when it is refused",
        "tests.dialects.test_quay::test_any_other_object_is_ignored_for_errors_would_disable_the_notification",
        "tests.dialects.test_google_pubsub::test_what_is_not_for_us_is_acknowledged",
        "tests.flow.test_intake::test_one_image_that_a_registry_trips_over_for_ever_does_not_keep_others_away",
    ),
    # Trust
    40: case(
        "a signature that is wrong, missing, double, empty or of another kind, and two secrets at a time",
        "tests.core.test_authentication::test_any_other_signature_is_refused[missing]",
        "tests.core.test_authentication::test_any_other_signature_is_refused[empty]",
        "tests.core.test_authentication::test_any_other_signature_is_refused[the header twice]",
        "tests.core.test_authentication::test_any_other_signature_is_refused[sha1 where sha256 is wanted]",
        "tests.core.test_authentication::test_who_signs_the_raw_body_is_admitted[digits in upper case]",
        "tests.core.test_authentication::test_during_a_rotation_each_secret_opens",
        "tests.edges.test_web_abuse::test_a_secret_that_is_sent_twice_fits_nobody[signature]",
    ),
    41: case(
        "a proxy that changes the body",
        "tests.core.test_authentication::test_any_other_signature_is_refused[a body with other line ends]",
        "tests.core.test_authentication::test_the_complaint_says_what_is_expected_and_shows_no_secret",
        "tests.edges.test_web_abuse::test_a_signature_is_over_the_body_as_it_came_and_nothing_is_unpacked_without_it",
        "tests.edges.test_web::test_who_has_no_secret_is_not_told_whether_the_body_was_any_good",
    ),
    42: case(
        "a form around the JSON",
        "tests.dialects.test_github::test_a_form_holds_the_same_and_is_what_is_signed",
        "tests.dialects.test_packages::test_a_push[as a form]",
        "tests.dialects.test_packages::test_of_a_form_the_json_inside_is_signed_which_proves_nothing_and_is_told",
        "tests.core.test_authentication::test_a_signature_that_does_not_fit_a_form_may_be_that_of_the_json_inside",
    ),
    43: case(
        "URLs in what a stranger sends",
        "tests.dialects.test_aws_sns::test_a_url_that_is_not_amazons_is_refused",
        "tests.edges.test_signers::test_a_certificate_from_elsewhere_is_not_even_fetched",
        "tests.edges.test_signers::test_nothing_but_a_confirmation_is_asked_for",
        "tests.edges.test_web_abuse::test_elsewhere_it_is_refused_with_what_to_do",
        "tests.flow.test_intake::test_no_payload_makes_us_ask_a_host_of_its_choice",
    ),
    44: case(
        "an old delivery with its true signature, sent by another",
        "tests.flow.test_intake::test_the_registrys_time_orders_pushes[an old hook once more]",
        "tests.flow.test_intake::test_what_is_recorded_moves_nothing_back_where_our_view_is_behind",
        "tests.flow.test_intake::test_a_push_that_an_import_overtook_does_not_move_the_tag_back",
    ),
    45: case(
        "a token for others, of others, expired, or whose keys are nowhere",
        "tests.edges.test_signers::test_everybody_else_is_refused_and_told_why[for somebody else]",
        "tests.edges.test_signers::test_everybody_else_is_refused_and_told_why[another holder]",
        "tests.edges.test_signers::test_everybody_else_is_refused_and_told_why[expired]",
        "tests.edges.test_signers::test_a_new_key_is_found_but_nobody_is_asked_more_than_once_a_minute",
        "tests.edges.test_signers::test_while_there_are_no_keys_the_sender_shall_come_again",
    ),
    46: case(
        "secrets in URLs and headers",
        "tests.edges.test_web::test_no_secret_is_in_the_answer_or_the_log",
        "tests.end_to_end.test_authentication::test_secrets_of_every_kind_open_rotate_and_are_seen_nowhere",
        "tests.cli.test_hook::test_what_a_delivery_carries[query]",
    ),
    47: case(
        "actors with markup, control characters, of any length",
        "tests.dialects.test_odd_bodies::test_whoever_pushed_is_shown_in_bounds",
        "tests.dialects.test_distribution::test_a_push_by_tag[actor with an escape]",
        "tests.core.test_events::test_a_remark_is_bounded_and_printable_whoever_makes_it",
    ),
    # Syntax
    48: case(
        "no JSON, another kind of it, members twice, NaN, depth, bad UTF-8, a byte-order mark",
        "tests.dialects.test_odd_bodies::test_a_body_that_is_nothing_is_told_in_every_dialect[NaN]",
        "tests.dialects.test_odd_bodies::test_a_body_that_is_nothing_is_told_in_every_dialect[a list]",
        "tests.dialects.test_odd_bodies::test_a_body_that_is_nothing_is_told_in_every_dialect[objects in objects]",
        "tests.dialects.test_odd_bodies::test_a_body_that_is_nothing_is_told_in_every_dialect[invalid UTF-8 inside]",
        "tests.dialects.test_odd_bodies::test_of_a_member_that_is_there_twice_the_last_counts",
        "tests.dialects.test_odd_bodies::test_a_number_that_is_none_disturbs_nothing_beside_it",
        "tests.dialects.test_odd_bodies::test_a_byte_order_mark_or_another_unicode_says_the_same[BOM]",
        "tests.edges.test_web::test_garbage_in_no_dialect_is_400",
    ),
    49: case(
        "JSON inside JSON, in either alphabet of base64, padded or not",
        "tests.dialects.test_aws_sns::test_a_push[a list inside]",
        "tests.dialects.test_aws_sns::test_what_is_not_for_us_is_ignored[deep nesting inside]",
        "tests.dialects.test_google_pubsub::test_a_push[without padding]",
        "tests.dialects.test_samples::test_the_pushes_are_those_expected[google-pubsub/insert-tag-url-safe.json]",
    ),
    50: case(
        "a number for the tag, a text for the size, a map for the tags, a float for the time",
        "tests.dialects.test_quay::test_a_bad_tag_is_refused_alone",
        "tests.dialects.test_distribution::test_an_unusable_push_is_refused_alone[tag is a number]",
        "tests.dialects.test_odd_bodies::test_of_a_size_nothing_is_asked",
        "tests.dialects.test_quay::test_every_tag_counts[map]",
        "tests.dialects.test_dockerhub::test_the_time_as_older_payloads_write_it",
        "tests.dialects.test_aws_ecr::test_a_bad_event_is_refused_alone[account is a number]",
    ),
    51: case(
        "digests of another algorithm or length, in capitals, or bare",
        "tests.dialects.test_odd_bodies::test_digests_of_other_kinds",
        "tests.dialects.test_distribution::test_an_unusable_push_is_refused_alone[short digest]",
        "tests.dialects.test_distribution::test_an_unusable_push_is_refused_alone[upper-case digest]",
        "tests.dialects.test_jfrog::test_a_push[as it is]",
        "tests.dialects.test_jfrog::test_an_unusable_push_is_refused[checksum in capitals]",
    ),
    52: case(
        "tags and repositories outside the grammar",
        "tests.dialects.test_distribution::test_an_unusable_push_is_refused_alone[path traversal]",
        "tests.dialects.test_distribution::test_an_unusable_push_is_refused_alone[tag with a slash]",
        "tests.dialects.test_distribution::test_an_unusable_push_is_refused_alone[endless repository]",
        "tests.dialects.test_samples::test_whatever_comes_is_parsed_or_malformed",
    ),
    53: case(
        "references with a port",
        "tests.dialects.test_google_pubsub::test_references_are_taken_apart[a host with a port]",
        "tests.dialects.test_generic::test_a_push[whole reference]",
    ),
    54: case(
        "no type of content, text/plain, with a charset, or another dialect's",
        "tests.dialects.test_odd_bodies::test_where_the_dialect_is_set_the_type_of_content_decides_nothing",
        "tests.dialects.test_distribution::test_recognises[v2, charset]",
        "tests.dialects.test_distribution::test_recognises[a proxy dropped the type]",
    ),
}


def test_no_case_is_missing() -> None:
    assert sorted(CASES) == list(range(1, LAST + 1))


@pytest.mark.parametrize("number", CASES)
def test_each_is_shown_by_tests_that_exist(number: int) -> None:
    found = CASES[number]
    assert found.what
    assert found.tests
    assert [name for name in found.tests if not _is_there(name)] == []


@pytest.mark.parametrize("name", ["::test_nothing", "::test_no_case_is_missing[row]", "::case", ""])
def test_a_name_of_no_test_is_seen(name: str) -> None:
    assert _is_there(f"{__name__}::test_no_case_is_missing")
    assert not _is_there(__name__ + name)


def _is_there(name: str) -> bool:
    module, _, rest = name.partition("::")
    test, bracket, row = rest.partition("[")
    function = getattr(import_module(module), test, None) if test.startswith("test_") else None
    return callable(function) and (not bracket or row.removesuffix("]") in set(_rows(function)))


def _rows(test: Any) -> Iterator[str]:
    """The ids that were given to the rows of a test's tables."""
    for mark in getattr(test, "pytestmark", ()):
        if mark.name == "parametrize":
            ids = mark.kwargs.get("ids")
            for number, values in enumerate(mark.args[1]):
                named = ids(values) if callable(ids) else list(ids)[number] if ids else getattr(values, "id", None)
                yield str(values if named is None else named)
