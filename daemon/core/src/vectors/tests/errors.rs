//! What is refused, in which words; and that nothing changed.

use super::*;

fn refused<T: std::fmt::Debug>(result: Result<T, Error>, code: ErrorCode, words: &str) {
    let error = result.unwrap_err();
    assert_eq!(error.code, code, "{error}");
    assert!(error.to_string().contains(words), "{words:?} is not in {error}");
}

#[test]
fn create_checks_every_option() {
    use ErrorCode::{AlreadyExists, InvalidArgument};
    let engine = engine(4, Metric::L2);
    let long = "x".repeat(65);
    for (create, code, words) in [
        (api::Create { name: "", ..DEFAULTS }, InvalidArgument, "0 bytes"),
        (api::Create { name: &long, ..DEFAULTS }, InvalidArgument, "65 bytes"),
        (api::Create { name: "a\nb", ..DEFAULTS }, InvalidArgument, "control characters"),
        (api::Create { name: "d", dim: 0, ..DEFAULTS }, InvalidArgument, "dim is 0"),
        (api::Create { name: "d", dim: 4097, ..DEFAULTS }, InvalidArgument, "1 to 4096"),
        (api::Create { name: "d", metric: 3, ..DEFAULTS }, InvalidArgument, "number 3"),
        (api::Create { name: "d", connectivity: 3, ..DEFAULTS }, InvalidArgument, "4 to 64"),
        (api::Create { name: "d", ef_add: 4097, ..DEFAULTS }, InvalidArgument, "ef_add is 4097"),
        (api::Create { name: "d", ef_search: 10_001, ..DEFAULTS }, InvalidArgument, "ef_search"),
        (DEFAULTS, AlreadyExists, "exist_ok=True"),
        (api::Create { dim: 5, exist_ok: true, ..DEFAULTS }, AlreadyExists, "not with dim 5"),
    ] {
        refused(call(&engine, api::CREATE, &create), code, words);
    }
    call(&engine, api::CREATE, &api::Create { exist_ok: true, ..DEFAULTS }).unwrap();
}

#[test]
fn limits_of_an_instance_hold() {
    let engine = Vectors::new(Limits { memory_bytes: 100_000, collections: 1, files: 1 });
    call(&engine, api::CREATE, &DEFAULTS).unwrap();
    let second = call(&engine, api::CREATE, &api::Create { name: "d", ..DEFAULTS });
    refused(second, ErrorCode::TooLarge, "there are 1 collections");
    let ids: Vec<u64> = (0..1000).collect();
    let result = add(&engine, false, &ids, &vec![1.0; 4000]);
    refused(result, ErrorCode::OutOfMemory, "of the 100000 bytes for vectors are in use");
    assert_eq!(count(&engine), 0);
    add(&engine, false, &ids[..10], &[1.0; 40]).unwrap();
}

#[test]
fn an_unknown_collection_is_named_beside_those_that_exist() {
    let engine = Vectors::new(Limits::default());
    refused(search(&engine, &[1.0], 1, false), ErrorCode::UnknownCollection, "none yet");
    for name in ["b", "a"] {
        call(&engine, api::CREATE, &api::Create { name, ..DEFAULTS }).unwrap();
    }
    refused(search(&engine, &[1.0], 1, false), ErrorCode::UnknownCollection, "there are a, b");
    let dropped = call(&engine, api::DROP, &api::Collection { collection: "c" });
    refused(dropped, ErrorCode::UnknownCollection, "\"c\"");
}

#[test]
fn a_batch_with_one_bad_row_adds_nothing() {
    use ErrorCode::{AlreadyExists, InvalidArgument, NotFinite, OutOfRange, WrongDimension};
    let good = [1.0, 2.0, 3.0, 4.0];
    for metric in [Metric::L2, Metric::Cosine, Metric::Dot] {
        let engine = engine(4, metric);
        add(&engine, false, &[7], &good).unwrap();
        let with = |value: f32| [good, [1.0, 2.0, value, 4.0]].concat();
        for (ids, rows, code, words) in [
            (vec![1, 2], with(f32::NAN), NotFinite, "row 1, column 2 is NaN"),
            (vec![1, 2], with(f32::NEG_INFINITY), NotFinite, "row 1, column 2 is -inf"),
            (vec![1, 2], with(2e17), OutOfRange, "row 1, column 2 is 2"),
            (vec![1, 2], vec![1.0; 6], WrongDimension, "row 0 has 3 dimensions"),
            (vec![1, 2], vec![1.0; 7], WrongDimension, "2 ids and 7 numbers"),
            (vec![], vec![1.0; 4], WrongDimension, "0 ids and 4 numbers"),
            (vec![1, u64::MAX], with(1.0), InvalidArgument, "row 1 has id 2^64 - 1"),
            (vec![1, 1], with(1.0), InvalidArgument, "as row 0 and as row 1"),
            (vec![1, 7], with(1.0), AlreadyExists, "row 1 has id 7"),
        ] {
            refused(add(&engine, false, &ids, &rows), code, words);
            assert_eq!(count(&engine), 1);
        }
        let zero = add(&engine, true, &[1, 7], &[good, [0.0; 4]].concat());
        if metric == Metric::Cosine {
            refused(zero, InvalidArgument, "row 1 has length 0");
            assert_eq!(get(&engine, &[1, 7]), (vec![0, 1], good.to_vec()));
        } else {
            assert_eq!(zero, Ok((1, 1)));
        }
    }
}

#[test]
fn a_bad_query_is_refused() {
    let engine = engine(4, Metric::Cosine);
    add(&engine, false, &[7], &[1.0; 4]).unwrap();
    let one = [1.0, 2.0, 3.0, 4.0];
    refused(search(&engine, &one[..3], 1, false), ErrorCode::WrongDimension, "query has 3");
    refused(search(&engine, &[f32::NAN; 4], 1, true), ErrorCode::NotFinite, "query, column 0");
    refused(search(&engine, &[0.0; 4], 1, false), ErrorCode::InvalidArgument, "a direction");
    refused(search(&engine, &one, 0, false), ErrorCode::InvalidArgument, "k is 0: use 1 to 10000");
    refused(search(&engine, &one, 10_001, false), ErrorCode::InvalidArgument, "k is 10001");
    let wide = api::Search { k: 1, ef: 10_001, exact: false, collection: "c", query: &one };
    refused(call(&engine, api::SEARCH, &wide), ErrorCode::InvalidArgument, "ef is 10001");
    for (queries, code, words) in [
        (&[1.0; 9][..], ErrorCode::WrongDimension, "9 numbers are no whole number of queries"),
        (&[1.0, 1.0, 1.0, 1.0, f32::NAN, 1.0, 1.0, 1.0], ErrorCode::NotFinite, "query 1, column 0"),
    ] {
        let batch = api::SearchBatch { k: 1, ef: 0, exact: false, collection: "c", queries };
        refused(call(&engine, api::SEARCH_BATCH, &batch), code, words);
    }
    assert_eq!(stats(&engine).searches, 0);
}

#[test]
fn what_is_too_large_or_makes_no_sense_is_refused() {
    let engine = engine(4096, Metric::L2);
    let ids = vec![1; PAYLOAD_BYTES / (4096 * 4) + 1];
    let much = call(&engine, api::GET, &api::Ids { collection: "c", ids: &ids });
    refused(much, ErrorCode::TooLarge, "ask for less at a time");
    refused(call(&engine, 99, &Nothing {}), ErrorCode::UnknownMethod, "no method 99");
    let mut reply = Vec::new();
    let half = engine.call(api::SEARCH, &mut Call::new(&[1, 2, 3], &mut reply, &Unbounded));
    refused(half, ErrorCode::Malformed, "");
    assert_eq!(engine.cost(api::SEARCH, &[1, 2, 3]), Cost::LIGHT);
}
