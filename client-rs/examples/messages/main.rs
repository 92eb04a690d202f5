//! The example of docs/messages.md: a message to bytes and back. `messages.rs` beside this file was made
//! by `ringfence codegen contracts.yaml --lang rust --out messages.rs`.

mod messages;

use messages::Order;
use ringfence::contract::{Decimal, Invalid, TypedMessage as _, Uuid};

fn main() -> Result<(), Invalid> {
    let mut order = Order {
        id: Uuid([7; 16]),
        customer: "Ada".into(),
        price: Decimal { digits: 1250, scale: 2 },
        items: vec![4711],
        note: None,
    };
    let bytes = order.to_bytes()?;
    assert_eq!((bytes.len(), Order::SIZE, Order::TYPE_ID), (200, 200, 1001));
    assert_eq!(Order::from_bytes(&bytes)?, order);

    order.customer.clear();
    let error = order.to_bytes().err().map(|error| error.to_string());
    assert_eq!(error.as_deref(), Some("Order.customer: length 0 breaks the rule not_empty"));
    Ok(())
}
