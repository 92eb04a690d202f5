//! What nodes may not say together.

use std::collections::BTreeMap;

use super::route::same_machine;
use super::{Endpoint, Node, Topology, TopologyError};

/// `sun_path` of a socket address without its final zero: unix(7).
const SOCKET_PATH_MAX: usize = 107;

impl Topology {
    /// Gives each service its node, and says whether it is a topology.
    pub(super) fn checked(mut self) -> Result<Self, TopologyError> {
        let mut names = BTreeMap::new();
        for (index, node) in self.nodes.iter().enumerate() {
            if let Some(first) = names.insert(&node.name, node.line) {
                let (name, line) = (node.name.clone(), node.line);
                return Err(TopologyError::DuplicateNode { name, line, first });
            }
            node.check()?;
            let len = self.socket(node).as_os_str().len();
            if len > SOCKET_PATH_MAX {
                let (node, line) = (node.name.clone(), node.line);
                return Err(TopologyError::Path { node, line, len, most: SOCKET_PATH_MAX });
            }
            for service in &node.services {
                if let Some(other) = self.services.insert(service.clone(), index) {
                    return Err(twice(service, &self.nodes[other], node));
                }
            }
        }
        Ok(self)
    }
}

fn twice(service: &str, first: &Node, second: &Node) -> TopologyError {
    let (service, line) = (service.to_owned(), second.line);
    if first.name == second.name {
        return TopologyError::RepeatedService { service, node: second.name.clone(), line };
    }
    let (first, second) = (first.name.clone(), second.name.clone());
    TopologyError::DuplicateService { service, first, second, line }
}

impl Node {
    fn check(&self) -> Result<(), TopologyError> {
        let (node, line) = (self.name.clone(), self.line);
        let remote = self.host.as_deref().filter(|host| !same_machine(Some(host), None));
        match (remote, self.port, &self.endpoint) {
            (Some(host), None, _) => {
                Err(TopologyError::NoPort { node, host: host.to_owned(), line })
            }
            (_, None, Endpoint::Tcp { listen: None }) => {
                Err(TopologyError::NoAddress { node, line })
            }
            _ => Ok(()),
        }
    }
}
