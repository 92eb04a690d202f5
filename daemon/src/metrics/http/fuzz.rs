//! The fuzz target `http`: what somebody sends where metrics are served.

use std::cell::Cell;

use httparse::{EMPTY_HEADER, Response, Status};

use super::{HEAD_BYTES, answer};
use crate::fuzzing::chance::Chance;
use crate::fuzzing::{allocation, fuzz, said};

const METRICS: &str = "m 1\n";
const PIECES: [&str; 24] = [
    "GET ",
    "GET ",
    "HEAD ",
    "POST ",
    "get ",
    "/metrics",
    "/metrics",
    "/metrics?x=1",
    "/metric",
    "*",
    " HTTP/1.1\r\n",
    " HTTP/1.1\r\n",
    " HTTP/1.0\n",
    " HTTP/2.0\r\n",
    "Host: a\r\n",
    "A:\x07b\r\n",
    "A: \u{e9}\r\n",
    ": b\r\n",
    " b\r\n",
    "\r\n",
    "\r\n",
    "\n",
    "\0",
    "A: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\nA: b\r\n",
];

/// What arrived: text as it is; else these bytes, or a head that is nearly right, perhaps with a long word.
fn head(bytes: &[u8]) -> Vec<u8> {
    if std::str::from_utf8(bytes).is_ok() {
        return bytes[..bytes.len().min(HEAD_BYTES)].to_vec();
    }
    let chance = &mut Chance::of(bytes);
    let mut head = match chance.below(4) {
        0 => bytes.to_vec(),
        1 => format!("GET /metrics HTTP/1.1\r\n{}", chance.pieced(&PIECES)).into_bytes(),
        _ => chance.pieced(&PIECES).into_bytes(),
    };
    if chance.below(16) == 0 {
        let at = chance.below(head.len() as u64 + 1) as usize;
        let len = chance.below(HEAD_BYTES as u64 + 1) as usize;
        head.splice(at..at, std::iter::repeat_n(b'a', len));
    }
    head.truncate(HEAD_BYTES);
    head
}

/// The status and the body of an answer, which is HTTP as it should be.
fn parsed(answer: &[u8]) -> (u16, &str) {
    let mut headers = [EMPTY_HEADER; 8];
    let mut response = Response::new(&mut headers);
    let Ok(Status::Complete(at)) = response.parse(answer) else { panic!("no whole answer") };
    let header = |name| {
        let header = response.headers.iter().find(|header| header.name == name);
        std::str::from_utf8(header.expect(name).value).expect("text")
    };
    let body = std::str::from_utf8(&answer[at..]).expect("text");
    assert_eq!(header("Connection"), "close");
    let status = response.code.expect("a status");
    let is_told_only = status == 200 && body.is_empty();
    assert_eq!(
        header("Content-Length").parse(),
        Ok(if is_told_only { METRICS.len() } else { body.len() })
    );
    (status, body)
}

/// Any bytes as what has arrived: nothing is said before the head is there, and that is the same however it came in
/// parts; the answer is HTTP, short, and repeats nothing that a terminal would obey; the metrics are asked for by
/// whoever gets them and nobody else.
fn http(bytes: &[u8]) {
    let head = head(bytes);
    let asked = Cell::new(0);
    let metrics = || {
        asked.set(asked.get() + 1);
        Ok(METRICS.to_owned())
    };
    let (said, peak) = allocation::peak(|| answer(&head, metrics));
    assert!(peak < 4096, "{peak} bytes for a head of {}", head.len());
    let part = &head[..Chance::of(bytes).below(head.len() as u64 + 1) as usize];
    let of_part = answer(part, || Ok(METRICS.to_owned()));
    let Some(said) = said else {
        assert!(head.len() < HEAD_BYTES && of_part.is_none());
        return;
    };
    assert!(of_part.is_none_or(|of_part| of_part == said), "{}", part.escape_ascii());
    let (status, body) = parsed(&said);
    assert!([200, 400, 404, 405, 431].contains(&status), "{status}");
    assert_eq!(asked.get(), u32::from(status == 200));
    if status == 200 {
        // Empty lines before a request are passed over (RFC 9112, 2.2).
        let request = head.trim_ascii_start();
        assert!(request.starts_with(b"GET /metrics") || request.starts_with(b"HEAD /metrics"));
        assert_eq!(body, if request.starts_with(b"GET") { METRICS } else { "" });
    } else {
        assert!(body.len() < 100);
        said::is_fit_to_print(body);
    }
}

#[test]
fn whatever_is_sent_the_answer_is_http_or_nothing_yet() {
    fuzz("http", http, 200_000);
}
