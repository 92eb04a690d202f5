//! Which daemon is meant, and where its control socket may be.
//!
//! Order: what the caller names; else `RINGFENCE_TARGET`; else the user's own `default`; else the
//! system's. A socket in the user's own folder is only trusted if its daemon runs as this user or as
//! root: `/tmp` is everybody's. It does *not* connect.

use std::ffi::OsString;
use std::path::PathBuf;

use ringfence_protocol::names::{Instance, RuntimeDir};
use ringfence_protocol::sys::socket::Conn;

use crate::control::socket_error;
use crate::error::Error;

/// What a client is told to connect to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Target {
    /// A daemon by name.
    Instance(Instance),
    /// A daemon by its socket.
    Socket(PathBuf),
    /// The engines inside this process.
    Inproc,
}

/// A place to try.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Candidate {
    /// The control socket.
    pub(crate) path: PathBuf,
    /// Must the daemon run as this user or root?
    pub(crate) own_only: bool,
}

impl Candidate {
    /// Is the daemon at the other end one that this user may trust at this place?
    pub(crate) fn check_owner(&self, conn: &Conn) -> Result<(), Error> {
        let peer = conn.peer_cred().map_err(socket_error)?.uid;
        let own = nix::unistd::geteuid().as_raw();
        if !self.own_only || peer == own || peer == 0 {
            return Ok(());
        }
        Err(Error::PermissionDenied {
            reason: format!(
                "the daemon at {} runs as uid {peer}, this process as {own}: somebody else took this \
                 user's place; name the socket to use it all the same",
                self.path.display()
            ),
        })
    }
}

/// What of the process's surroundings says where daemons are.
#[derive(Clone, Debug, Default)]
pub(crate) struct Surroundings {
    pub(crate) target: Option<String>,
    pub(crate) xdg_runtime_dir: Option<OsString>,
    pub(crate) uid: u32,
}

impl Surroundings {
    pub(crate) fn of_process() -> Self {
        Self {
            target: std::env::var("RINGFENCE_TARGET").ok().filter(|text| !text.is_empty()),
            xdg_runtime_dir: std::env::var_os("XDG_RUNTIME_DIR"),
            uid: nix::unistd::geteuid().as_raw(),
        }
    }

    pub(crate) fn user_dir(&self) -> RuntimeDir {
        RuntimeDir::user(self.xdg_runtime_dir.as_deref(), self.uid)
    }

    /// The user's socket of this instance, then the system's.
    pub(crate) fn candidates(&self, instance: &Instance) -> Vec<Candidate> {
        vec![
            Candidate { path: self.user_dir().control_socket(instance), own_only: true },
            Candidate { path: RuntimeDir::system().control_socket(instance), own_only: false },
        ]
    }
}

impl Target {
    /// An instance name, a path (it has a `/`), or `inproc:`.
    pub(crate) fn parse(text: &str) -> Result<Self, Error> {
        if text == "inproc:" {
            return Ok(Target::Inproc);
        }
        if text.contains('/') {
            return Ok(Target::Socket(text.into()));
        }
        text.parse().map(Target::Instance).map_err(|wrong| {
            Error::invalid(format!(
                "target {text:?} is no instance name ({wrong}), no socket path (these have a `/`), and not `inproc:`"
            ))
        })
    }

    /// What was asked for, or what the process's surroundings say.
    pub(crate) fn resolve(asked: Option<Target>, here: &Surroundings) -> Result<Self, Error> {
        match (asked, &here.target) {
            (Some(target), _) => Ok(target),
            (None, Some(text)) => Target::parse(text),
            (None, None) => Ok(Target::Instance(Instance::default())),
        }
    }

    /// Where to try, in order.
    pub(crate) fn candidates(&self, here: &Surroundings) -> Vec<Candidate> {
        match self {
            Target::Instance(instance) => here.candidates(instance),
            Target::Socket(path) => vec![Candidate { path: path.clone(), own_only: false }],
            Target::Inproc => Vec::new(),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn here(target: Option<&str>) -> Surroundings {
        Surroundings {
            target: target.map(Into::into),
            xdg_runtime_dir: Some("/run/user/7".into()),
            uid: 7,
        }
    }

    #[test]
    fn what_is_asked_for_comes_before_the_environment() {
        let asked = Some(Target::Socket("/a/b".into()));
        assert_eq!(Target::resolve(asked.clone(), &here(Some("prod"))).ok(), asked);
        let by_environment = Target::resolve(None, &here(Some("prod"))).unwrap();
        assert_eq!(by_environment, Target::Instance("prod".parse().unwrap()));
        let default = Target::resolve(None, &here(None)).unwrap();
        assert_eq!(default, Target::Instance(Instance::default()));
    }

    #[test]
    fn the_users_socket_comes_before_the_systems_and_must_be_its_own() {
        let places = Target::Instance(Instance::default()).candidates(&here(None));
        let at = |path: &str, own_only| Candidate { path: path.into(), own_only };
        assert_eq!(
            places,
            [
                at("/run/user/7/ringfence/default/control.sock", true),
                at("/run/ringfence/default/control.sock", false)
            ]
        );
    }

    #[test]
    fn a_text_is_a_path_a_name_or_inproc() {
        assert_eq!(Target::parse("inproc:").unwrap(), Target::Inproc);
        assert_eq!(Target::parse("./x").unwrap(), Target::Socket("./x".into()));
        let refused = Target::parse("No Spaces").unwrap_err().to_string();
        assert!(refused.contains("No Spaces") && refused.contains("inproc:"), "{refused}");
    }
}
