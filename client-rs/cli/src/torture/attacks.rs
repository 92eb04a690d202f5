//! The attacks, by kind.

mod headers;

use super::attack::Attack;
use super::home::Home;

/// All of them, in the order in which they are made.
pub(super) static ALL: &[&[Attack]] = &[headers::ATTACKS];

/// Makes what attacks need of the daemon from its start on, so that it holds the same before and after.
pub(super) fn prepare(_home: &Home) -> Result<(), ringfence::Error> {
    Ok(())
}
