//! A defence that no test misses may be none: each is switched off in turn (`disarm.rs` of the protocol), and
//! then the test that attacks it must fail.

use std::collections::BTreeSet;

use ringfence_protocol::disarm::{AROUND, DEFENCES, ENGINES};

use crate::faults::{root, sources};
use crate::skip::skip;
use common::{Disarmed, fail_without};

#[path = "../../../protocol/tests/common/disarmed.rs"]
mod common;

const DISARMED: &[Disarmed] = &[
    (
        "door.descriptors",
        &["scarcity::without_descriptors_the_newcomer_is_told_and_the_others_are_served"],
    ),
    (
        "door.guests",
        &[
            "crowds::connections_that_say_nothing_give_way_the_oldest_first_and_are_told",
            "scarcity::silent_connections_keep_no_descriptor_from_those_that_speak",
        ],
    ),
    ("door.pace", &["crowds::who_connects_again_and_again_waits_for_its_turn"]),
    (
        "door.users",
        &["foreigners::a_user_that_is_not_on_the_list_is_refused_with_a_remedy_and_logged_once"],
    ),
    ("door.nobody", &["namespaces::users_that_the_daemon_cannot_tell_apart_are_refused"]),
    (
        "door.log-once",
        &["foreigners::a_user_that_is_not_on_the_list_is_refused_with_a_remedy_and_logged_once"],
    ),
    ("quota.all-sessions", &["crowds::sessions_are_counted_over_all_users"]),
    ("quota.user-lanes", &["crowds::lanes_are_counted_for_a_user_over_its_sessions"]),
    (
        "quota.in-flight",
        &[
            "crowds::calls_in_flight_are_counted_for_a_user_over_its_sessions",
            "foreigners::calls_in_flight_are_counted_for_each_user",
        ],
    ),
    (
        "quota.topic-bytes",
        &["foreigners::bytes_of_topics_are_counted_for_each_user_that_may_make_some"],
    ),
    (
        "segment.allocated",
        &["scarcity::what_does_not_fit_into_shared_memory_is_refused_with_the_limit"],
    ),
    ("lock.squatted", &["squatters::whatever_is_in_the_locks_place_is_a_refusal_that_names_it"]),
    ("sweep.squatted", &["squatters::whatever_looks_like_a_segment_and_is_none_of_ours_stays"]),
    (
        "folder.squatted",
        &["squatters::a_folder_that_is_not_ours_alone_is_a_refusal_that_names_its_owner"],
    ),
    ("segment.replaced", &["squatters::what_took_the_place_of_a_segment_is_not_handed_over"]),
    ("lock.held", &["spine::a_second_daemon_of_the_same_instance_is_refused_with_its_own_code"]),
    ("name.escaped", &["injected::a_name_forges_no_line_and_steers_no_terminal"]),
    ("board.users", &["foreigners::an_admitted_stranger_is_kept_to_its_own"]),
    ("topic.users", &["foreigners::an_admitted_stranger_is_kept_to_its_own"]),
    (
        "topic.untold",
        &["hostile_topics::who_never_reads_its_control_socket_is_hung_up_when_it_is_cut_off"],
    ),
    ("measures", &["metrics::what_clients_say_outlives_them_and_lies_are_cut"]),
    ("hold.pidfd", &["namespaces::a_pid_that_is_used_again_keeps_nothing_of_the_dead_alive"]),
    ("reap.calls", &["crowds::calls_in_flight_are_counted_for_a_user_over_its_sessions"]),
    ("reap.engines", &["deferred::what_a_dead_session_left_with_an_engine_is_dropped"]),
    ("answer.lane", &["ends::an_answer_to_who_is_gone_reaches_nobody"]),
    ("metrics.places", &["metrics::whoever_hoards_connections_or_says_nothing_locks_nobody_out"]),
    ("metrics.lifetime", &["metrics::whoever_hoards_connections_or_says_nothing_locks_nobody_out"]),
    ("turn.requests", &["turns::a_full_lane_gives_way_after_a_turn"]),
    ("turn.time", &["turns::a_call_that_takes_a_turns_time_is_a_turn"]),
    ("turn.parked", &["turns::a_full_lane_that_is_served_for_its_bell_gives_way"]),
    (
        "turn.hot",
        &[
            "turns::of_one_session_only_so_many_lanes_are_looked_at_unasked",
            "turns::of_one_user_only_so_many_lanes_are_looked_at_unasked",
        ],
    ),
    ("bell.storm", &["bells::who_rings_in_vain_is_not_listened_to_until_the_sweep"]),
    ("worker.turn", &["turns::workers_take_the_sessions_in_turn"]),
    ("worker.share", &["turns::one_session_does_not_get_all_workers"]),
    ("worker.queue", &["turns::what_waits_for_a_worker_is_bounded"]),
    ("engine.panic", &["spine::a_panic_in_place_and_in_a_worker_is_an_error_of_that_call"]),
    ("engine.stack", &["ends::an_engine_may_take_the_stack_that_is_promised"]),
    ("poller.panic", &["ends::a_panic_of_a_poller_ends_the_daemon"]),
    ("poller.watchdog", &["ends::the_watchdog_is_fed_by_the_polling_loop_and_by_nothing_else"]),
];

/// Defences that `ringfence torture` attacks too, and the tests here that miss them.
const ALSO: &[Disarmed] = &[
    ("guest.message", &["hellos::a_hello_that_is_cut_anywhere_is_refused_and_leaves_nothing"]),
    ("guest.layout", &["hellos::a_hello_of_the_other_byte_order_is_refused_as_another_layout"]),
    (
        "guest.digest",
        &["hellos::engines_that_differ_come_with_their_text_and_unknown_ones_are_ignored"],
    ),
    ("quota.sessions", &["crowds::ten_thousand_connects_of_one_user_shut_no_other_out"]),
    ("segment.read-only", &["hostile::segments_of_other_clients_cannot_be_written_through_down"]),
    ("segment.altered", &["hostile::up_made_longer", "hostile::a_bulk_segment_made_longer"]),
    (
        "sweep.lost-bells",
        &["bells::a_bell_that_is_never_rung_costs_a_tenth_of_a_second_and_no_more"],
    ),
    ("reap.pidfd", &["stopped::a_client_is_gone_although_its_child_keeps_the_socket"]),
];

#[test]
fn without_a_defence_its_test_fails() {
    assert!(DISARMED.iter().map(|(switch, _)| switch).eq(AROUND));
    assert!(ALSO.iter().all(|(switch, _)| DEFENCES.contains(switch)));
    fail_without(DISARMED.iter().chain(ALSO), skip);
}

/// A name that is listed and stands nowhere would be missed by its test. This is for the other way round.
#[test]
fn every_switch_that_stands_somewhere_is_listed() {
    let mut found = BTreeSet::new();
    for folder in ["protocol/src", "daemon/src", "daemon/core/src"] {
        sources(&root().join(folder), &mut |_, text| {
            let names = text.split("is_armed(\"").skip(1);
            found.extend(names.filter_map(|rest| Some(rest.split_once('"')?.0.to_owned())));
        });
    }
    let listed = [DEFENCES, AROUND, ENGINES].concat();
    assert_eq!(found.len(), listed.len(), "twice, or not at all");
    assert_eq!(found, listed.into_iter().map(str::to_owned).collect());
}
