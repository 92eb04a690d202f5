//! Daemons that receive a client badly.

use std::time::Duration;

use ringfence::{Client, Error, ErrorCode};

use crate::mock::{Manner, Mock, folder};

fn refused_by(manner: Manner) -> Error {
    let mock = Mock::mannered(manner);
    let builder = Client::builder().socket(mock.path()).timeout(Duration::from_millis(300));
    builder.connect().unwrap_err()
}

#[test]
fn nobody_there_is_unavailable_at_once() {
    let dir = folder();
    let error = Client::builder().socket(dir.join("control.sock")).connect().unwrap_err();
    std::fs::remove_dir_all(&dir).unwrap();
    assert_eq!(error.code(), ErrorCode::DaemonUnavailable);
    assert!(error.to_string().contains("ringfenced"), "{error}");
}

#[test]
fn a_refusal_is_told_with_its_remedy() {
    let error = refused_by(Manner::Refuse(5011, "uid 7 is not allowed"));
    assert!(matches!(error, Error::PermissionDenied { .. }), "{error:?}");
    let text = error.to_string();
    assert!(text.contains("uid 7") && text.contains("ask somebody"), "{text}");
    let error = refused_by(Manner::Refuse(6004, "8 sessions are open"));
    assert_eq!(error.code(), ErrorCode::Quota);
    let error = refused_by(Manner::Refuse(5013, "on the way out"));
    assert_eq!(error.code(), ErrorCode::DaemonUnavailable);
}

#[test]
fn another_layout_says_which() {
    let error = refused_by(Manner::OtherLayout);
    assert_eq!(error.code(), ErrorCode::SchemaMismatch);
    assert!(error.to_string().contains("77.0 there"), "{error}");
}

#[test]
fn a_daemon_that_says_nothing_is_not_waited_for_for_ever() {
    let error = refused_by(Manner::Slam);
    assert_eq!(error.code(), ErrorCode::DaemonUnavailable, "{error}");
    // It took the connection, so it lives.
    let error = refused_by(Manner::Mute);
    assert_eq!(error.code(), ErrorCode::DaemonStalled, "{error}");
}

#[test]
fn nonsense_in_a_welcome_is_found_before_it_is_used() {
    let error = refused_by(Manner::ShortLane);
    assert!(matches!(error, Error::Io { .. }), "{error:?}");
    assert!(error.to_string().contains("were announced"), "{error}");
    let error = refused_by(Manner::Impossible);
    assert!(error.to_string().contains("7 slots"), "{error}");
    let error = refused_by(Manner::NoDescriptors);
    assert!(error.to_string().contains("0 descriptors"), "{error}");
}

#[test]
fn a_connect_takes_one_session_and_closing_ends_it() {
    let mock = Mock::echoing();
    let client = mock.client();
    let again = client.clone();
    assert_eq!(again.echo(b"x").unwrap(), b"x");
    assert_eq!(mock.shared.sessions.load(std::sync::atomic::Ordering::SeqCst), 1);
}
