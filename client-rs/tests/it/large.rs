//! Payloads that do not fit a slot.

use std::sync::atomic::Ordering::SeqCst;
use std::time::{Duration, Instant};

use ringfence::{CallOptions, Client, Error, ErrorCode, Outcome};

use crate::mock::{Act, Mock, Plan, eventually};
use crate::tasks::by_hand;

fn pattern(len: usize) -> Vec<u8> {
    (0..len).map(|at| (at as u32).wrapping_mul(2_654_435_761).to_le_bytes()[3]).collect()
}

#[test]
fn every_size_comes_back_unchanged() {
    let mock = Mock::echoing();
    let client = mock.client();
    for len in [217, 4096, 4097, 65_535, 65_536, 65_537, 300_001, 3 << 20] {
        let data = pattern(len);
        for _ in 0..3 {
            let reply = client.echo(&data).unwrap();
            assert_eq!(reply.len(), len);
            assert!(reply == data, "{len} bytes came back changed");
            assert_eq!(reply.is_leased(), len > 65_536, "{len}");
        }
    }
    // A segment each for 300 001 and 3 MiB, one for what fits the smallest; used again.
    assert!(mock.shared.bulks.load(SeqCst) <= 3, "{}", mock.shared.bulks.load(SeqCst));
}

#[test]
fn a_leased_reply_is_given_back_when_it_is_dropped() {
    let mock = Mock::answering(|_, payload| Act::Bulk(vec![payload[0]; 100_000]));
    let client = mock.client();
    let held: Vec<_> = (0..5).map(|n| client.echo(&[n]).unwrap()).collect();
    eventually("5 leases", || mock.shared.leased.load(SeqCst) == 500_000);
    for (n, reply) in held.iter().enumerate() {
        assert_eq!(*reply, vec![n as u8; 100_000]);
    }
    drop(held);
    eventually("none", || mock.shared.leased.load(SeqCst) == 0);
}

#[test]
fn a_leased_reply_outlives_session_and_client() {
    let mock = Mock::answering(|_, _| Act::Bulk(vec![42; 100_000]));
    let client = mock.client();
    let reply = client.echo(b"x").unwrap();
    std::fs::remove_dir_all(mock.die()).unwrap();
    drop(client);
    assert_eq!(reply, vec![42; 100_000]);
}

#[test]
fn small_replies_in_segments_are_copied_and_given_back_at_once() {
    let mock = Mock::answering(|_, _| Act::Bulk(vec![1; 300]));
    let client = mock.client();
    let held: Vec<_> = (0..100).map(|_| client.echo(b"x").unwrap()).collect();
    assert!(held.iter().all(|reply| !reply.is_leased() && *reply == vec![1; 300]));
}

#[test]
fn many_large_requests_at_once_wait_for_memory_and_arrive() {
    let mock =
        Mock::answering(|_, payload| Act::After(Duration::from_millis(1), vec![payload[0]; 3]));
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let submit = |n: u8| client.submit(&echo, &vec![n; 40_000], &CallOptions::default()).unwrap();
    let all: Vec<_> = (0..60).map(submit).collect();
    for (n, call) in all.into_iter().enumerate() {
        assert_eq!(client.wait(call).unwrap(), [n as u8; 3]);
    }
}

#[test]
fn request_memory_is_not_used_again_before_the_answer_was_seen() {
    let mock = Mock::answering(|_, payload| match payload.len() {
        100_000 => Act::Never,
        _ => Act::Reply(payload[..3].to_vec()),
    });
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let options =
        CallOptions { timeout: Duration::from_millis(5).into(), ..CallOptions::default() };
    let error = client.call(&echo, &vec![1; 100_000], &options).unwrap_err();
    assert_eq!(error.code(), ErrorCode::Expired);
    assert_eq!(client.echo(&vec![2; 90_000]).unwrap(), [2; 3]);
    // The first one's segment is still the daemon's, although nobody waits any more.
    assert_eq!(mock.shared.bulks.load(SeqCst), 2);
}

#[test]
fn what_no_segment_can_hold_is_refused_here() {
    let mock = Mock::echoing();
    let client = mock.client();
    // Zero pages: not touched, so not there.
    let data = vec![0; (1 << 30) + 1];
    let error = client.echo(&data).unwrap_err();
    assert_eq!(error.code(), ErrorCode::TooLarge);
    assert!(error.to_string().contains("split it"), "{error}");
}

#[test]
fn a_loan_is_read_where_it_was_filled() {
    let mock = Mock::echoing();
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let (data, options) = (pattern(1_000_000), CallOptions::default());
    let loan = client.loan(data.len()).unwrap();
    assert_eq!((loan.len(), loan.as_ptr().addr() % 4096), (1_000_000, 0));
    loan.write(0, &data);
    for (head, len) in
        [(&b"before"[..], data.len()), (b"", 70_000), (&[7; 65_537], data.len()), (b"x", 0)]
    {
        let reply = client.call_loaned(&echo, head, &loan, len, &options).unwrap();
        assert!(reply == [head, &data[..len]].concat(), "{} and {len}", head.len());
    }
    assert_eq!(mock.shared.bulks.load(SeqCst), 1, "nothing was copied into another");
    let found = client.loan_at(loan.as_ptr().addr()).unwrap();
    let pending = client.submit_loaned(&echo, b"found ", &found, 3, &options).unwrap().unwrap();
    assert_eq!(client.wait(pending).unwrap(), [b"found ", &data[..3]].concat());
    assert!(client.loan_at(loan.as_ptr().addr() + 8).is_none());
    for (head, len) in [(&[0; 200_000][..], 1), (b"", 1_000_001)] {
        let error = client.call_loaned(&echo, head, &loan, len, &options).unwrap_err();
        assert_eq!(error.code(), ErrorCode::InvalidArgument);
    }
    let start = loan.as_ptr().addr();
    drop(loan);
    assert!(client.loan_at(start).is_none(), "nobody lends it any more");
    assert_eq!(client.echo(&data).unwrap(), data);
    assert_eq!(mock.shared.bulks.load(SeqCst), 1, "it is used again");
}

#[test]
fn a_loan_is_waited_for_as_long_as_its_user_says() {
    let mock = Mock::echoing();
    let client = Client::builder().socket(mock.path()).timeout(Duration::from_secs(20));
    let client = client.connect().unwrap();
    let (free, short) = (Duration::ZERO, Duration::from_millis(500));
    assert!(matches!(client.loan_within(300_000, free), Err(Error::WouldBlock)));
    assert_eq!(mock.shared.bulks.load(SeqCst), 0, "nobody was asked");
    drop(client.loan_within(300_000, Duration::from_secs(20)).unwrap());
    assert_eq!(client.loan_within(300_000, free).unwrap().len(), 300_000);
    mock.shared.mute.store(true, SeqCst);
    let asked = Instant::now();
    let error = client.loan_within(3 << 20, short).unwrap_err();
    assert!(matches!(error, Error::Stalled { .. }), "{error:?}");
    assert!(asked.elapsed() >= short && asked.elapsed() < Duration::from_secs(10));
    // Within so short a time a daemon that runs may be late too.
    let error = client.loan_within(3 << 20, Duration::from_millis(1)).unwrap_err();
    assert!(matches!(error, Error::Timeout { outcome: Outcome::NotStarted, .. }), "{error:?}");
    mock.shared.mute.store(false, SeqCst);
    // What comes too late is kept for the next.
    let _other = client.loan_within(5 << 20, Duration::from_secs(20)).unwrap();
    assert_eq!(client.loan_within(3 << 20, free).unwrap().len(), 3 << 20);
    assert_eq!(mock.shared.bulks.load(SeqCst), 4);
}

#[test]
fn a_loan_that_a_call_still_names_is_copied() {
    let mock = Mock::answering(|_, payload| match payload {
        first if first.starts_with(b"first") => Act::Held(first.to_vec()),
        other => Act::Reply(other.to_vec()),
    });
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let (data, options) = (pattern(300_000), CallOptions::default());
    let loan = client.loan(data.len()).unwrap();
    loan.write(0, &data);
    let segment = loan.segment().unwrap();
    let first = client.submit_loaned(&echo, b"first", &segment, 9, &options).unwrap().unwrap();
    assert!(client.submit_loaned(&echo, b"second", &segment, 9, &options).unwrap().is_none());
    let second = client.call_loaned(&echo, b"second", &loan, data.len(), &options).unwrap();
    assert_eq!(second, [b"second", &data[..]].concat());
    mock.shared.lets_go.store(true, SeqCst);
    assert_eq!(client.wait(first).unwrap(), [b"first", &data[..9]].concat());
    let third = client.submit_loaned(&echo, b"third", &segment, 9, &options).unwrap().unwrap();
    assert_eq!(client.wait(third).unwrap(), [b"third", &data[..9]].concat());
}

#[test]
fn a_loan_is_awaited_and_nobody_else_names_it_meanwhile() {
    let mock = Mock::answering(|_, payload| Act::Held(payload.to_vec()));
    let client = mock.client();
    let driver = client.driver().unwrap();
    let echo = client.method("system", "echo").unwrap();
    let options = CallOptions::default();
    let loan = client.loan(300_000).unwrap();
    loan.write(0, &pattern(300_000));
    let segment = loan.segment().unwrap();
    let start = || client.call_loaned_async(&echo, b"it is ", &segment, 9, &options).unwrap();
    for _ in 0..2 {
        let calling = start().unwrap();
        assert!(start().is_none());
        mock.shared.lets_go.store(true, SeqCst);
        let reply = by_hand(&driver, calling).unwrap();
        mock.shared.lets_go.store(false, SeqCst);
        assert_eq!(reply, [b"it is ", &pattern(9)[..]].concat());
    }
    // Its segment stays its own as long as it may have to be sent again.
    let calling = start().unwrap();
    drop((loan, segment));
    let free = client.loan_within(300_000, Duration::ZERO);
    assert!(matches!(free, Err(Error::WouldBlock)), "{free:?}");
    drop(calling);
}

#[test]
fn a_loan_outlives_the_daemon_that_gave_it() {
    let mock = Mock::echoing();
    let client = mock.client();
    let echo = client.method("system", "echo").unwrap();
    let loan = client.loan(300_000).unwrap();
    loan.write(0, b"filled before");
    let mock = Mock::start_in(mock.die(), Plan::default());
    let options = CallOptions::default();
    assert_eq!(client.call_loaned(&echo, b"", &loan, 13, &options).unwrap(), b"filled before");
    drop(mock);
}
