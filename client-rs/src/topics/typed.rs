//! Topics by the type of their messages: no name, no sizes.

use ringfence_protocol::contract::{self, TypedMessage};

use super::Topic;
use crate::client::Client;
use crate::error::Error;

impl Client {
    /// The topic of a type of message; it is made if there is none. `ringfence.Runtime` in Python
    /// publishes and subscribes there, too.
    ///
    /// # Errors
    /// As [`topic`](Self::topic).
    ///
    /// ```
    /// # mod generated { include!(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/messages/generated.rs")); }
    /// # use generated::CounterUpdate;
    /// use ringfence::contract::TypedMessage as _;
    /// use ringfence::{Event, Keep, Publication, Start};
    ///
    /// let counters = ringfence::doctest_client().topic_of::<CounterUpdate>()?;
    /// let subscription = counters.subscribe(Start::Newest, Keep::InLog)?;
    /// let update = CounterUpdate { counter_id: 1, value: 100, delta: 5 };
    /// let bytes = update.to_bytes()?;
    /// counters.publish(&Publication::new(&bytes).type_id(CounterUpdate::TYPE_ID))?;
    /// let Event::Message(message) = subscription.recv(None)? else { unreachable!() };
    /// assert_eq!(CounterUpdate::from_bytes(&message.payload)?, update);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn topic_of<M: TypedMessage>(&self) -> Result<Topic, Error> {
        let (name, options) = contract::topic(M::TYPE_ID, M::SIZE);
        self.topic(&name, options)
    }
}
