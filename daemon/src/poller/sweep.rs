//! The sweep: once in 100 ms a look at every lane, hot or not, and at what its session holds.
//!
//! A lost bell costs this much and no more (SPEC P6). It does *not* serve: what it finds is made hot.

use std::os::fd::AsFd as _;
use std::sync::atomic::Ordering;

use nix::sys::epoll::{EpollEvent, EpollFlags};
use ringfence_protocol::disarm::is_armed;
use ringfence_protocol::fault::Fault;

use super::{Observed, Poller};

/// Sessions whose files one sweep looks at, or a few more.
const FILES_PER_SWEEP: usize = 64;

impl Poller {
    pub(super) fn sweep(&mut self) {
        let mut observed = Observed::default();
        let mut ready = Vec::new();
        let mut faults = Vec::new();
        for (index, lane) in self.lanes.iter_mut().enumerate() {
            let Some(lane) = lane else { continue };
            match lane.sweep(&mut self.bench) {
                Ok(true) if !lane.hot => ready.push(index),
                Ok(_) => {}
                Err(fault) => faults.push((index, fault)),
            }
        }
        faults.extend(self.look_at_files());
        for (index, fault) in faults {
            self.fault(index, fault);
        }
        for index in ready.into_iter().filter(|_| is_armed("sweep.lost-bells")) {
            self.heat(index);
        }
        self.bench.bus.bus().forget_departed();
        self.sweep_members(&mut observed);
        (self.on_sweep)(&mut self.bench, &observed);
    }

    /// What clients have made of the files of their segments. A system call for each, so not of all
    /// sessions where there are many: of each in its turn.
    fn look_at_files(&mut self) -> Vec<(usize, Fault)> {
        let turns = 1 + (self.members.len() / FILES_PER_SWEEP) as u64;
        self.sweeps = self.sweeps.wrapping_add(1);
        let due = self.members.iter().filter(|(id, _)| **id % turns == self.sweeps % turns);
        due.filter_map(|(_, member)| member.lanes.first().copied().zip(member.session.altered()))
            .collect()
    }

    fn sweep_members(&mut self, observed: &mut Observed) {
        for (id, member) in &mut self.members {
            member.in_vain.forgive();
            if member.masked {
                let event = EpollEvent::new(EpollFlags::EPOLLIN | EpollFlags::EPOLLET, *id);
                member.masked = self.epoll.add(member.bell.as_fd(), event).is_err();
            }
            let (mut calls, mut leased, mut leases) = (0, 0, 0);
            for index in &member.lanes {
                let Some(lane) = self.lanes[*index].as_mut() else { continue };
                let (bytes, count) = lane.ring.leased();
                (calls, leased, leases) =
                    (calls + lane.calls, leased + bytes, leases + count as u64);
            }
            member.session.leased_bytes.store(leased, Ordering::Relaxed);
            observed.lanes += member.lanes.len() as u64;
            observed.leased_bytes += leased;
            observed.sessions.push((*id, member.lanes.len() as u64, calls, leases));
        }
    }
}
