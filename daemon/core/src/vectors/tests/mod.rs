//! Tests.

use super::*;
use crate::engine::Unbounded;

fn call<'m, M: Message<'m>>(engine: &Vectors, op: u16, message: &M) -> Result<Vec<u8>, Error> {
    let (mut request, mut reply) = (Vec::new(), Vec::new());
    message.encode(&mut request);
    engine.call(op, &mut Call::new(&request, &mut reply, &Unbounded))?;
    Ok(reply)
}

#[test]
fn a_row_is_found_where_it_was_put() {
    let engine = Vectors::new(Limits::default());
    let create = api::Create {
        dim: 2,
        metric: 0,
        exist_ok: false,
        connectivity: 0,
        ef_add: 0,
        ef_search: 0,
        name: "a",
    };
    call(&engine, api::CREATE, &create).unwrap();
    let ids: Vec<u64> = (0..1000).collect();
    let rows: Vec<f32> = ids.iter().flat_map(|id| [*id as f32, 1.0]).collect();
    call(&engine, api::ADD, &api::Add { upsert: false, collection: "a", ids: &ids, rows: &rows })
        .unwrap();
    for exact in [false, true] {
        let search = api::Search { k: 3, ef: 0, exact, collection: "a", query: &[500.2, 1.0] };
        let reply = call(&engine, api::SEARCH, &search).unwrap();
        assert_eq!(api::Hits::decode(&reply).unwrap().ids, [500, 501, 499]);
    }
}
