//! [`Driver`]: what an event loop turns so that the client's futures go on.

use std::fmt;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::sync::Arc;

use crate::client::Client;
use crate::error::Error;
use crate::reactor::Reactor;
use crate::remote::Remote;
use crate::way::Way;

/// What an event loop watches and turns so that [`Client::call_async`] goes on: a descriptor that becomes
/// readable, and [`turn`](Self::turn), to be called then. It stands for all calls of the client, across
/// restarts of the daemon. Dropping it ends the calls that wait.
///
/// With tokio (feature `net`):
///
/// ```
/// use ringfence::{CallOptions, Client};
/// use tokio::io::unix::AsyncFd;
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # let client = ringfence::doctest_client();
/// let driver = AsyncFd::new(client.driver()?)?;
/// let driving = tokio::spawn(async move {
///     loop {
///         let Ok(mut ready) = driver.readable().await else { return };
///         ready.clear_ready();
///         driver.get_ref().turn();
///     }
/// });
/// let echo = client.method("system", "echo")?;
/// assert_eq!(client.call_async(&echo, b"hello", &CallOptions::default()).await?, b"hello");
/// driving.abort();
/// # Ok(())
/// # }
/// ```
///
/// With smol:
///
/// ```
/// use ringfence::CallOptions;
///
/// # fn main() -> Result<(), Box<dyn std::error::Error>> {
/// # smol::block_on(async {
/// # let client = ringfence::doctest_client();
/// let driver = smol::Async::new(client.driver()?)?;
/// let _driving = smol::spawn(async move {
///     while driver.readable().await.is_ok() {
///         driver.get_ref().turn();
///     }
/// });
/// let echo = client.method("system", "echo")?;
/// assert_eq!(client.call_async(&echo, b"hello", &CallOptions::default()).await?, b"hello");
/// # Ok(())
/// # })
/// # }
/// ```
pub struct Driver {
    reactor: Arc<Reactor>,
    /// None in process, where nothing ever waits.
    remote: Option<Arc<Remote>>,
}

impl Driver {
    pub(crate) fn of(client: &Client) -> Result<Self, Error> {
        match client.way() {
            Way::Remote(remote) => {
                let remote = remote.here().clone();
                Ok(Self { reactor: remote.make_reactor()?, remote: Some(remote) })
            }
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => Ok(Self { reactor: Arc::new(Reactor::new()?), remote: None }),
        }
    }

    /// Takes what has come and wakes the tasks that it is for. Never blocks; calling it too often does no
    /// harm.
    ///
    /// ```
    /// let driver = ringfence::doctest_client().driver()?;
    /// driver.turn();
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn turn(&self) {
        if let Some(remote) = &self.remote
            && !remote.stamp.is_child()
        {
            self.reactor.turn(remote);
        }
    }
}

impl Driver {
    /// Makes the descriptor readable, so that the loop calls [`turn`](Self::turn) soon.
    ///
    /// ```
    /// let driver = ringfence::doctest_client().driver()?;
    /// driver.wake();
    /// driver.turn();
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn wake(&self) {
        self.reactor.ring();
    }
}

impl Client {
    /// What an event loop has to watch and to turn for [`call_async`](Self::call_async). A client has
    /// one at a time.
    ///
    /// # Errors
    /// Code `InvalidArgument` if there is one already; out of descriptors.
    ///
    /// ```
    /// let client = ringfence::doctest_client();
    /// client.driver()?.turn();
    /// # Ok::<(), ringfence::Error>(())
    /// ```
    pub fn driver(&self) -> Result<Driver, Error> {
        Driver::of(self)
    }
}

impl AsFd for Driver {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.reactor.as_fd()
    }
}

impl AsRawFd for Driver {
    fn as_raw_fd(&self) -> RawFd {
        self.as_fd().as_raw_fd()
    }
}

impl Drop for Driver {
    fn drop(&mut self) {
        self.reactor.close();
        if let Some(remote) = &self.remote {
            remote.wake_all();
        }
    }
}

impl fmt::Debug for Driver {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Driver").field("fd", &self.as_raw_fd()).finish_non_exhaustive()
    }
}
