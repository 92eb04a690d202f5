//! One request and its answer, as bytes. No socket, no time.

#[cfg(test)]
mod fuzz;

use httparse::{EMPTY_HEADER, Error, Request, Status};

/// Bytes of a request's head: a scraper needs a tenth.
pub(super) const HEAD_BYTES: usize = 8 * 1024;
/// Headers of a request.
const HEADERS: usize = 64;

/// The content type of the text format (Prometheus, "Exposition formats").
const TEXT_FORMAT: &str = "text/plain; version=0.0.4; charset=utf-8";

/// The answer to what has arrived, or nothing while the head is not complete. `metrics` is asked only
/// by a request for them.
pub(super) fn answer(
    head: &[u8],
    metrics: impl FnOnce() -> Result<String, String>,
) -> Option<Vec<u8>> {
    let mut headers = [EMPTY_HEADER; HEADERS];
    let mut request = Request::new(&mut headers);
    match request.parse(head) {
        Ok(Status::Complete(_)) => {}
        Ok(Status::Partial) if head.len() < HEAD_BYTES => return None,
        Ok(Status::Partial) | Err(Error::TooManyHeaders) => {
            return Some(refusal("431 Request Header Fields Too Large", "", "too long a request"));
        }
        Err(error) => return Some(refusal("400 Bad Request", "", &error.to_string())),
    }
    let target = request.path.unwrap_or_default();
    let path = target.split('?').next().unwrap_or_default();
    Some(match (request.method.unwrap_or_default(), path) {
        ("GET" | "HEAD", "/metrics") => match metrics() {
            Ok(text) => reply("200 OK", "", &text, request.method == Some("HEAD")),
            Err(error) => refusal("503 Service Unavailable", "", &error),
        },
        ("GET" | "HEAD", _) => refusal("404 Not Found", "", "metrics are at /metrics"),
        _ => refusal("405 Method Not Allowed", "Allow: GET, HEAD\r\n", "GET /metrics"),
    })
}

fn refusal(status: &str, header: &str, text: &str) -> Vec<u8> {
    reply(status, header, &format!("{text}\n"), false)
}

fn reply(status: &str, header: &str, body: &str, head_only: bool) -> Vec<u8> {
    let length = body.len();
    let body = if head_only { "" } else { body };
    format!(
        "HTTP/1.1 {status}\r\nContent-Type: {TEXT_FORMAT}\r\nContent-Length: {length}\r\n\
         {header}Connection: close\r\n\r\n{body}"
    )
    .into_bytes()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn status(head: &[u8]) -> Option<String> {
        let answer = answer(head, || Ok("m 1\n".into()))?;
        let text = String::from_utf8(answer).unwrap();
        Some(text.lines().next().unwrap().to_owned())
    }

    #[test]
    fn a_get_of_metrics_is_answered_whole() {
        let answer = answer(b"GET /metrics?x=1 HTTP/1.1\r\nHost: a\r\n\r\n", || Ok("m 1\n".into()));
        let text = String::from_utf8(answer.unwrap()).unwrap();
        assert!(text.starts_with("HTTP/1.1 200 OK\r\nContent-Type: text/plain; version=0.0.4"));
        assert!(text.ends_with("Content-Length: 4\r\nConnection: close\r\n\r\nm 1\n"), "{text}");
        let head = super::answer(b"HEAD /metrics HTTP/1.0\r\n\r\n", || Ok("m 1\n".into()));
        assert!(head.unwrap().ends_with(b"Content-Length: 4\r\nConnection: close\r\n\r\n"));
    }

    #[test]
    fn everything_else_is_refused_in_words_that_http_has_for_it() {
        for (head, want) in [
            (&b"GET / HTTP/1.1\r\n\r\n"[..], "HTTP/1.1 404 Not Found"),
            (b"POST /metrics HTTP/1.1\r\n\r\n", "HTTP/1.1 405 Method Not Allowed"),
            (b"\x16\x03\x01\x02\x00 TLS", "HTTP/1.1 400 Bad Request"),
            (b"GET /metrics SIP/2.0\r\n\r\n", "HTTP/1.1 400 Bad Request"),
        ] {
            assert_eq!(status(head).as_deref(), Some(want), "{}", head.escape_ascii());
        }
        let busy = answer(b"GET /metrics HTTP/1.1\r\n\r\n", || Err("later".into())).unwrap();
        assert!(busy.starts_with(b"HTTP/1.1 503 ") && busy.ends_with(b"later\n"));
        let many = format!("GET /metrics HTTP/1.1\r\n{}\r\n", "A: b\r\n".repeat(HEADERS + 1));
        assert!(status(many.as_bytes()).unwrap().starts_with("HTTP/1.1 431"));
        let long = format!("GET /metrics HTTP/1.1\r\nA: {}", "b".repeat(HEAD_BYTES));
        assert!(status(long.as_bytes()).unwrap().starts_with("HTTP/1.1 431"));
        assert_eq!(status(b"GET /metr"), None, "not complete yet");
    }
}
