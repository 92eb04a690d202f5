//! SPEC P8: who writes into a log wakes the subscriptions that sleep until there is news, by the shipped
//! [`LogWriter`], [`Inbox`], [`Listener`] and [`Teller`]. The futex is a stand-in.

use loom::thread;
use ringfence_protocol::layout::{down, up};
use ringfence_protocol::log::{Event, Inbox, Keep};
use ringfence_protocol::memory::Memory;
use ringfence_protocol::ring::{Listener, Teller, WakeBy};

use super::log::{Letter, LogMemory, Side, log, write};
use super::sleep::Futex;
use super::{ASLEEP_FOR_EVER, prove};

/// The subscription sleeps whenever it finds nothing, and two messages are all that it is owed.
#[test]
fn ac_ad_a_sleeping_subscription_is_woken_for_what_is_published() {
    fn model(without: Option<Letter>) {
        let (mut writer, reader) = log(0, without);
        let asked = LogMemory::of_lane(up::LISTENING, without, Side::Writer);
        let up = asked.seen_by(Side::Reader);
        let told = LogMemory::of_lane(down::NEWS, without, Side::Writer);
        let news = told.clone();
        let futex = Futex::new();
        let waker = futex.clone();
        let publishing = thread::spawn(move || {
            let teller = Teller::default();
            for _ in 0..2 {
                write(&mut writer);
                writer.before_waking();
                if teller.wake_due(&asked, &told).is_some() {
                    waker.wake();
                }
            }
        });
        let (listener, mut inbox) = (Listener::default(), Inbox::new(reader, Keep::InLog));
        for _ in 0..2 {
            while !take(&mut inbox) {
                let seen = news.load_u32(down::NEWS);
                listener.announce(&up, WakeBy::Futex);
                if inbox.has_news() {
                    // Also where `next` is not yet what was read.
                    thread::yield_now();
                } else {
                    futex.wait(&news, down::NEWS, seen);
                }
            }
        }
        publishing.join().unwrap();
    }
    prove(model, ASLEEP_FOR_EVER, &[Letter::AC, Letter::AD]);
}

/// Takes a message if one is there.
fn take(inbox: &mut Inbox<LogMemory>) -> bool {
    let found = inbox.next(|| true, |_, _| {}, |_, _| None::<()>).expect("the writer is honest");
    match found {
        Some((Event::Message(_), None)) => true,
        None => false,
        other => panic!("{other:?}"),
    }
}
