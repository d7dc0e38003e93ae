//! What RFC 9113 says about frames that are wrong, and where we set bounds of our own.
use std::time::{Duration, Instant};

use super::*;

const CONFIG: Config = Config {
    streams_max: 4,
    body_octets_max: 100,
    header_octets_max: 1000,
};

/// A connection, and what it has said.
struct Talk {
    session: Session,
    out: Vec<u8>,
    input: Vec<u8>,
    requests: Vec<(u32, Box<Request>)>,
    now: Instant,
}

/// How it went.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Open,
    Reset(u32, Reason),
    Over(Reason),
}

impl Talk {
    fn new() -> Self {
        let (mut out, now) = (Vec::new(), Instant::now());
        let session = Session::new(CONFIG, now, &mut out);
        let mut talk = Self {
            session,
            out,
            input: PREFACE.to_vec(),
            requests: Vec::new(),
            now,
        };
        assert_eq!(talk.say(&frame(kind::SETTINGS, 0, 0, &[])), End::Open);
        talk.out.clear();
        talk
    }

    fn say(&mut self, octets: &[u8]) -> End {
        self.input.extend_from_slice(octets);
        let begun = self.out.len();
        loop {
            match self.session.receive(&self.input, self.now, &mut self.out) {
                Ok((0, _)) => break,
                Ok((length, event)) => {
                    self.input.drain(..length);
                    if let Event::Request(stream, request) = event {
                        self.requests.push((stream, request));
                    }
                }
                Err(Fatal(reason)) => return End::Over(reason),
            }
        }
        let mut rest = &self.out[begun..];
        while let Some(head) = Head::read(rest) {
            let payload = &rest[HEAD..HEAD + head.length];
            if head.kind == kind::RST_STREAM {
                let reason = reason(payload[3]);
                return End::Reset(head.stream, reason);
            }
            rest = &rest[HEAD + head.length..];
        }
        End::Open
    }

    /// Kinds and lengths of the frames written since the last time.
    fn written(&mut self) -> Vec<(u8, usize)> {
        let out = std::mem::take(&mut self.out);
        let (mut rest, mut found) = (&out[..], Vec::new());
        while let Some(head) = Head::read(rest) {
            found.push((head.kind, head.length));
            rest = &rest[HEAD + head.length..];
        }
        found
    }
}

fn reason(code: u8) -> Reason {
    use Reason::*;
    [
        NoError,
        ProtocolError,
        InternalError,
        FlowControlError,
        StreamClosed,
        FrameSizeError,
        RefusedStream,
        Cancel,
        CompressionError,
        EnhanceYourCalm,
    ]
    .into_iter()
    .find(|reason| *reason as u8 == code)
    .unwrap()
}

fn frame(kind: u8, flags: u8, stream: u32, payload: &[u8]) -> Vec<u8> {
    let mut out = Vec::new();
    frame::head(&mut out, payload.len(), kind, flags, stream);
    out.extend_from_slice(payload);
    out
}

const BOTH: u8 = flag::END_STREAM | flag::END_HEADERS;

fn fields(list: &[(&str, &str)]) -> Vec<u8> {
    let mut block = Vec::new();
    for (name, value) in list {
        hpack::write_field(&mut block, name.as_bytes(), value.as_bytes());
    }
    block
}

fn post(more: &[(&str, &str)]) -> Vec<u8> {
    let head = [
        (":method", "POST"),
        (":scheme", "https"),
        (":path", "/dns-query"),
    ];
    fields(&[&head, more].concat())
}

#[test]
fn mistakes_end_what_the_rfc_says() {
    use Reason::*;
    let open = || frame(kind::HEADERS, flag::END_HEADERS, 1, &post(&[]));
    let headers = |block: &[u8]| frame(kind::HEADERS, BOTH, 1, block);
    let cases: Vec<(&str, Vec<u8>, End)> = vec![
        (
            "data on no stream",
            frame(kind::DATA, 0, 0, b"a"),
            End::Over(ProtocolError),
        ),
        (
            "data on a stream that is idle",
            frame(kind::DATA, 0, 1, b"a"),
            End::Over(ProtocolError),
        ),
        (
            "an even stream",
            frame(kind::HEADERS, BOTH, 2, &post(&[])),
            End::Over(ProtocolError),
        ),
        (
            "a promise",
            frame(kind::PUSH_PROMISE, 4, 1, &[0; 4]),
            End::Over(ProtocolError),
        ),
        (
            "a short ping",
            frame(kind::PING, 0, 0, &[0; 7]),
            End::Over(FrameSizeError),
        ),
        (
            "a ping on a stream",
            frame(kind::PING, 0, 1, &[0; 8]),
            End::Over(ProtocolError),
        ),
        (
            "settings on a stream",
            frame(kind::SETTINGS, 0, 1, &[]),
            End::Over(ProtocolError),
        ),
        (
            "settings of odd length",
            frame(kind::SETTINGS, 0, 0, &[0; 5]),
            End::Over(FrameSizeError),
        ),
        (
            "a long acknowledgement",
            frame(kind::SETTINGS, 1, 0, &[0; 6]),
            End::Over(FrameSizeError),
        ),
        (
            "push of two",
            frame(kind::SETTINGS, 0, 0, &[0, 2, 0, 0, 0, 2]),
            End::Over(ProtocolError),
        ),
        (
            "a huge window",
            frame(kind::SETTINGS, 0, 0, &[0, 4, 128, 0, 0, 0]),
            End::Over(FlowControlError),
        ),
        (
            "tiny frames",
            frame(kind::SETTINGS, 0, 0, &[0, 5, 0, 0, 0, 9]),
            End::Over(ProtocolError),
        ),
        (
            "no more window",
            frame(kind::WINDOW_UPDATE, 0, 0, &[0; 4]),
            End::Over(ProtocolError),
        ),
        (
            "too much window",
            frame(kind::WINDOW_UPDATE, 0, 0, &[127, 255, 255, 255]),
            End::Over(FlowControlError),
        ),
        (
            "a window of nobody",
            frame(kind::WINDOW_UPDATE, 0, 5, &[0, 0, 0, 1]),
            End::Over(ProtocolError),
        ),
        (
            "a reset of nobody",
            frame(kind::RST_STREAM, 0, 5, &[0; 4]),
            End::Over(ProtocolError),
        ),
        (
            "a lone continuation",
            frame(kind::CONTINUATION, 4, 1, &[]),
            End::Over(ProtocolError),
        ),
        (
            "padding beyond the frame",
            frame(kind::HEADERS, BOTH | flag::PADDED, 1, &[9, 0]),
            End::Over(ProtocolError),
        ),
        (
            "a long frame",
            frame(kind::DATA, 0, 1, &[0; PAYLOAD_MAX + 1]),
            End::Over(FrameSizeError),
        ),
        (
            "a block that cannot be read",
            headers(&[0xbe]),
            End::Over(CompressionError),
        ),
        (
            "a priority of itself",
            frame(kind::PRIORITY, 0, 1, &[0, 0, 0, 1, 0]),
            End::Reset(1, ProtocolError),
        ),
        (
            "no path",
            headers(&fields(&[(":method", "GET"), (":scheme", "https")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "an upper case name",
            headers(&post(&[("Accept", "a")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "a late pseudo field",
            headers(&post(&[("accept", "a"), (":authority", "b")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "an unknown pseudo field",
            headers(&post(&[(":new", "a")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "a path twice",
            headers(&post(&[(":path", "/")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "a connection field",
            headers(&post(&[("connection", "close")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "te of gzip",
            headers(&post(&[("te", "gzip")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "a line in a value",
            headers(&post(&[("accept", "a\r\nb: c")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "no body of a length",
            headers(&post(&[("content-length", "5")])),
            End::Reset(1, ProtocolError),
        ),
        (
            "another length",
            [
                frame(kind::HEADERS, 4, 1, &post(&[("content-length", "5")])),
                frame(kind::DATA, 1, 1, b"four"),
            ]
            .concat(),
            End::Reset(1, ProtocolError),
        ),
        (
            "data after the end",
            [headers(&post(&[])), frame(kind::DATA, 0, 1, b"a")].concat(),
            End::Reset(1, StreamClosed),
        ),
        (
            "data after a reset",
            [
                open(),
                frame(kind::RST_STREAM, 0, 1, &[0; 4]),
                frame(kind::DATA, 0, 1, b"a"),
            ]
            .concat(),
            End::Over(StreamClosed),
        ),
        (
            "a frame inside a block",
            [
                frame(kind::HEADERS, 1, 1, &post(&[])),
                frame(kind::PING, 0, 0, &[0; 8]),
            ]
            .concat(),
            End::Over(ProtocolError),
        ),
        (
            "a continuation of another stream",
            [
                frame(kind::HEADERS, 1, 1, &post(&[])),
                frame(kind::CONTINUATION, 4, 3, &[]),
            ]
            .concat(),
            End::Over(ProtocolError),
        ),
        (
            "trailers that end nothing",
            [open(), frame(kind::HEADERS, 4, 1, &fields(&[("a", "b")]))].concat(),
            End::Reset(1, ProtocolError),
        ),
        ("an unknown frame", frame(77, 255, 9, b"?"), End::Open),
        (
            "an unknown setting",
            frame(kind::SETTINGS, 0, 0, &[0, 99, 0, 0, 0, 1]),
            End::Open,
        ),
    ];
    for (what, octets, end) in cases {
        assert_eq!(Talk::new().say(&octets), end, "{what}");
        // In drips it is the same.
        let mut talk = Talk::new();
        let mut last = End::Open;
        for octet in octets.chunks(1) {
            last = match talk.say(octet) {
                End::Open => last,
                end => end,
            };
        }
        assert_eq!(last, end, "{what}, in drips");
    }
    let mut out = Vec::new();
    let mut session = Session::new(CONFIG, Instant::now(), &mut out);
    let result = session.receive(b"GET / HTTP/1.1\r\n", Instant::now(), &mut out);
    assert_eq!(result.unwrap_err(), Fatal(ProtocolError), "another preface");
}

#[test]
fn bodies_come_in_parts_and_trailers_end_them() {
    let mut talk = Talk::new();
    let block = post(&[("content-length", "5"), ("x-forwarded-for", "192.0.2.1")]);
    let (first, rest) = block.split_at(10);
    talk.say(&frame(kind::HEADERS, 0, 1, first));
    talk.say(&frame(kind::CONTINUATION, flag::END_HEADERS, 1, rest));
    talk.say(&frame(kind::DATA, flag::PADDED, 1, b"\x03hel\0\0\0"));
    assert!(talk.requests.is_empty() && talk.session.is_waiting_for_client());
    talk.say(&frame(kind::DATA, 0, 1, b"lo"));
    talk.say(&frame(kind::HEADERS, BOTH, 1, &fields(&[("a", "b")])));
    let (stream, request) = talk.requests.pop().unwrap();
    assert_eq!((stream, &request.body[..]), (1, &b"hello"[..]));
    assert_eq!(request.field(Field::XForwardedFor), Some(&b"192.0.2.1"[..]));
    assert!(!talk.session.is_idle());
    talk.session
        .respond(1, &[0x88], b"answer", None, talk.now, &mut talk.out);
    assert!(talk.session.is_idle());
    assert_eq!(talk.written(), [(kind::HEADERS, 1), (kind::DATA, 6)]);
}

#[test]
fn streams_bodies_and_fields_are_bounded() {
    let mut talk = Talk::new();
    for at in 0..4 {
        assert_eq!(
            talk.say(&frame(kind::HEADERS, 4, 2 * at + 1, &post(&[]))),
            End::Open
        );
    }
    let fifth = talk.say(&frame(kind::HEADERS, BOTH, 9, &post(&[])));
    assert_eq!(fifth, End::Reset(9, Reason::RefusedStream));
    // A body that is too long is handed out without it; what comes behind is no mistake.
    talk.say(&frame(kind::DATA, 0, 1, &[0; 101]));
    let (stream, request) = talk.requests.pop().unwrap();
    assert_eq!((stream, request.problem), (1, Some(Problem::BodyTooLarge)));
    assert!(request.body.is_empty());
    talk.session
        .respond(1, &[0x88], b"no", None, talk.now, &mut talk.out);
    assert_eq!(talk.say(&frame(kind::DATA, 1, 1, &[0; 101])), End::Open);
    talk.say(&frame(
        kind::HEADERS,
        BOTH,
        11,
        &post(&[("a", &"b".repeat(1000))]),
    ));
    let (_, request) = talk.requests.pop().unwrap();
    assert_eq!(request.problem, Some(Problem::HeadersTooLarge));
    // Those that never end are answered as late.
    let timeouts = Timeouts {
        request: Duration::from_secs(3),
        response: Duration::from_secs(5),
    };
    let later = talk.now + Duration::from_secs(3);
    let (stream, request) = talk
        .session
        .expire(later, &timeouts, &mut talk.out)
        .unwrap()
        .unwrap();
    assert!([3, 5, 7].contains(&stream), "{stream}");
    assert_eq!(request.problem, Some(Problem::Late));
}

#[test]
fn responses_wait_for_room_and_not_for_ever() {
    let mut talk = Talk::new();
    talk.say(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 4]));
    talk.say(&frame(kind::HEADERS, BOTH, 1, &post(&[])));
    talk.say(&frame(kind::HEADERS, BOTH, 3, &post(&[])));
    talk.written();
    talk.session.respond(
        1,
        &[0x88],
        b"0123456789",
        Some(&[0x88]),
        talk.now,
        &mut talk.out,
    );
    talk.session
        .respond(3, &[0x88], b"", Some(&[0x88]), talk.now, &mut talk.out);
    assert_eq!(
        talk.written(),
        [
            (kind::HEADERS, 1),
            (kind::DATA, 4),
            (kind::HEADERS, 1),
            (kind::HEADERS, 1)
        ]
    );
    talk.say(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 2]));
    assert_eq!(talk.written(), [(kind::DATA, 2)]);
    let timeouts = Timeouts {
        request: Duration::from_secs(3),
        response: Duration::from_secs(5),
    };
    let now = talk.now;
    let at = |seconds| now + Duration::from_secs(seconds);
    assert!(
        talk.session
            .expire(at(4), &timeouts, &mut talk.out)
            .unwrap()
            .is_none()
    );
    let end = talk.session.expire(at(5), &timeouts, &mut talk.out);
    assert_eq!(end.unwrap_err(), Fatal(Reason::EnhanceYourCalm));
    // Windows may be below zero for a while (RFC 9113 section 6.9.2).
    talk.out.clear();
    talk.say(&frame(kind::SETTINGS, 0, 0, &[0, 4, 0, 0, 0, 0]));
    assert_eq!(talk.written(), [(kind::SETTINGS, 0)]);
    talk.say(&frame(kind::WINDOW_UPDATE, 0, 1, &[0, 0, 0, 8]));
    assert_eq!(talk.written(), [(kind::DATA, 4), (kind::HEADERS, 1)]);
}

#[test]
fn whoever_leaves_answers_what_was_asked() {
    let mut talk = Talk::new();
    talk.say(&frame(kind::HEADERS, BOTH, 1, &post(&[])));
    talk.session.leave(&mut talk.out);
    assert_eq!(talk.written().last(), Some(&(kind::GOAWAY, 8)));
    assert_eq!(
        talk.say(&frame(kind::HEADERS, BOTH, 3, &post(&[]))),
        End::Open
    );
    assert_eq!(talk.requests.len(), 1, "the second one is not looked at");
    talk.session
        .respond(1, &[0x88], b"", None, talk.now, &mut talk.out);
    assert!(talk.session.is_idle());
}
