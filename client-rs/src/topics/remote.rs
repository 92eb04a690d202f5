//! A topic in a daemon: its handle there, which another run of the daemon does not know.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use parking_lot::Mutex;
use ringfence_protocol::api::bus as api;
use ringfence_protocol::error::ErrorCode;
use ringfence_protocol::log::{Policy, Position, TopicOptions};
use ringfence_protocol::message::Message;

use super::publish::sequence;
use super::{Publication, TopicStats};
use crate::client::Client;
use crate::error::Error;
use crate::method::Method;
use crate::options::CallOptions;
use crate::pending::Pending;
use crate::remote::Remote;
use crate::reply::Reply;

/// The engine's methods.
#[derive(Debug)]
pub(crate) struct Methods {
    open: Method,
    publish: Method,
    publish_traced: Method,
    publish_many: Method,
    stats: Method,
}

impl Default for Methods {
    fn default() -> Self {
        let method = |name| Method::unresolved(api::NAME, name);
        Self {
            open: method("open"),
            publish: Method::in_order(api::NAME, "publish"),
            publish_traced: Method::in_order(api::NAME, "publish_traced"),
            publish_many: method("publish_many"),
            stats: method("stats"),
        }
    }
}

/// A topic of the daemon.
#[derive(Clone, Debug)]
pub(crate) struct RemoteTopic {
    pub(super) client: Client,
    remote: Arc<Remote>,
    methods: Arc<Methods>,
    shared: Arc<Shared>,
}

#[derive(Debug)]
struct Shared {
    name: String,
    /// Asked for; `None`: as it is.
    asked: Option<TopicOptions>,
    opened: Mutex<api::Opened>,
    /// The handle in it, for each message that is posted.
    handle: AtomicU64,
}

impl Shared {
    fn set(&self, opened: api::Opened) {
        *self.opened.lock() = opened;
        self.handle.store(opened.topic, Relaxed);
    }
}

impl RemoteTopic {
    pub(super) fn open(
        client: &Client,
        remote: &Arc<Remote>,
        name: &str,
        asked: Option<TopicOptions>,
    ) -> Result<Self, Error> {
        let opened = open(client, &client.bus_methods(), name, asked)?;
        Ok(Self::opened(client, remote, name, asked, opened))
    }

    fn opened(
        client: &Client,
        remote: &Arc<Remote>,
        name: &str,
        asked: Option<TopicOptions>,
        opened: api::Opened,
    ) -> Self {
        let methods = client.bus_methods();
        let handle = AtomicU64::new(opened.topic);
        let shared = Shared { name: name.to_owned(), asked, opened: Mutex::new(opened), handle };
        let (client, remote) = (client.clone(), remote.clone());
        Self { client, remote, methods, shared: Arc::new(shared) }
    }

    /// As [`open`](Self::open), for tasks.
    pub(super) async fn open_async(
        client: Client,
        remote: Arc<Remote>,
        name: String,
        asked: Option<TopicOptions>,
    ) -> Result<Self, Error> {
        let (methods, request) = (client.bus_methods(), open_request(&name, asked)?);
        let reply = client.call_async(&methods.open, request, &CallOptions::default()).await?;
        let opened = api::Opened::decode(&reply)?;
        Ok(Self::opened(&client, &remote, &name, asked, opened))
    }

    /// As [`call`](Self::call), for tasks.
    pub(super) async fn call_async(
        &self,
        method: &Method,
        request: impl Fn(u64) -> Vec<u8>,
        options: &CallOptions,
    ) -> Result<(api::Opened, Reply), Error> {
        let opened = self.now();
        let first = self.client.call_async(method, request(opened.topic), options).await;
        match first {
            Err(error) if error.code() == ErrorCode::UnknownTopic => {
                let again = open_request(&self.shared.name, self.shared.asked)?;
                let reply = self.client.call_async(&self.methods.open, again, options).await?;
                let opened = api::Opened::decode(&reply)?;
                self.shared.set(opened);
                let second = self.client.call_async(method, request(opened.topic), options).await;
                Ok((opened, second?))
            }
            done => Ok((opened, done?)),
        }
    }

    /// As [`publish`](Self::publish), for tasks.
    pub(super) async fn publish_async(
        self,
        method: Method,
        request: impl Fn(u64) -> Vec<u8>,
        options: CallOptions,
    ) -> Result<Position, Error> {
        let (opened, reply) = self.call_async(&method, request, &options).await?;
        Ok(Position { epoch: opened.epoch, sequence: sequence(&reply)? })
    }

    /// The way to the daemon, of this process.
    pub(super) fn remote(&self) -> &Arc<Remote> {
        self.remote.here()
    }

    pub(super) fn name(&self) -> &str {
        &self.shared.name
    }

    pub(super) fn options(&self) -> TopicOptions {
        let opened = self.now();
        let patience = Duration::from_millis(opened.patience_ms.into());
        let policy = match opened.policy {
            api::OVERWRITE => Policy::Overwrite,
            api::REJECT => Policy::Reject,
            _ => Policy::Block { patience },
        };
        let api::Opened { slots, payload_bytes, blocks, block_bytes, .. } = opened;
        let payload_bytes = payload_bytes as usize;
        TopicOptions { policy, slots, payload_bytes, blocks, block_bytes }
    }

    /// What the daemon said of it last.
    #[inline]
    fn now(&self) -> api::Opened {
        *self.shared.opened.lock()
    }

    pub(super) fn epoch(&self) -> u64 {
        self.now().epoch
    }

    #[inline]
    pub(super) fn handle(&self) -> u64 {
        self.shared.handle.load(Relaxed)
    }

    /// The daemon does not know the handle: it has started anew. Opens the topic there.
    #[cold]
    pub(super) fn open_again(&self) -> Result<api::Opened, Error> {
        let opened = open(&self.client, &self.methods, &self.shared.name, self.shared.asked)?;
        self.shared.set(opened);
        Ok(opened)
    }

    /// Runs a call that names the topic; once more if the daemon has started anew, which has no effect.
    #[inline]
    pub(super) fn call<T>(
        &self,
        run: impl Fn(u64) -> Result<T, Error>,
    ) -> Result<(api::Opened, T), Error> {
        let opened = self.now();
        match run(opened.topic) {
            Err(error) if error.code() == ErrorCode::UnknownTopic => {
                let opened = self.open_again()?;
                Ok((opened, run(opened.topic)?))
            }
            done => Ok((opened, done?)),
        }
    }

    #[inline]
    pub(super) fn method(&self, message: &Publication<'_>) -> &Method {
        if message.has_ids() { &self.methods.publish_traced } else { &self.methods.publish }
    }

    #[inline]
    pub(super) fn publish(
        &self,
        message: &Publication<'_>,
        options: &CallOptions,
    ) -> Result<Position, Error> {
        let method = self.method(message);
        let (opened, reply) = self.call(|topic| {
            message.encoded(topic, |bytes| self.client.call(method, bytes, options))
        })?;
        Ok(Position { epoch: opened.epoch, sequence: sequence(&reply)? })
    }

    pub(super) fn method_of_many(&self) -> &Method {
        &self.methods.publish_many
    }

    /// How long a publish may take.
    pub(super) fn publish_timeout(&self, options: &CallOptions) -> Option<Duration> {
        self.methods.publish.timeout(options.timeout)
    }

    #[inline]
    pub(super) fn request<T>(
        &self,
        message: &Publication<'_>,
        send: impl FnOnce(&Client, &Method, &[u8]) -> T,
    ) -> T {
        let method = self.method(message);
        message.encoded(self.handle(), |bytes| send(&self.client, method, bytes))
    }

    pub(super) fn submit(&self, message: &Publication<'_>) -> Result<Pending, Error> {
        let (method, options) = (self.method(message), CallOptions::default());
        message.encoded(self.handle(), |bytes| self.client.submit(method, bytes, &options))
    }

    pub(super) fn stats(&self) -> Result<TopicStats, Error> {
        let (_, reply) = self.call(|topic| {
            let mut request = Vec::with_capacity(8);
            api::Topic { topic }.encode(&mut request);
            self.client.call(&self.methods.stats, &request, &CallOptions::default())
        })?;
        let api::Stats { published, subscriptions, waiting } = api::Stats::decode(&reply)?;
        Ok(TopicStats { published, subscriptions, waiting })
    }
}

fn open(
    client: &Client,
    methods: &Methods,
    name: &str,
    asked: Option<TopicOptions>,
) -> Result<api::Opened, Error> {
    let request = open_request(name, asked)?;
    let reply = client.call(&methods.open, &request, &CallOptions::default())?;
    Ok(api::Opened::decode(&reply)?)
}

fn open_request(name: &str, asked: Option<TopicOptions>) -> Result<Vec<u8>, Error> {
    let slots = asked.map_or(0, |options| options.slots);
    let options = asked.unwrap_or_default();
    let (policy, patience) = match options.policy {
        Policy::Overwrite => (api::OVERWRITE, Duration::ZERO),
        Policy::Block { patience } => (api::BLOCK, patience),
        Policy::Reject => (api::REJECT, Duration::ZERO),
    };
    let asked = api::Open {
        slots,
        payload_bytes: fits(options.payload_bytes, "payload_bytes")?,
        blocks: options.blocks,
        block_bytes: options.block_bytes,
        patience_ms: fits(patience.as_millis(), "the patience in milliseconds")?,
        policy,
        name,
    };
    let mut request = Vec::new();
    asked.encode(&mut request);
    Ok(request)
}

fn fits<T: TryInto<u32> + std::fmt::Display + Copy>(value: T, what: &str) -> Result<u32, Error> {
    value.try_into().map_err(|_| Error::invalid(format!("{what}: {value} is above {}", u32::MAX)))
}
