//! A service of a topology in Rust, which meets services in Python and Rust in the daemon of its machine.
//!
//! `service TOPOLOGY SERVICE` answers each `CounterUpdate` with a `TextMessage` that says where the counter
//! stands now, and leaves after one without a change.

use std::error::Error;

use ringfence::contract::TypedMessage as _;
use ringfence::topology::{self, Route};
use ringfence::{Client, Event, Keep, Publication, Start};

#[path = "../tests/messages/generated.rs"]
#[allow(dead_code)] // a whole contract, of which this service knows two messages
mod generated;
use generated::{CounterUpdate, TextMessage};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [file, service] = &args[..] else { return Err("service TOPOLOGY SERVICE".into()) };
    let topology = topology::load(file)?;
    for other in topology.services() {
        let way = topology.route(service, other)?;
        if !matches!(way, Route::Shm | Route::Local) {
            return Err(format!("{other} is reached by {way}, which needs the bridge").into());
        }
    }

    let client = Client::builder().name(service).connect()?;
    let updates = client.topic_of::<CounterUpdate>()?.subscribe(Start::Newest, Keep::InLog)?;
    let texts = client.topic_of::<TextMessage>()?;
    println!("ready");
    loop {
        let Event::Message(message) = updates.recv(None)? else { continue };
        let update = CounterUpdate::from_bytes(&message.payload)?;
        let content = format!("{} is {}", update.counter_id, update.value + update.delta);
        let text =
            TextMessage { sender: service.clone(), content, timestamp: message.envelope.timestamp };
        texts.publish(&Publication::new(&text.to_bytes()?).type_id(TextMessage::TYPE_ID))?;
        if update.delta == 0 {
            return Ok(());
        }
    }
}
