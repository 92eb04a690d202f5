//! Each defence of an engine is switched off in turn (`disarm.rs` of the protocol), and then the test that attacks it
//! must fail.

use ringfence_protocol::disarm::ENGINES;

use common::{Disarmed, fail_without};

#[path = "../../../protocol/tests/common/disarmed.rs"]
mod common;

const DISARMED: &[Disarmed] = &[
    ("topic.count", &["bus::tests::starts::limits_are_errors_with_their_numbers"]),
    ("topic.bytes", &["bus::tests::starts::limits_are_errors_with_their_numbers"]),
    ("topic.subscriptions", &["bus::tests::starts::limits_are_errors_with_their_numbers"]),
    (
        "topic.departed",
        &[
            "bus::tests::elsewhere::who_ended_and_holds_messages_counts_and_is_forgotten_when_it_lets_go",
        ],
    ),
    ("topic.open-number", &["bus::tests::engine::a_number_that_is_open_is_nobody_elses"]),
    ("topic.queue", &["bus::tests::queue::what_waits_is_bounded_in_bytes_and_in_number"]),
    ("topic.look", &["bus::tests::queue::a_look_lets_a_bounded_number_go_on"]),
    ("serving.name", &["serving::tests::who_may_serve_what"]),
    ("serving.reserved", &["serving::tests::who_may_serve_what"]),
    ("serving.users", &["serving::tests::who_may_serve_what"]),
    ("serving.handle", &["serving::tests::only_who_took_a_request_answers_it"]),
    ("serving.request", &["serving::tests::only_who_took_a_request_answers_it"]),
    ("serving.names", &["serving::tests::names_are_bounded"]),
    ("serving.handles", &["serving::tests::everything_is_bounded"]),
    ("serving.takes", &["serving::tests::everything_is_bounded"]),
    ("serving.running", &["serving::tests::everything_is_bounded"]),
    ("serving.queue", &["serving::tests::everything_is_bounded"]),
    ("serving.bytes", &["serving::tests::everything_is_bounded"]),
];

#[cfg(feature = "vectors")]
const OF_VECTORS: &[Disarmed] = &[
    ("vectors.options", &["vectors::tests::errors::create_checks_every_option"]),
    ("vectors.values", &["vectors::tests::errors::a_batch_with_one_bad_row_adds_nothing"]),
    ("vectors.length", &["vectors::tests::errors::a_batch_with_one_bad_row_adds_nothing"]),
    ("vectors.ids", &["vectors::tests::errors::a_batch_with_one_bad_row_adds_nothing"]),
    ("vectors.k", &["vectors::tests::errors::a_bad_query_is_refused"]),
    ("vectors.reply", &["vectors::tests::errors::what_is_too_large_or_makes_no_sense_is_refused"]),
    ("vectors.memory", &["vectors::tests::errors::limits_of_an_instance_hold"]),
    ("vectors.collections", &["vectors::tests::errors::limits_of_an_instance_hold"]),
    ("vectors.files", &["vectors::tests::saving::limits_hold_for_files"]),
    ("vectors.file-bytes", &["vectors::tests::saving::limits_hold_for_files"]),
    (
        "vectors.checksum",
        &[
            "vectors::tests::saving::a_file_that_is_not_whole_is_refused_whatever_is_missing_or_changed",
        ],
    ),
];
#[cfg(not(feature = "vectors"))]
const OF_VECTORS: &[Disarmed] = &[];

#[test]
fn without_a_defence_its_test_fails() {
    let listed =
        ENGINES.iter().filter(|name| cfg!(feature = "vectors") || !name.starts_with("vectors."));
    let all = || DISARMED.iter().chain(OF_VECTORS);
    assert!(all().map(|(switch, _)| switch).eq(listed));
    fail_without(all(), |skipped| panic!("{skipped} skipped"));
}
