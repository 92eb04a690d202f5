//! Random changes, against a map.

use std::collections::BTreeSet;

use proptest::collection::vec;
use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
enum Change {
    Add { upsert: bool, ids: Vec<u64> },
    Delete { ids: Vec<u64> },
}

fn change() -> impl Strategy<Value = Change> {
    // Few ids, so that they meet often.
    let ids = || vec(0..60u64, 0..40);
    prop_oneof![
        (any::<bool>(), ids()).prop_map(|(upsert, ids)| Change::Add { upsert, ids }),
        ids().prop_map(|ids| Change::Delete { ids }),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig {
        cases: 60,
        failure_persistence: None,
        ..ProptestConfig::default()
    })]

    #[test]
    fn a_collection_is_a_map(changes in vec(change(), 1..30), seed in 1..u64::MAX) {
        let engine = engine(2, Metric::L2);
        let mut model: BTreeMap<u64, [f32; 2]> = BTreeMap::new();
        let mut random = Random(seed);
        for change in changes {
            match change {
                Change::Add { upsert, ids } => {
                    let rows: Vec<[f32; 2]> =
                        ids.iter().map(|_| [random.next(), random.next()]).collect();
                    let mut next = model.clone();
                    next.extend(ids.iter().copied().zip(rows.iter().copied()));
                    let twice = BTreeSet::from_iter(&ids).len() < ids.len();
                    let there = ids.iter().filter(|id| model.contains_key(id)).count() as u64;
                    let outcome = add(&engine, upsert, &ids, rows.as_flattened());
                    if twice || (there > 0 && !upsert) {
                        prop_assert!(outcome.is_err());
                    } else {
                        prop_assert_eq!(outcome, Ok((ids.len() as u64 - there, there)));
                        model = next;
                    }
                }
                Change::Delete { ids } => {
                    let before = model.len();
                    model.retain(|id, _| !ids.contains(id));
                    prop_assert_eq!(delete(&engine, &ids), (before - model.len()) as u64);
                }
            }
            prop_assert_eq!(count(&engine), model.len() as u64);
        }
        let all: Vec<u64> = (0..60).collect();
        let (found, rows) = get(&engine, &all);
        let there: Vec<u8> = all.iter().map(|id| u8::from(model.contains_key(id))).collect();
        prop_assert_eq!(found, there);
        prop_assert_eq!(rows, model.values().flatten().copied().collect::<Vec<_>>());
        for exact in [false, true] {
            let mut ids = search(&engine, &[0.5, 0.5], 100, exact).unwrap().ids;
            ids.sort_unstable();
            prop_assert!(ids.iter().eq(model.keys()));
        }
    }
}
