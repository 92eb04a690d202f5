//! The extension module `ringfence._core`: the Python client, with no engine in it.
//!
//! It translates between Python objects and client-rs and decides nothing. The modules beside this
//! file, but `aio` and `topology`, are compiled a second time into `ringfence_inproc._inproc`, with a
//! `target` of its own, which is what a new client connects to, and a bus.

mod aio;
mod batch;
mod buffer;
mod client;
mod error;
mod message;
mod method;
mod pack;
mod pending;
mod target;
mod topic;
mod topology;
mod unpack;
mod wait;

/// Native half of the Python package `ringfence`; not an API.
#[pyo3::pymodule(gil_used = false)]
mod _core {
    use pyo3::prelude::*;

    #[pymodule_export]
    use crate::aio::{AsyncCall, AsyncClient};
    #[pymodule_export]
    use crate::buffer::{Loan, View};
    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::error::error_table;
    #[pymodule_export]
    use crate::message::{Counts, Message, Position, TopicStats};
    #[pymodule_export]
    use crate::method::Method;
    #[pymodule_export]
    use crate::pack::Layout;
    #[pymodule_export]
    use crate::pending::Pending;
    #[pymodule_export]
    use crate::topic::{Subscription, Topic};
    #[pymodule_export]
    use crate::topology::Topology;

    /// Bytes of payloads over 64 KiB that the clients of this process have copied so far.
    #[pyfunction]
    fn copied_bytes() -> u64 {
        ringfence::copied_bytes()
    }

    /// Name, slots, bytes of a payload, blocks and their bytes of the topic of a type of message.
    #[pyfunction]
    fn message_topic(type_id: u16, longest: usize) -> (String, u32, usize, u32, u32) {
        let (name, options) = ringfence::contract::topic(type_id, longest);
        (name, options.slots, options.payload_bytes, options.blocks, options.block_bytes)
    }

    #[pymodule_export]
    #[allow(non_upper_case_globals)] // the name that Python programs look for
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
