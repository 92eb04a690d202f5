//! Where metrics are served: a Unix socket or a loopback port, and nothing else.
//!
//! Metrics name users, methods and loads; they leave the machine only if somebody carries them out. So
//! there is no way to write an address that others can reach. It opens nothing.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::path::PathBuf;

use serde::{Deserialize, Serialize};

use super::load::SOCKET_PATH_MAX;

const RULE: &str = "an absolute path, or a loopback port: \"127.0.0.1:9464\" or \"[::1]:9464\"";

/// A place that only this machine can reach.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum MetricsAddress {
    /// A Unix socket.
    Unix(PathBuf),
    /// 127.0.0.1 or ::1.
    Loopback(SocketAddr),
}

impl TryFrom<String> for MetricsAddress {
    type Error = String;

    fn try_from(text: String) -> Result<Self, String> {
        if text.starts_with('/') && !text.ends_with('/') && !text.contains('\0') {
            if text.len() > SOCKET_PATH_MAX {
                let length = text.len();
                return Err(format!("a path of at most {SOCKET_PATH_MAX} bytes, it has {length}"));
            }
            return Ok(Self::Unix(text.into()));
        }
        let address: SocketAddr = text.parse().map_err(|_| RULE.to_owned())?;
        let loopback = match address.ip() {
            IpAddr::V4(ip) => ip == Ipv4Addr::LOCALHOST,
            IpAddr::V6(ip) => ip == Ipv6Addr::LOCALHOST,
        };
        if !loopback {
            return Err(format!(
                "{RULE}; metrics do not leave the machine: let a scraper on it, or \
                                a proxy that asks who is there, carry them"
            ));
        }
        if address.port() == 0 {
            return Err(format!("{RULE}; port 0 would be another one at each start"));
        }
        Ok(Self::Loopback(address))
    }
}

impl From<MetricsAddress> for String {
    fn from(address: MetricsAddress) -> Self {
        address.to_string()
    }
}

impl fmt::Display for MetricsAddress {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unix(path) => path.display().fmt(f),
            Self::Loopback(address) => address.fmt(f),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_this_machine_alone_reaches_is_an_address() {
        for text in ["/run/ringfence/default/metrics.sock", "127.0.0.1:9464", "[::1]:9464"] {
            let address = MetricsAddress::try_from(text.to_owned()).unwrap();
            assert_eq!(String::from(address), text);
        }
        for (text, want) in [
            ("0.0.0.0:9464", "do not leave the machine"),
            ("[::]:9464", "do not leave the machine"),
            ("192.168.1.2:9464", "do not leave the machine"),
            ("127.0.0.2:9464", "do not leave the machine"),
            ("[::ffff:127.0.0.1]:9464", "do not leave the machine"),
            ("127.0.0.1:0", "port 0"),
            ("localhost:9464", "an absolute path"),
            ("9464", "an absolute path"),
            ("metrics.sock", "an absolute path"),
            ("/run/", "an absolute path"),
            ("", "an absolute path"),
        ] {
            let error = MetricsAddress::try_from(text.to_owned()).unwrap_err();
            assert!(error.contains(want), "{text}: {error}");
        }
        let long = format!("/{}", "d".repeat(200));
        assert!(MetricsAddress::try_from(long).unwrap_err().contains("at most 107 bytes"));
    }
}
