//! HTTP/1.1 (RFC 9112): one request at a time, answered before the next one is looked at.
use httparse::{EMPTY_HEADER, Header, Status};

use crate::request::{Field, Problem, Request};

/// Lines of a request's head.
const LINES_MAX: usize = 64;
/// Octets of a chunk's first line, and of each line of a chunked body's trailers.
const LINE_MAX: usize = 256;
/// Lines of trailers.
const TRAILERS_MAX: u8 = 16;

/// How much a client may ask for.
#[derive(Clone, Copy, Debug)]
pub struct Config {
    /// Octets of a request's head.
    pub head_octets_max: usize,
    /// Octets of a body.
    pub body_octets_max: usize,
}

/// The server's side of one connection.
#[derive(Debug)]
pub struct Session {
    config: Config,
    state: State,
    /// Octets in which no end of a head was found.
    searched: usize,
    /// The connection ends with the answer to this request.
    closing: bool,
    request: Box<Request>,
}

#[derive(Debug)]
enum State {
    Head,
    Body(u64),
    Chunk(Chunk),
    Answering,
}

/// What comes next in a chunked body (RFC 9112 section 7.1).
#[derive(Clone, Copy, Debug)]
enum Chunk {
    Size,
    Data(u64),
    End,
    Trailers(u8),
}

/// The first line and the fields of a response.
#[derive(Clone, Copy, Debug)]
pub struct Response<'a> {
    /// The status and its reason, such as `200 OK`.
    pub status: &'a str,
    /// Names and values; the length and the connection's end are added.
    pub fields: &'a [(&'a str, &'a str)],
}

impl Session {
    /// The beginning of a connection.
    pub fn new(config: Config) -> Self {
        Self {
            config,
            state: State::Head,
            searched: 0,
            closing: false,
            request: Box::default(),
        }
    }

    /// Takes octets from the beginning of `input`; returns how many, and a request once it is whole,
    /// which is to be answered before anything else is taken.
    ///
    /// Of a request with a [`Problem`] nobody knows where it ends: its answer is the last one.
    pub fn receive(&mut self, input: &[u8], out: &mut Vec<u8>) -> (usize, Option<Box<Request>>) {
        let mut taken = 0;
        loop {
            let rest = &input[taken..];
            let step = match self.state {
                State::Head => self.head(rest, out),
                State::Body(left) => self.body(rest, left),
                State::Chunk(chunk) => self.chunk(rest, chunk),
                State::Answering => Ok(0),
            };
            match step {
                Ok(0) => break,
                Ok(length) => taken += length,
                Err(problem) => {
                    self.request.problem = Some(problem);
                    self.closing = true;
                    self.state = State::Answering;
                    return (input.len(), Some(std::mem::take(&mut self.request)));
                }
            }
            if matches!(self.state, State::Answering) {
                return (taken, Some(std::mem::take(&mut self.request)));
            }
        }
        (taken, None)
    }

    /// Answers the request that was handed out, and takes it back for the next one.
    pub fn respond(
        &mut self,
        request: Box<Request>,
        response: Response<'_>,
        body: &[u8],
        out: &mut Vec<u8>,
    ) {
        out.extend_from_slice(b"HTTP/1.1 ");
        out.extend_from_slice(response.status.as_bytes());
        for (name, value) in response.fields {
            out.extend_from_slice(b"\r\n");
            out.extend_from_slice(name.as_bytes());
            out.extend_from_slice(b": ");
            out.extend_from_slice(value.as_bytes());
        }
        out.extend_from_slice(b"\r\ncontent-length: ");
        write_number(out, body.len());
        if self.closing {
            out.extend_from_slice(b"\r\nconnection: close");
        }
        out.extend_from_slice(b"\r\n\r\n");
        if !request.is_head() {
            out.extend_from_slice(body);
        }
        if request.is_small() {
            self.request = request;
        }
        self.state = State::Head;
        self.searched = 0;
    }

    /// The next answer is the last one.
    pub fn leave(&mut self) {
        self.closing = true;
    }

    /// Whether the connection is over once everything is written.
    pub fn is_over(&self) -> bool {
        self.closing && matches!(self.state, State::Head)
    }

    /// Whether a request has begun that is not whole yet.
    pub fn is_waiting_for_client(&self) -> bool {
        matches!(self.state, State::Body(_) | State::Chunk(_))
    }

    /// Gives up waiting for the rest of a request's body.
    pub fn expire(&mut self) -> Option<Box<Request>> {
        if !self.is_waiting_for_client() {
            return None;
        }
        self.closing = true;
        self.state = State::Answering;
        self.request.problem = Some(Problem::Late);
        Some(std::mem::take(&mut self.request))
    }

    fn head(&mut self, input: &[u8], out: &mut Vec<u8>) -> Result<usize, Problem> {
        // Empty lines in front of a request are ignored, also in pieces (RFC 9112 section 2.2).
        match input {
            [b'\r', b'\n', ..] if self.searched == 0 => return Ok(2),
            [b'\n', ..] if self.searched == 0 => return Ok(1),
            [b'\r'] => return Ok(0),
            _ => (),
        }
        if self.closing {
            return Ok(0);
        }
        let from = self.searched.saturating_sub(3);
        let ended = input[from..]
            .windows(3)
            .any(|window| window == b"\n\r\n" || window[1..] == *b"\n\n");
        if !ended {
            self.searched = input.len();
            return match input.len() > self.config.head_octets_max {
                true => Err(Problem::HeadersTooLarge),
                false => Ok(0),
            };
        }
        self.request.clear();
        let mut lines = [EMPTY_HEADER; LINES_MAX];
        let mut parsed = httparse::Request::new(&mut lines);
        let length = match parsed.parse(input) {
            Ok(Status::Complete(length)) => length,
            Err(httparse::Error::TooManyHeaders) => return Err(Problem::HeadersTooLarge),
            Ok(Status::Partial) | Err(_) => return Err(Problem::Malformed),
        };
        if length > self.config.head_octets_max {
            return Err(Problem::HeadersTooLarge);
        }
        let (method, target) = (parsed.method.unwrap_or(""), parsed.path.unwrap_or(""));
        self.request.keep(Field::Method, method.as_bytes());
        self.request
            .keep(Field::Path, origin_form(target.as_bytes()));
        let framing = self.fields(parsed.headers, parsed.version == Some(1))?;
        self.searched = 0;
        self.state = match framing {
            Framing::Length(0) => State::Answering,
            Framing::Length(left) if left > self.config.body_octets_max as u64 => {
                return Err(Problem::BodyTooLarge);
            }
            Framing::Length(left) => State::Body(left),
            Framing::Chunked => State::Chunk(Chunk::Size),
        };
        if self.is_waiting_for_client() && expects_continue(parsed.headers) && length == input.len()
        {
            out.extend_from_slice(b"HTTP/1.1 100 Continue\r\n\r\n");
        }
        Ok(length)
    }

    fn fields(&mut self, lines: &[Header<'_>], keeps_alive: bool) -> Result<Framing, Problem> {
        let (mut hosts, mut chunked) = (0, false);
        self.closing |= !keeps_alive;
        for line in lines {
            let is = |name: &str| line.name.eq_ignore_ascii_case(name);
            if is("host") {
                hosts += 1;
            } else if is("transfer-encoding") {
                if chunked || !line.value.trim_ascii().eq_ignore_ascii_case(b"chunked") {
                    return Err(Problem::UnknownCoding);
                }
                chunked = true;
            } else if is("connection") {
                let closes = |option: &[u8]| option.trim_ascii().eq_ignore_ascii_case(b"close");
                self.closing |= line.value.split(|octet| *octet == b',').any(closes);
            } else {
                let mut name = [0; 32];
                let Some(lower) = name.get_mut(..line.name.len()) else {
                    continue;
                };
                lower.copy_from_slice(line.name.as_bytes());
                lower.make_ascii_lowercase();
                let field = Field::of(lower);
                if !field.is_pseudo() && !self.request.keep(field, line.value.trim_ascii()) {
                    return Err(Problem::Malformed);
                }
            }
        }
        // RFC 9112 section 3.2: exactly one, except for HTTP/1.0.
        if hosts > 1 || hosts == 0 && keeps_alive {
            return Err(Problem::Malformed);
        }
        match (self.request.field(Field::ContentLength), chunked) {
            (None, false) => Ok(Framing::Length(0)),
            (None, true) => Ok(Framing::Chunked),
            // Two lengths are how requests are smuggled (RFC 9112 section 6.3).
            (Some(_), true) => Err(Problem::Malformed),
            (Some(text), false) => crate::request::length(text)
                .map(Framing::Length)
                .ok_or(Problem::Malformed),
        }
    }

    fn body(&mut self, input: &[u8], left: u64) -> Result<usize, Problem> {
        let length = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
        self.request.body.extend_from_slice(&input[..length]);
        self.state = match left - length as u64 {
            0 => State::Answering,
            left => State::Body(left),
        };
        Ok(length)
    }

    fn chunk(&mut self, input: &[u8], chunk: Chunk) -> Result<usize, Problem> {
        if let Chunk::Data(left) = chunk {
            let length = input.len().min(usize::try_from(left).unwrap_or(usize::MAX));
            if self.request.body.len() + length > self.config.body_octets_max {
                return Err(Problem::BodyTooLarge);
            }
            self.request.body.extend_from_slice(&input[..length]);
            self.state = State::Chunk(match left - length as u64 {
                0 => Chunk::End,
                left => Chunk::Data(left),
            });
            return Ok(length);
        }
        let Some(end) = input
            .iter()
            .take(LINE_MAX)
            .position(|octet| *octet == b'\n')
        else {
            return match input.len() >= LINE_MAX {
                true => Err(Problem::Malformed),
                false => Ok(0),
            };
        };
        let line = input[..end].strip_suffix(b"\r").ok_or(Problem::Malformed)?;
        self.state = match chunk {
            Chunk::Size => match chunk_size(line).ok_or(Problem::Malformed)? {
                0 => State::Chunk(Chunk::Trailers(0)),
                size => State::Chunk(Chunk::Data(size)),
            },
            Chunk::End if line.is_empty() => State::Chunk(Chunk::Size),
            Chunk::Trailers(_) if line.is_empty() => State::Answering,
            Chunk::Trailers(count) if count < TRAILERS_MAX => {
                State::Chunk(Chunk::Trailers(count + 1))
            }
            _ => return Err(Problem::Malformed),
        };
        Ok(end + 1)
    }
}

enum Framing {
    Length(u64),
    Chunked,
}

/// A chunk's size; extensions are ignored.
fn chunk_size(line: &[u8]) -> Option<u64> {
    let end = line
        .iter()
        .position(|octet| *octet == b';')
        .unwrap_or(line.len());
    let digits = line[..end].trim_ascii_end();
    let hexadecimal = digits.iter().all(u8::is_ascii_hexdigit) && (1..=8).contains(&digits.len());
    let text = std::str::from_utf8(digits).ok().filter(|_| hexadecimal)?;
    u64::from_str_radix(text, 16).ok()
}

/// The path of a target that may be a whole URI (RFC 9112 section 3.2.2).
fn origin_form(target: &[u8]) -> &[u8] {
    let behind = |scheme: &[u8]| {
        let (own, rest) = target.split_at_checked(scheme.len())?;
        own.eq_ignore_ascii_case(scheme).then_some(rest)
    };
    let rest = behind(b"https://").or_else(|| behind(b"http://"));
    let path = rest.and_then(|rest| rest.get(rest.iter().position(|octet| *octet == b'/')?..));
    path.unwrap_or(target)
}

fn expects_continue(lines: &[Header<'_>]) -> bool {
    lines.iter().any(|line| {
        line.name.eq_ignore_ascii_case("expect") && line.value.eq_ignore_ascii_case(b"100-continue")
    })
}

fn write_number(out: &mut Vec<u8>, number: usize) {
    let mut digits = [0; 20];
    let (mut at, mut rest) = (digits.len(), number);
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;

    const OK: Response<'static> = Response {
        status: "200 OK",
        fields: &[],
    };

    const CONFIG: Config = Config {
        head_octets_max: 1024,
        body_octets_max: 64,
    };

    /// What comes of these octets, given in pieces of `size`.
    fn receive(text: &str, size: usize) -> (Vec<Result<String, Problem>>, bool) {
        let mut session = Session::new(CONFIG);
        let (mut input, mut found) = (Vec::new(), Vec::new());
        for piece in text.as_bytes().chunks(size) {
            input.extend_from_slice(piece);
            loop {
                let mut out = Vec::new();
                let (taken, request) = session.receive(&input, &mut out);
                input.drain(..taken);
                let Some(request) = request else { break };
                let show = |field| String::from_utf8_lossy(request.field(field).unwrap_or(b"-"));
                found.push(match request.problem {
                    Some(problem) => Err(problem),
                    None => Ok(format!(
                        "{} {} {}",
                        show(Field::Method),
                        show(Field::Path),
                        String::from_utf8_lossy(&request.body)
                    )),
                });
                session.respond(request, OK, b"", &mut out);
            }
        }
        (found, session.is_over())
    }

    #[test]
    fn requests_come_in_pieces_of_any_size() {
        let text = "GET /a?b HTTP/1.1\r\nHost: x\r\n\r\n\
            \r\n\n\r\nPOST /p HTTP/1.1\r\nhost: x\r\nContent-Length: 5\r\n\r\nhello\
            POST /c HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n\
            3;x=y\r\nabc\r\n02\r\nde\r\n0\r\nX: y\r\n\r\n\
            GET HTTPS://x/z HTTP/1.1\nHost: x\nConnection: foo, Close\n\n\
            GET /never HTTP/1.1\r\nHost: x\r\n\r\n";
        for size in [1, 2, 3, 7, 64, 4096] {
            let (found, over) = receive(text, size);
            let expected = ["GET /a?b ", "POST /p hello", "POST /c abcde", "GET /z "];
            assert_eq!(found, expected.map(|text| Ok(text.to_owned())), "{size}");
            assert!(over);
        }
    }

    #[test]
    fn head_gets_no_body() {
        for (method, body) in [("GET", "hello"), ("HEAD", "")] {
            let text = format!("{method} / HTTP/1.1\r\nHost: x\r\n\r\n");
            let (mut session, mut out) = (Session::new(CONFIG), Vec::new());
            let (_, request) = session.receive(text.as_bytes(), &mut out);
            session.respond(request.unwrap(), OK, b"hello", &mut out);
            let end = format!("length: 5\r\n\r\n{body}");
            assert!(out.ends_with(end.as_bytes()), "{method}");
        }
    }

    #[test]
    fn what_is_wrong_is_told_and_ends_the_connection() {
        use Problem::*;
        let long = format!(
            "GET / HTTP/1.1\r\nHost: x\r\nA: {}\r\n\r\n",
            "a".repeat(2000)
        );
        let many = format!("GET / HTTP/1.1\r\nHost: x\r\n{}\r\n", "A: b\r\n".repeat(70));
        let post = |lines: &str| format!("POST / HTTP/1.1\r\nHost: x\r\n{lines}\r\n");
        for (text, problem) in [
            ("GARBAGE\r\n\r\n".to_owned(), Malformed),
            ("GET / HTTP/1.1\r\n\r\n".into(), Malformed),
            (
                "GET / HTTP/1.1\r\nHost: a\r\nHost: b\r\n\r\n".into(),
                Malformed,
            ),
            (
                "GET / HTTP/1.1\r\nHost: a\r\n folded\r\n\r\n".into(),
                Malformed,
            ),
            (
                post("Content-Length: 5\r\nTransfer-Encoding: chunked\r\n"),
                Malformed,
            ),
            (
                post("Content-Length: 5\r\nContent-Length: 6\r\n"),
                Malformed,
            ),
            (post("Content-Length: +5\r\n"), Malformed),
            (post("Content-Length: 65\r\n"), BodyTooLarge),
            (post("Transfer-Encoding: gzip, chunked\r\n"), UnknownCoding),
            (
                post("Transfer-Encoding: chunked\r\n") + "41\r\n" + &"a".repeat(65),
                BodyTooLarge,
            ),
            (
                post("Transfer-Encoding: chunked\r\n") + "+1\r\na\r\n",
                Malformed,
            ),
            (
                post("Transfer-Encoding: chunked\r\n") + "1\r\nab\r\n",
                Malformed,
            ),
            (
                post("Transfer-Encoding: chunked\r\n") + &"1".repeat(300),
                Malformed,
            ),
            (
                post("Transfer-Encoding: chunked\r\n") + "0\r\n" + &"A: b\r\n".repeat(20),
                Malformed,
            ),
            (long, HeadersTooLarge),
            (many, HeadersTooLarge),
        ] {
            let (found, over) = receive(&text, 4096);
            assert_eq!(found, [Err(problem)], "{text:.80}");
            assert!(over, "{text:.80}");
        }
    }

    #[test]
    fn a_body_that_does_not_come_is_given_up() {
        let mut session = Session::new(CONFIG);
        let mut out = Vec::new();
        assert!(session.expire().is_none());
        let head =
            b"POST / HTTP/1.1\r\nHost: x\r\nExpect: 100-continue\r\nContent-Length: 5\r\n\r\n";
        let (taken, request) = session.receive(head, &mut out);
        assert_eq!((taken, request.is_none()), (head.len(), true));
        assert_eq!(out, b"HTTP/1.1 100 Continue\r\n\r\n");
        let request = session.expire().unwrap();
        assert_eq!(request.problem, Some(Problem::Late));
    }
}
