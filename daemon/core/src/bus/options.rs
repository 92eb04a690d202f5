//! A message on its way into a topic.

/// A message to be published.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Outgoing<'p> {
    /// What the payload is: a number of the message schema. Any number is delivered.
    pub type_id: u16,
    /// The payload.
    pub payload: &'p [u8],
    /// Who publishes.
    pub publisher: u64,
    /// A trace id; 0 = none.
    pub trace: u128,
    /// What it answers or belongs to; 0 = none.
    pub correlation: u128,
    /// Is it an error if nobody has subscribed?
    pub must_be_heard: bool,
}
