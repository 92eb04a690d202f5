//! The engine `trial` of `testd`, as its clients here call it.

ringfence_protocol::message! {
    /// What most of its methods take and give.
    pub(crate) struct Number { value: u64 }
}
ringfence_protocol::message! {
    /// What `steps` takes.
    pub(crate) struct Steps { count: u32, step_us: u32 }
}

pub(crate) const NAP: u16 = 0;
pub(crate) const BURN: u16 = 1;
pub(crate) const PANIC: u16 = 2;
pub(crate) const FILL: u16 = 3;
pub(crate) const COUNT: u16 = 4;
pub(crate) const COUNTED: u16 = 5;
pub(crate) const STEPS: u16 = 6;
pub(crate) const FAIL: u16 = 8;
pub(crate) const DIG: u16 = 10;
pub(crate) const PLACE: u16 = 12;
