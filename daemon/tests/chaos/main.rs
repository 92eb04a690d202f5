//! Publishers, subscribers and the daemon killed -9 at random under load, and stopped: what each of
//! them wrote down is held against what each policy promises (issue 4.6).
//!
//! In rounds: peers run and are killed; then the publishers end, the subscribers read what is left, and
//! everything that was written down is judged. `CHAOS_SECONDS` says for how long (20), `CHAOS_SEED` makes the
//! same choices again; moments are the machine's. Only pids that were started here are killed.
#![allow(clippy::unwrap_used)]

mod canary;
// Other tests use the rest of it.
#[allow(dead_code)]
#[path = "../it/daemon.rs"]
mod daemon;
// The peers use the rest of it.
#[allow(dead_code)]
#[path = "../../examples/bus_peer/journal.rs"]
mod journal;
mod oracle;
mod peer;

use std::time::{Duration, Instant};

use nix::sys::signal::Signal;
use ringfence::{Client, Topic};

use self::daemon::{Daemon, until};
use self::journal::{Random, TOPICS};
use self::oracle::{Tally, count, judge};
use self::peer::{Peer, Role};

const WITH_BUS: &[&str] = &["--engines", "system,bus"];

/// Peers of each kind.
const PEERS: usize = 3;

/// Then what was written down is judged and forgotten.
const ROUND: Duration = Duration::from_secs(4);

#[test]
fn order_duplicates_and_losses_are_as_each_policy_promises() {
    let seconds = number("CHAOS_SECONDS").unwrap_or(20);
    let seed = number("CHAOS_SEED").unwrap_or_else(|| u64::from(std::process::id()));
    println!("CHAOS_SEED={seed}");
    let mut chaos = Chaos { daemon: Daemon::start(WITH_BUS), random: Random(seed), next_key: 1 };
    let end = Instant::now() + Duration::from_secs(seconds);
    let mut tally = Tally::new();
    while Instant::now() < end {
        let peers = chaos.round(ROUND.min(end - Instant::now()));
        let testimonies = peers.into_iter().map(Peer::testimony).collect::<Vec<_>>();
        let faults = judge(&testimonies);
        assert!(faults.is_empty(), "CHAOS_SEED={seed}: {faults:#?}");
        count(&testimonies, &mut tally);
    }
    println!("{} peers: {tally:?}", chaos.next_key - 1);
    assert!(tally.contains_key("received"), "no load");
    let mut daemon = chaos.daemon;
    daemon.signal(Signal::SIGTERM);
    assert_eq!(daemon.wait(), Some(0));
    assert_eq!(daemon.names(), Vec::<String>::new());
}

fn number(variable: &str) -> Option<u64> {
    std::env::var(variable).ok().map(|value| value.parse().unwrap())
}

struct Chaos {
    daemon: Daemon,
    random: Random,
    next_key: u64,
}

impl Chaos {
    /// All peers that there were, each at its end.
    fn round(&mut self, length: Duration) -> Vec<Peer> {
        let mut gone = Vec::new();
        let mut running: Vec<Peer> = (0..2 * PEERS).map(|at| self.start(role(at))).collect();
        let end = Instant::now() + length;
        let mut next_restart = Instant::now() + self.some_ms(200, 1500);
        while Instant::now() < end {
            std::thread::sleep(self.some_ms(5, 120));
            if Instant::now() >= next_restart {
                self.daemon.kill_and_restart(WITH_BUS);
                next_restart = Instant::now() + self.some_ms(200, 1500);
            }
            let at = self.random.below(running.len() as u64) as usize;
            match (running[at].role, self.random.below(3)) {
                (Role::Subscribe, 0) => running[at].stop_or_continue(),
                _ => {
                    let next = self.start(running[at].role);
                    let mut killed = std::mem::replace(&mut running[at], next);
                    killed.kill();
                    gone.push(killed);
                }
            }
        }
        self.come_to_an_end(&mut running);
        gone.extend(running);
        gone
    }

    fn start(&mut self, role: Role) -> Peer {
        let key = self.next_key;
        self.next_key += 1;
        let journal = self.daemon.own_path(&format!("journal-{key}"));
        Peer::start(role, &self.daemon.socket(), journal, key)
    }

    fn some_ms(&mut self, least: u64, most: u64) -> Duration {
        Duration::from_millis(least + self.random.below(most - least))
    }

    fn come_to_an_end(&self, running: &mut [Peer]) {
        running.iter_mut().for_each(Peer::go_on);
        end_all(running, Role::Publish);
        let client = Client::builder().socket(self.daemon.socket()).connect().unwrap();
        let topics = TOPICS.map(|(name, options)| client.topic(name, options).unwrap());
        for topic in &topics {
            expect_subscriptions(topic, PEERS as u64);
        }
        end_all(running, Role::Subscribe);
        for topic in &topics {
            expect_subscriptions(topic, 0);
        }
    }
}

fn role(at: usize) -> Role {
    if at < PEERS { Role::Publish } else { Role::Subscribe }
}

fn end_all(running: &mut [Peer], role: Role) {
    running.iter_mut().filter(|peer| peer.role == role).for_each(Peer::end);
}

/// The places of those that were killed are forgotten, and nobody waits for them.
fn expect_subscriptions(topic: &Topic, count: u64) {
    let mut stats = topic.stats().unwrap();
    let what = format!("{count} subscriptions to {}", topic.name());
    until(&what, || {
        stats = topic.stats().unwrap();
        (stats.subscriptions, stats.waiting) == (count, 0)
    });
}
