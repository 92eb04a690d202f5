//! The extension module `ringfence_inproc._inproc`: the client of `ringfence._core` with the
//! compute core linked in.
//!
//! The modules are those of `client-py/src`, compiled against client-rs with feature `inproc`; own
//! are only `target` and `bus`. A separate package, so that `ringfence._core` stays small and
//! holds no engine.

#[path = "../../src/batch.rs"]
mod batch;
#[path = "../../src/buffer.rs"]
mod buffer;
mod bus;
#[path = "../../src/client.rs"]
mod client;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/message.rs"]
mod message;
#[path = "../../src/method.rs"]
mod method;
#[path = "../../src/pack.rs"]
mod pack;
#[path = "../../src/pending.rs"]
mod pending;
mod target;
#[path = "../../src/topic.rs"]
mod topic;
#[path = "../../src/unpack.rs"]
mod unpack;
#[path = "../../src/wait.rs"]
mod wait;

/// Native half of the Python package `ringfence_inproc`; not an API.
#[pyo3::pymodule(gil_used = false)]
mod _inproc {
    #[pymodule_export]
    use crate::buffer::{Loan, View};
    #[pymodule_export]
    use crate::bus::{Subscription, Topic};
    #[pymodule_export]
    use crate::client::Client;
    #[pymodule_export]
    use crate::error::error_table;
    #[pymodule_export]
    use crate::method::Method;
    #[pymodule_export]
    use crate::pack::Layout;
    #[pymodule_export]
    use crate::pending::Pending;

    #[pymodule_export]
    #[allow(non_upper_case_globals)] // the name that Python programs look for
    const __version__: &str = env!("CARGO_PKG_VERSION");
}
