//! Topics for tasks of an event loop: the same calls, awaitable on any runtime that turns the client's
//! [`Driver`](crate::Driver). It decides nothing that the blocking half does not.

use std::future::Future;

use ringfence_protocol::log::{Keep, Position, Start, TopicOptions};

use super::remote::RemoteTopic;
use super::{Inner, Publication, Subscription, Topic};
use crate::client::Client;
use crate::error::Error;
use crate::options::CallOptions;
use crate::way::Way;

impl Client {
    /// [`topic`](Self::topic) as a future; with `None` [`find_topic`](Self::find_topic).
    ///
    /// # Errors
    /// The future's: as these.
    pub fn topic_async(
        &self,
        name: &str,
        options: Option<TopicOptions>,
    ) -> impl Future<Output = Result<Topic, Error>> + Send + use<> {
        let (client, name) = (self.clone(), name.to_owned());
        async move {
            if let Some(options) = options {
                options.geometry().map_err(|wrong| Error::invalid(wrong.to_string()))?;
            }
            match client.way() {
                Way::Remote(remote) => {
                    let remote = remote.here().clone();
                    let topic = RemoteTopic::open_async(client.clone(), remote, name, options);
                    Ok(Topic { inner: Inner::Remote(topic.await?) })
                }
                #[cfg(feature = "inproc")]
                Way::Inproc(_) => match options {
                    Some(options) => client.topic(&name, options),
                    None => client.find_topic(&name),
                },
            }
        }
    }
}

impl Topic {
    /// [`publish`](Self::publish) as a future.
    ///
    /// # Errors
    /// The future's: as [`publish`](Self::publish).
    pub fn publish_async(
        &self,
        message: &Publication<'_>,
        options: &CallOptions,
    ) -> impl Future<Output = Result<Position, Error>> + Send + use<> {
        let published = match &self.inner {
            Inner::Remote(remote) => {
                let handle = remote.handle();
                let bytes = message.encoded(handle, <[u8]>::to_vec);
                // The handle stands first; another run of the daemon has another one.
                let request = move |topic: u64| {
                    let mut bytes = bytes.clone();
                    bytes[..8].copy_from_slice(&topic.to_le_bytes());
                    bytes
                };
                Ok(remote.clone().publish_async(remote.method(message).clone(), request, *options))
            }
            #[cfg(feature = "inproc")]
            Inner::Inproc(_) => Err(self.publish(message)),
        };
        async move {
            match published {
                Ok(published) => published.await,
                Err(published) => published,
            }
        }
    }

    /// [`subscribe`](Self::subscribe) as a future.
    ///
    /// # Errors
    /// The future's: as [`subscribe`](Self::subscribe).
    pub fn subscribe_async(
        &self,
        start: Start,
        keep: Keep,
    ) -> impl Future<Output = Result<Subscription, Error>> + Send + use<> {
        let topic = self.clone();
        async move {
            match &topic.inner {
                Inner::Remote(remote) => {
                    Subscription::remote_async(remote.clone(), start, keep).await
                }
                #[cfg(feature = "inproc")]
                Inner::Inproc(_) => topic.subscribe(start, keep),
            }
        }
    }
}
