//! Where a client's calls go: to a daemon, or to the engines inside this process.

use std::sync::Arc;

use ringfence_protocol::names::Instance;

use crate::autostart::{Autostart, instance_of};
use crate::error::Error;
#[cfg(feature = "inproc")]
use crate::inproc::Inproc;
use crate::options::Builder;
use crate::remote::Remote;
use crate::target::{Surroundings, Target};

/// Where calls go.
pub(crate) enum Way {
    Remote(Arc<Remote>),
    #[cfg(feature = "inproc")]
    Inproc(Inproc),
}

impl Way {
    /// Goes there for the first time.
    pub(crate) fn connect(builder: Builder) -> Result<Self, Error> {
        let way = Self::find(builder)?;
        match &way {
            Way::Remote(remote) => remote.connect()?,
            #[cfg(feature = "inproc")]
            Way::Inproc(_) => {}
        }
        Ok(way)
    }

    /// Finds out where to go.
    pub(crate) fn find(builder: Builder) -> Result<Self, Error> {
        let here = Surroundings::of_process();
        let unnamed = builder.target.is_none() && here.target.is_none();
        let own = builder.daemon.as_deref().filter(|_| unnamed).map(instance_of);
        let asked = builder.target.clone().or(own.map(Target::Instance));
        match Target::resolve(asked, &here)? {
            Target::Inproc => inproc(builder),
            target => Ok(Way::Remote(remote(builder, &target, &here, unnamed))),
        }
    }
}

fn remote(builder: Builder, target: &Target, here: &Surroundings, unnamed: bool) -> Arc<Remote> {
    let candidates = target.candidates(here);
    // Never an empty private daemon in place of a system daemon that is restarting.
    let system_socket = candidates.iter().any(|place| !place.own_only && place.path.exists());
    let (wanted, instance) = match (builder.daemon, target) {
        (Some(binary), Target::Instance(instance)) => (Some(Some(binary)), instance.clone()),
        _ => (builder.autostart.filter(|_| unnamed), Instance::default()),
    };
    let autostart = wanted.filter(|_| !system_socket && Autostart::is_allowed()).map(|binary| {
        Autostart { binary, runtime_dir: here.user_dir().path().to_owned(), instance }
    });
    Arc::new(Remote::new(builder.settings, candidates, autostart))
}

#[cfg(feature = "inproc")]
fn inproc(builder: Builder) -> Result<Way, Error> {
    Inproc::new(builder.registry, builder.state_dir).map(Way::Inproc)
}

#[cfg(not(feature = "inproc"))]
fn inproc(_builder: Builder) -> Result<Way, Error> {
    Err(Error::Unavailable {
        tried: "target `inproc:`, but this build has no engines in it (cargo feature `inproc`; \
                in Python `pip install ringfence[inproc]`)"
            .into(),
    })
}
