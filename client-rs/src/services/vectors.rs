//! The vectors engine, typed.

use crate::client::Client;

/// The vectors engine of a client.
#[derive(Clone, Debug)]
pub struct Vectors {
    client: Client,
}

impl Vectors {
    pub(crate) fn new(client: Client) -> Self {
        Self { client }
    }
    /// The client.
    #[must_use]
    pub fn client(&self) -> &Client {
        &self.client
    }
}
