//! Calls as futures: on tokio, on smol, and turned by hand.

use std::future::Future;
use std::pin::pin;
use std::process::Command;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering::SeqCst};
use std::task::{Context, Poll, Wake, Waker};
use std::time::{Duration, Instant};

use ringfence::{CallOptions, Client, Driver, Error, ErrorCode, Method, Outcome, Timeout};
use ringfence_protocol::api;
use tokio::io::unix::AsyncFd;

use crate::mock::{Act, Manner, Mock, Plan, eventually};

const SLOW: Duration = Duration::from_millis(20);

/// Answers what it is asked: at once, or after a while if that begins with `slow`.
fn answer(_: u32, payload: &[u8]) -> Act {
    if payload.starts_with(b"slow") {
        return Act::After(SLOW, payload.to_vec());
    }
    Act::Reply(payload.to_vec())
}

fn echo(client: &Client) -> Method {
    client.method("system", "echo").unwrap()
}

/// Has tokio turn the client's driver.
#[allow(deprecated, reason = "what replaces it is unsafe; a driver owns its descriptor")]
fn on_tokio(client: &Client) -> tokio::task::JoinHandle<()> {
    let driver = AsyncFd::new(client.driver().unwrap()).unwrap();
    tokio::spawn(async move {
        loop {
            driver.readable().await.unwrap().clear_ready();
            driver.get_ref().turn();
        }
    })
}

fn within(timeout: Duration) -> CallOptions {
    CallOptions { timeout: timeout.into(), ..CallOptions::default() }
}

fn threads() -> usize {
    std::fs::read_dir("/proc/self/task").unwrap().count()
}

/// Counts how often a task was woken.
#[derive(Default)]
struct Count(AtomicUsize);

impl Wake for Count {
    fn wake(self: Arc<Self>) {
        self.0.fetch_add(1, SeqCst);
    }
}

/// Polls a future, and turns the driver by hand when its descriptor is readable.
pub(crate) fn by_hand<F: Future>(driver: &Driver, future: F) -> F::Output {
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut future = pin!(future);
    let end = Instant::now() + Duration::from_secs(20);
    loop {
        let woken = count.0.load(SeqCst);
        if let Poll::Ready(value) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return value;
        }
        while count.0.load(SeqCst) == woken {
            assert!(Instant::now() < end, "the task was never woken");
            turn_when_readable(driver);
        }
    }
}

fn turn_when_readable(driver: &Driver) {
    use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    use std::os::fd::AsFd;
    let mut fds = [PollFd::new(driver.as_fd(), PollFlags::POLLIN)];
    let ready = poll(&mut fds, PollTimeout::from(1000_u16)).unwrap();
    assert!(ready > 0, "the descriptor was never readable");
    driver.turn();
}

#[test]
fn a_thousand_awaits_on_tokio_add_no_thread() {
    // Alone in a process: other tests start and end threads all the time.
    let mut alone = Command::new(std::env::current_exe().unwrap());
    alone.args(["--ignored", "--exact", "tasks::a_thousand_awaits", "--test-threads=1"]);
    let output = alone.output().unwrap();
    let text = String::from_utf8_lossy(&output.stdout);
    assert!(output.status.success() && text.contains("1 passed"), "{text}");
}

#[test]
#[ignore = "run by a_thousand_awaits_on_tokio_add_no_thread"]
fn a_thousand_awaits() {
    let mock = Mock::answering(answer);
    let client = mock.client();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
    runtime.block_on(async {
        let driving = on_tokio(&client);
        let before = threads();
        let calls: Vec<_> = (0..1000_u32)
            .map(|number| {
                let payload = format!("slow {number}");
                let calling =
                    client.call_async(&echo(&client), payload.clone(), &within(20 * SLOW * 50));
                tokio::spawn(async move { (payload, calling.await) })
            })
            .collect();
        tokio::task::yield_now().await;
        assert_eq!(threads(), before);
        for call in calls {
            let (payload, answer) = call.await.unwrap();
            assert_eq!(answer.unwrap(), payload.into_bytes());
        }
        driving.abort();
    });
}

#[test]
fn several_threads_of_tokio_share_a_client() {
    let mock = Mock::answering(answer);
    let client = mock.client();
    let runtime =
        tokio::runtime::Builder::new_multi_thread().worker_threads(3).enable_all().build();
    runtime.unwrap().block_on(async {
        let driving = on_tokio(&client);
        let calls: Vec<_> = (0..200_u32)
            .map(|number| {
                let (client, echo) = (client.clone(), echo(&client));
                tokio::spawn(async move {
                    for round in 0..10 {
                        let slow = if round % 5 == 0 { "slow" } else { "fast" };
                        let payload = format!("{slow} {number} {round}");
                        let options = CallOptions::default();
                        let reply = client.call_async(&echo, &payload, &options).await.unwrap();
                        assert_eq!(reply, *payload.as_bytes());
                    }
                })
            })
            .collect();
        for call in calls {
            call.await.unwrap();
        }
        driving.abort();
    });
}

#[test]
fn smol_turns_it_too() {
    let mock = Mock::answering(answer);
    let client = mock.client();
    smol::block_on(async {
        let driver = smol::Async::new(client.driver().unwrap()).unwrap();
        let _driving = smol::spawn(async move {
            while driver.readable().await.is_ok() {
                driver.get_ref().turn();
            }
        });
        let echo = echo(&client);
        for payload in ["fast", "slow"] {
            let reply = client.call_async(&echo, payload, &CallOptions::default()).await.unwrap();
            assert_eq!(reply, *payload.as_bytes());
        }
    });
}

#[test]
fn a_task_that_waits_is_woken_by_a_byte() {
    let mock = Mock::answering(answer);
    let client = mock.client();
    let driver = client.driver().unwrap();
    let calling = client.call_async(&echo(&client), b"slow", &CallOptions::default());
    assert_eq!(by_hand(&driver, calling).unwrap(), b"slow");
    assert!(mock.shared.bytes.load(SeqCst) > 0);
}

#[test]
fn threads_and_tasks_wait_side_by_side() {
    let mock = Mock::answering(answer);
    let client = Client::builder().socket(mock.path()).spin(ringfence::Spin::Never);
    let client = client.connect().unwrap();
    let driver = client.driver().unwrap();
    std::thread::scope(|scope| {
        let blocking = scope.spawn(|| {
            for _ in 0..10 {
                assert_eq!(client.echo(b"slow 1").unwrap(), b"slow 1");
            }
        });
        for _ in 0..10 {
            let calling = client.call_async(&echo(&client), b"slow 2", &CallOptions::default());
            assert_eq!(by_hand(&driver, calling).unwrap(), b"slow 2");
        }
        blocking.join().unwrap();
    });
}

#[test]
fn a_call_that_takes_too_long_ends_in_time() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let driver = client.driver().unwrap();
    let calling = client.call_async(&echo(&client), b"x", &within(SLOW));
    let error = by_hand(&driver, calling).unwrap_err();
    assert!(
        matches!(error, Error::Timeout { outcome: Outcome::Unknown, after } if after == SLOW),
        "{error:?}"
    );
}

#[test]
fn dropping_a_future_frees_its_ticket() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let driver = client.driver().unwrap();
    let echo = echo(&client);
    // More than there are places for, were they not freed.
    for round in 0..200 {
        let count = Waker::from(Arc::new(Count::default()));
        let mut calling = pin!(client.call_async(&echo, b"x", &CallOptions::default()));
        let polled = calling.as_mut().poll(&mut Context::from_waker(&count));
        assert!(polled.is_pending(), "{round}");
        if round % 20 == 19 {
            eventually("cancelled", || {
                driver.turn();
                mock.shared.cancelled.load(SeqCst) > 0
            });
        }
    }
}

#[test]
fn a_task_that_is_dropped_keeps_no_room_from_others() {
    let mock = Mock::answering(|_, payload| match payload {
        b"slow" => Act::Held(payload.to_vec()),
        _ => Act::Never,
    });
    let client = mock.client();
    let driver = client.driver().unwrap();
    let (echo, options) = (echo(&client), CallOptions::default());
    let slow = client.submit(&echo, b"slow", &options).unwrap();
    // As many as may be open, the slow one among them.
    let _open: Vec<_> =
        (1..32).map(|_| client.submit(&echo, b"never", &options).unwrap()).collect();
    let (first, second) = (Arc::new(Count::default()), Arc::new(Count::default()));
    let (one, two) = (Waker::from(first.clone()), Waker::from(second.clone()));
    let mut waits_first = Box::pin(client.call_async(&echo, b"never", &options));
    let mut waits_second = Box::pin(client.call_async(&echo, b"never", &options));
    assert!(waits_first.as_mut().poll(&mut Context::from_waker(&one)).is_pending());
    assert!(waits_second.as_mut().poll(&mut Context::from_waker(&two)).is_pending());
    driver.turn();
    assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (0, 0), "there is no room");
    // The room of the slow one is the first's, who is gone before it takes it.
    mock.shared.lets_go.store(true, SeqCst);
    eventually("the slow one is answered", || {
        driver.turn();
        slow.is_done() && first.0.load(SeqCst) + second.0.load(SeqCst) > 0
    });
    assert_eq!((first.0.load(SeqCst), second.0.load(SeqCst)), (1, 0), "one after the other");
    drop(waits_first);
    turn_when_readable(&driver);
    assert_eq!(second.0.load(SeqCst), 1);
    // And who leaves the queue before its turn takes nobody's.
    drop(waits_second);
    driver.turn();
}

/// A task whose first poll is to be pending, and how often it was woken.
fn begun<F: Future>(future: F) -> (std::pin::Pin<Box<F>>, Arc<Count>) {
    let count = Arc::new(Count::default());
    let mut future = Box::pin(future);
    let polled = future.as_mut().poll(&mut Context::from_waker(&Waker::from(count.clone())));
    assert!(polled.is_pending());
    (future, count)
}

/// A client that would wait very long on a control socket, and never does.
fn patient(mock: &Mock) -> (Client, Driver, Method) {
    let client = Client::builder().socket(mock.path()).timeout(Duration::from_secs(60));
    let client = client.connect().unwrap();
    let (driver, echo) = (client.driver().unwrap(), echo(&client));
    (client, driver, echo)
}

#[test]
fn who_waits_for_a_segment_keeps_no_other_task_from_its_turn() {
    let mock = Mock::echoing();
    mock.shared.mute.store(true, SeqCst);
    let (client, driver, echo) = patient(&mock);
    let (large, long) = (vec![7; 1_000_000], within(Duration::from_secs(60)));
    let (mut one, one_woken) = begun(client.call_async(&echo, &large[..], &long));
    let (mut two, two_woken) = begun(client.call_async(&echo, &large[..], &long));
    for _ in 0..10 {
        let small = client.call_async(&echo, b"small", &CallOptions::default());
        assert_eq!(by_hand(&driver, small).unwrap(), b"small");
    }
    let short = within(Duration::from_millis(500));
    let error = by_hand(&driver, client.call_async(&echo, &large[..], &short)).unwrap_err();
    assert!(
        matches!(error, Error::Stalled { outcome: Outcome::NotStarted, pid: 4242, .. }),
        "{error:?}"
    );
    let woken = || (one_woken.0.load(SeqCst), two_woken.0.load(SeqCst));
    assert_eq!(woken(), (0, 0), "there was no news for them");
    assert_eq!(mock.shared.unheard.load(SeqCst), 1, "it is asked for once for all of them");
    mock.shared.mute.store(false, SeqCst);
    eventually("both are told", || {
        driver.turn();
        woken() == (1, 1)
    });
    assert_eq!(by_hand(&driver, one.as_mut()).unwrap(), large);
    assert_eq!(by_hand(&driver, two.as_mut()).unwrap(), large);
    assert!(mock.shared.bulks.load(SeqCst) <= 2, "{}", mock.shared.bulks.load(SeqCst));
}

#[test]
fn a_segment_that_is_refused_is_an_error_to_those_who_wait_and_to_nobody_else() {
    let mock = Mock::echoing();
    let (client, driver, echo) = patient(&mock);
    let (large, options) = (vec![7; 1_000_000], CallOptions::default());
    mock.shared.stingy.store(true, SeqCst);
    let (mut one, _) = begun(client.call_async(&echo, &large[..], &options));
    let error = by_hand(&driver, client.call_async(&echo, &large[..], &options)).unwrap_err();
    assert!(error.to_string().contains("no more segments"), "{error:?}");
    assert!(by_hand(&driver, one.as_mut()).is_err());
    mock.shared.stingy.store(false, SeqCst);
    assert_eq!(by_hand(&driver, client.call_async(&echo, &large[..], &options)).unwrap(), large);
}

#[test]
fn the_end_of_a_daemon_or_of_a_client_ends_the_wait_for_a_segment() {
    for closes in [false, true] {
        let mock = Mock::echoing();
        mock.shared.mute.store(true, SeqCst);
        let (client, driver, echo) = patient(&mock);
        let large = vec![7; 1_000_000];
        let options = within(Duration::from_secs(60));
        let (mut calling, woken) = begun(client.call_async(&echo, &large[..], &options));
        eventually("the daemon is asked", || mock.shared.unheard.load(SeqCst) == 1);
        if closes {
            client.close();
            assert_eq!(woken.0.load(SeqCst), 1);
            let error = by_hand(&driver, calling.as_mut()).unwrap_err();
            assert!(matches!(error, Error::Closed), "{error:?}");
        } else {
            let next = Mock::start_in(mock.die(), Plan::default());
            assert_eq!(by_hand(&driver, calling.as_mut()).unwrap(), large, "of the next daemon");
            drop(next);
        }
    }
}

#[test]
fn threads_and_tasks_ask_for_segments_side_by_side() {
    let mock = Mock::echoing();
    mock.shared.mute.store(true, SeqCst);
    let (client, driver, echo) = patient(&mock);
    let (large, long) = (vec![7; 1_000_000], within(Duration::from_secs(60)));
    let (mut calling, told) = begun(client.call_async(&echo, &large[..], &long));
    eventually("the task asks", || mock.shared.unheard.load(SeqCst) == 1);
    std::thread::scope(|scope| {
        // It reads the answer to the task's question before its own.
        let lent = scope.spawn(|| client.loan(3 << 20).map(|loan| loan.len()));
        eventually("the thread asks", || mock.shared.unheard.load(SeqCst) == 2);
        mock.shared.mute.store(false, SeqCst);
        eventually("the task is told", || told.0.load(SeqCst) > 0);
        assert_eq!(by_hand(&driver, calling.as_mut()).unwrap(), large);
        assert_eq!(lent.join().unwrap().unwrap(), 3 << 20);
    });
    assert_eq!(mock.shared.bulks.load(SeqCst), 2);
}

#[test]
fn a_death_that_another_thread_may_hear_of_ends_what_waits() {
    let engines = vec![(api::system::schema(), None), (api::vectors::schema(), None)];
    let engines = || engines.clone();
    for _ in 0..20 {
        let calls = Arc::new(AtomicUsize::new(0));
        let called = calls.clone();
        let answer = Box::new(move |_: u32, _: &[u8]| {
            called.fetch_add(1, SeqCst);
            Act::Never
        });
        let mock = Mock::start(Plan { engines: engines(), answer, ..Plan::default() });
        mock.shared.mute.store(true, SeqCst);
        let client = Client::builder().socket(mock.path()).timeout(Duration::from_secs(20));
        let client = client.connect().unwrap();
        let (driver, shared) = (client.driver().unwrap(), mock.shared.clone());
        let create = client.method("vectors", "create").unwrap();
        std::thread::scope(|scope| {
            // It has the control socket until the daemon dies.
            let asking = scope.spawn(|| client.loan(1_000_000).is_err());
            scope.spawn(move || {
                let both = || shared.unheard.load(SeqCst) > 0 && calls.load(SeqCst) > 0;
                eventually("one asks and one calls", both);
                drop(std::fs::remove_dir_all(mock.die()));
            });
            let options = CallOptions { timeout: Timeout::Never, ..CallOptions::default() };
            let error = by_hand(&driver, client.call_async(&create, b"x", &options)).unwrap_err();
            assert!(matches!(error, Error::Restarted { .. }), "{error:?}");
            assert!(asking.join().unwrap());
        });
    }
}

#[test]
fn it_connects_without_waiting_and_finds_the_next_daemon() {
    let mock = Mock::answering(answer);
    let client = Client::builder().socket(mock.path()).connect_later().unwrap();
    let driver = client.driver().unwrap();
    let echo = Method::clone(&echo(&mock.client()));
    let call =
        |payload: &'static str| client.call_async(&echo, payload, &within(Duration::from_secs(20)));
    assert_eq!(by_hand(&driver, call("slow 1")).unwrap(), b"slow 1");
    let dir = mock.die();
    let mock = Mock::start_in(dir, Plan { answer: Box::new(answer), ..Plan::default() });
    assert_eq!(by_hand(&driver, call("slow 2")).unwrap(), b"slow 2");
    // An idempotent call under which the daemon dies is made again.
    let shared = mock.shared.clone();
    std::thread::scope(|scope| {
        let restarting = scope.spawn(move || {
            eventually("it sleeps", || {
                shared.bytes.load(SeqCst) > 0 || shared.parks.load(SeqCst) > 2
            });
            Mock::start_in(mock.die(), Plan { answer: Box::new(answer), ..Plan::default() })
        });
        assert_eq!(by_hand(&driver, call("slow 3")).unwrap(), b"slow 3");
        drop(restarting.join().unwrap());
    });
}

#[test]
fn nobody_there_is_an_error_at_once() {
    let client = Client::builder().socket("/nonexistent/control.sock").connect_later().unwrap();
    let driver = client.driver().unwrap();
    let ping = Mock::echoing().client().method("system", "ping").unwrap();
    let error =
        by_hand(&driver, client.call_async(&ping, [], &CallOptions::default())).unwrap_err();
    assert_eq!(error.code(), ErrorCode::DaemonUnavailable, "{error}");
}

#[test]
fn a_daemon_that_says_nothing_is_stalled() {
    let mock = Mock::mannered(Manner::Mute);
    let ping = Mock::echoing().client().method("system", "ping").unwrap();
    let long = Duration::from_secs(60);
    // Whichever ends first, the time of a connect or the call's, or both at the same turn.
    for (connect, call) in [(SLOW, long), (long, SLOW), (SLOW, SLOW)] {
        let client = Client::builder().socket(mock.path()).timeout(connect);
        let client = client.connect_later().unwrap();
        let driver = client.driver().unwrap();
        let error = by_hand(&driver, client.call_async(&ping, [], &within(call))).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DaemonStalled, "{error}");
    }
}

#[test]
fn there_is_one_driver_and_without_it_an_error() {
    let mock = Mock::answering(|_, _| Act::Never);
    let client = mock.client();
    let echo = echo(&client);
    let waker = Waker::from(Arc::new(Count::default()));
    let mut cx = Context::from_waker(&waker);
    let no_driver = pin!(client.call_async(&echo, b"x", &CallOptions::default())).poll(&mut cx);
    let Poll::Ready(Err(error)) = no_driver else { panic!("{no_driver:?}") };
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let driver = client.driver().unwrap();
    assert_eq!(client.driver().unwrap_err().code(), ErrorCode::InvalidArgument);
    // Whoever waits when it is dropped is woken, and told.
    let count = Arc::new(Count::default());
    let waker = Waker::from(count.clone());
    let mut cx = Context::from_waker(&waker);
    let mut calling = pin!(client.call_async(&echo, b"x", &CallOptions::default()));
    assert!(calling.as_mut().poll(&mut cx).is_pending());
    drop(driver);
    assert!(count.0.load(SeqCst) > 0);
    assert!(matches!(calling.as_mut().poll(&mut cx), Poll::Ready(Err(_))));
    client.driver().unwrap().turn();
}

#[test]
fn large_payloads_go_through_segments() {
    let mock = Mock::answering(answer);
    let client = mock.client();
    let driver = client.driver().unwrap();
    let payload = [b"slow".to_vec(), vec![7; 3_000_000]].concat();
    let calling = client.call_async(&echo(&client), &payload, &CallOptions::default());
    assert_eq!(by_hand(&driver, calling).unwrap(), payload);
}
