//! Calls in process that their engine answers later: a blocking caller waits, a task is woken, and each
//! of them gets one answer.

use std::sync::mpsc;
use std::time::Duration;

use ringfence::{CallOptions, Client, Error, ErrorCode, Method, Outcome, Timeout};
use ringfence_core::{Call, Cost, Deferred, Engine, Registry, Stop};
use ringfence_protocol::api::system::{Bytes, Nothing};
use ringfence_protocol::error::Error as RemoteError;
use ringfence_protocol::schema::{EngineSchema, MethodSchema};

/// Keeps its calls, to be answered by the test.
#[derive(Clone)]
struct Later(mpsc::Sender<Deferred>);

impl Engine for Later {
    fn schema(&self) -> EngineSchema {
        let wait = MethodSchema::new::<Nothing, Bytes>(0, "wait", "").timeout_ms(None);
        EngineSchema::new("later", "", vec![wait])
    }
    fn cost(&self, _: u16, _: &[u8]) -> Cost {
        Cost::WAITS
    }
    fn call(&self, _: u16, call: &mut Call<'_>) -> Result<(), RemoteError> {
        self.0.send(call.defer()?).unwrap();
        Ok(())
    }
}

fn client() -> (Client, Method, mpsc::Receiver<Deferred>) {
    let (sender, calls) = mpsc::channel();
    let mut registry = Registry::new();
    registry.add(Box::new(Later(sender))).unwrap();
    let client = Client::builder().inproc_engines(registry).connect().unwrap();
    let wait = client.method("later", "wait").unwrap();
    (client, wait, calls)
}

#[test]
fn a_blocking_call_waits_for_its_answer() {
    let (client, wait, calls) = client();
    let answering = std::thread::spawn(move || {
        for call in calls {
            assert_eq!(call.stop(), None);
            assert_eq!(call.answer(Ok(b"late".to_vec())), None);
        }
    });
    assert_eq!(client.call(&wait, &[], &CallOptions::default()).unwrap(), b"late");
    let pending = client.submit(&wait, &[], &CallOptions::default()).unwrap();
    assert_eq!(client.wait(pending).unwrap(), b"late");
    drop((client, wait));
    answering.join().unwrap();
}

#[test]
fn its_own_time_ends_it_and_tells_whether_it_had_begun() {
    let (client, wait, calls) = client();
    let timeout = Timeout::After(Duration::from_millis(5));
    let options = CallOptions { timeout, ..CallOptions::default() };
    for begun in [false, true] {
        let pending = client.submit(&wait, &[], &options).unwrap();
        let call = calls.recv().unwrap();
        assert!(!begun || call.begin());
        let error = client.wait(pending).unwrap_err();
        let expected = if begun { Outcome::Unknown } else { Outcome::NotStarted };
        assert_eq!((error.code(), error.outcome()), (ErrorCode::Expired, Some(expected)));
        assert_eq!(call.stop(), Some(Stop::Cancelled));
        assert!(!call.begin());
        assert_eq!(call.answer(Ok(Vec::new())), Some(Ok(Vec::new())), "given back");
    }
}

#[test]
fn a_cancel_a_drop_and_the_end_of_the_client_end_it() {
    let (client, wait, calls) = client();
    let submit = || client.submit(&wait, &[], &CallOptions::default()).unwrap();
    let cancelled = submit();
    cancelled.cancel();
    assert_eq!(client.wait(cancelled).unwrap_err().code(), ErrorCode::Cancelled);
    assert_eq!(calls.recv().unwrap().stop(), Some(Stop::Cancelled));
    drop(submit());
    assert_eq!(calls.recv().unwrap().stop(), Some(Stop::Cancelled));
    let interrupted = submit();
    drop(calls.recv().unwrap());
    let error = client.wait(interrupted).unwrap_err();
    assert_eq!((error.code(), error.outcome()), (ErrorCode::Interrupted, Some(Outcome::Unknown)));
    let open = submit();
    let waiting = std::thread::spawn({
        let client = client.clone();
        move || client.wait(open)
    });
    client.close();
    assert!(matches!(waiting.join().unwrap(), Err(Error::Closed)));
    assert_eq!(calls.recv().unwrap().stop(), Some(Stop::Cancelled));
}

#[test]
fn a_task_is_woken_for_its_answer() {
    let (client, wait, calls) = client();
    smol::block_on(async {
        let options = CallOptions::default();
        let first = client.call_async(&wait, [], &options);
        let second = client.call_async(&wait, [], &options);
        let answering = smol::unblock(move || {
            let both = [calls.recv().unwrap(), calls.recv().unwrap()];
            for (number, call) in (1..).zip(both) {
                assert_eq!(call.answer(Ok(vec![number])), None);
            }
        });
        let calling = smol::future::zip(first, second);
        let ((first, second), ()) = smol::future::zip(calling, answering).await;
        assert_eq!((first.unwrap().as_ref(), second.unwrap().as_ref()), (&[1][..], &[2][..]));
    });
}
