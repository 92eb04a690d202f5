//! What is shared with a daemon that was killed: an entry that is used again, and reply memory that its
//! successor takes over while the client reads it.

use loom::thread;
use ringfence_protocol::layout::Header;
use ringfence_protocol::ring::{ClientLane, ServerLane, initialise};

use super::memory::{GEOMETRY, Letter, LoomMemory};
use super::{RACE, START, answer_to, lane, next, prove, serve_by_block, submit, take, until};

/// The entry of a call that was at 7 is used again while the client asks how far its next call is.
#[test]
fn aa_ab_progress_is_that_of_the_call_whose_ticket_stands_there() {
    const ANOTHER: &str = "progress of another call";
    fn model(without: Option<Letter>) {
        let (mut client, mut server) = lane(without);
        assert!(submit(&mut client));
        let (request, body) = next(&mut server).expect("submitted before");
        let entry = server.admit(&request, &body);
        server.progress(entry, 7);
        server.finish(entry, answer_to(&request), &body);
        assert!(take(&mut client, START));
        client.collect();
        assert!(submit(&mut client));
        let daemon = thread::spawn(move || {
            let (request, body) = next(&mut server).expect("submitted before");
            server.admit(&request, &body);
        });
        assert_eq!(client.progress(START + 1).unwrap_or(0), 0, "{ANOTHER}");
        daemon.join().unwrap();
    }
    prove(model, ANOTHER, &[Letter::AA, Letter::AB]);
}

/// The daemon died with one answer in the only reply block and one call open. Its successor answers that
/// call by the same block, as soon as the client has given it back.
#[test]
fn m_n_a_successor_rewrites_a_reply_block_only_after_it_was_given_back() {
    fn model(without: Option<Letter>) {
        let [client_up, daemon_up] = LoomMemory::up(without);
        let [client_down, daemon_down] = LoomMemory::down(without);
        initialise(&client_up, &daemon_down, GEOMETRY, START);
        let mut client = ClientLane::new(client_up, client_down, GEOMETRY, START).unwrap();
        let (up, down) = (daemon_up.clone(), daemon_down.clone());
        let mut killed = ServerLane::new(daemon_up, daemon_down, GEOMETRY, START, 1);
        assert!(submit(&mut client) && submit(&mut client));
        assert!(serve_by_block(&mut killed));
        let (request, body) = next(&mut killed).expect("submitted before");
        killed.admit(&request, &body);
        drop(killed);
        let daemon = thread::spawn(move || {
            let recovered = ServerLane::recover(up, down, GEOMETRY, 2);
            let (mut successor, open) = recovered.expect("a daemon left this");
            let mut body = [0; 8];
            successor.read_open(&open[0], &mut body);
            until(|| {
                let Some(block) = successor.place(&body, open[0].ticket) else { return false };
                let header = Header { ticket: open[0].ticket, len: 8, block, ..Header::default() };
                successor.finish(open[0].entry, header, &[]);
                true
            });
        });
        for ticket in START..START + 2 {
            until(|| take(&mut client, ticket));
            client.collect();
        }
        daemon.join().unwrap();
    }
    prove(model, RACE, &[Letter::M, Letter::N]);
}
