//! The targets that read HTTP.
use std::time::Instant;

use corten_web::http2::{Event, PREFACE};
use corten_web::{Field, Request, grpc, http1, http2};

const BODY_MAX: u32 = 300;
const HEADERS_MAX: u32 = 1000;

/// What was understood: each request as text, and how it ended.
type Understood = (Vec<String>, bool);

/// A message that is found in a body is found again in a body that has been written with it.
pub fn grpc(octets: &[u8]) {
    if let Ok(message) = grpc::message(octets)
        && message.len() <= usize::from(u16::MAX)
    {
        let mut body = Vec::new();
        grpc::write_message(message, &mut body);
        assert_eq!(grpc::message(&body), Ok(message));
    }
}

/// Requests are within their bounds, and the same however the octets come.
pub fn http1(octets: &[u8]) {
    let whole = serve_http1(octets, octets.len().max(1));
    for size in [1, 7] {
        let parts = serve_http1(octets, size);
        // In parts what is too long may be told before it is known to be malformed.
        let told = |found: &Understood| found.0.iter().filter(|text| !text.ends_with('!')).count();
        assert_eq!(told(&whole), told(&parts));
    }
}

fn serve_http1(octets: &[u8], size: usize) -> Understood {
    let config = http1::Config {
        head_octets_max: HEADERS_MAX as usize,
        body_octets_max: BODY_MAX as usize,
    };
    let mut session = http1::Session::new(config);
    let (mut input, mut out, mut found) = (Vec::new(), Vec::new(), Vec::new());
    for part in octets.chunks(size) {
        input.extend_from_slice(part);
        loop {
            let (taken, request) = session.receive(&input, &mut out);
            input.drain(..taken);
            let Some(request) = request else { break };
            found.push(text(&request));
            let response = http1::Response {
                status: "200 OK",
                fields: &[("a", "b")],
            };
            session.respond(request, response, b"answer", &mut out);
        }
    }
    // A head that does not end is told before it is much longer than it may be.
    assert!(input.len() <= HEADERS_MAX as usize + size || session.is_over());
    (found, session.is_over())
}

/// Requests are within their bounds, and the same however the octets come; what is written is a row
/// of frames, and no more of bodies than the client has made room for.
pub fn http2(octets: &[u8]) {
    let (whole, written) = serve_http2(octets, octets.len().max(1));
    for size in [1, 11] {
        assert_eq!(serve_http2(octets, size).0, whole);
    }
    let room = octets
        .windows(13)
        .filter(|frame| frame[3] == 8)
        .map(|frame| {
            u64::from(u32::from_be_bytes([
                frame[9] & 0x7f,
                frame[10],
                frame[11],
                frame[12],
            ]))
        })
        .fold(65_535u64, u64::saturating_add);
    let (mut rest, mut sent) = (&written[..], 0);
    while !rest.is_empty() {
        let length = u32::from_be_bytes([0, rest[0], rest[1], rest[2]]) as usize;
        if rest[3] == 0 {
            sent += length as u64;
        }
        rest = &rest[9 + length..];
    }
    assert!(sent <= room, "{sent} octets, and room for {room}");
}

fn serve_http2(octets: &[u8], size: usize) -> (Understood, Vec<u8>) {
    let config = http2::Config {
        streams_max: 4,
        body_octets_max: BODY_MAX,
        header_octets_max: HEADERS_MAX,
    };
    let (mut out, now) = (Vec::new(), Instant::now());
    let mut session = http2::Session::new(config, now, &mut out);
    let mut found = Vec::new();
    let mut input = PREFACE.to_vec();
    for part in octets.chunks(size) {
        input.extend_from_slice(part);
        loop {
            match session.receive(&input, now, &mut out) {
                Ok((0, _)) => break,
                Ok((taken, event)) => {
                    input.drain(..taken);
                    let Event::Request(stream, request) = event else {
                        continue;
                    };
                    found.push(text(&request));
                    // Every third request waits, and is never answered.
                    if found.len() % 3 != 0 {
                        let trailers = (found.len() % 2 == 0).then_some(&[0x88][..]);
                        session.respond(stream, &[0x88], &[b'a'; 20_000], trailers, now, &mut out);
                    }
                    session.recycle(request);
                }
                Err(_) => return ((found, true), out),
            }
        }
    }
    ((found, false), out)
}

fn text(request: &Request) -> String {
    assert!(request.body.len() <= BODY_MAX as usize);
    let fields = [
        Field::Method,
        Field::Path,
        Field::ContentType,
        Field::XForwardedFor,
    ];
    let octets: usize = fields
        .iter()
        .filter_map(|field| request.field(*field))
        .map(<[u8]>::len)
        .sum();
    assert!(octets <= HEADERS_MAX as usize);
    let path = request.field(Field::Path).map(<[u8]>::escape_ascii);
    match request.problem {
        Some(problem) => format!("{problem:?}!"),
        None => format!(
            "{} {}",
            path.map(|p| p.to_string()).unwrap_or_default(),
            request.body.escape_ascii()
        ),
    }
}
