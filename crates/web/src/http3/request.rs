//! A request stream (RFC 9114 section 4.1).
use super::{Code, Fault, Head, qpack};
use crate::block::Block;
use crate::request::{Field, Problem, Request, length};

/// Bounds of a request.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Octets of a header list, and of the block that it comes in.
    pub header_octets_max: u32,
    /// Octets of a body.
    pub body_octets_max: u32,
}

/// A request that is being read.
#[derive(Debug)]
pub struct Reader {
    limits: Limits,
    head: Head,
    within: Within,
    begun: bool,
    /// Trailers have come; nothing may follow.
    over: bool,
    block: Vec<u8>,
    request: Request,
}

/// What the octets belong to that come next.
#[derive(Clone, Copy, Debug)]
enum Within {
    Head,
    Headers(u64),
    Data(u64),
    /// A frame that means nothing here.
    Other(u64),
}

/// Frames (RFC 9114 section 7.2).
const DATA: u64 = 0;
const HEADERS: u64 = 1;

impl Reader {
    /// Reads a request into this memory.
    pub fn new(limits: Limits, mut request: Request) -> Self {
        request.clear();
        Self {
            limits,
            head: Head::default(),
            within: Within::Head,
            begun: false,
            over: false,
            block: Vec::new(),
            request,
        }
    }

    /// Octets that it holds.
    pub fn held(&self) -> usize {
        self.block.len() + self.request.body.len()
    }

    /// Whether the answer is known before the request is whole: it is too large.
    pub fn is_hopeless(&self) -> bool {
        self.request.problem.is_some()
    }

    /// Takes what comes next on the stream.
    ///
    /// # Errors
    /// What the client did wrong, and whether the connection can go on.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let mut rest = octets;
        loop {
            match self.within {
                Within::Head => {
                    let Some((kind, length)) = self.head.take(&mut rest) else {
                        return Ok(());
                    };
                    self.within = match self.frame(kind, length)? {
                        Within::Data(0) | Within::Other(0) => Within::Head,
                        within => within,
                    };
                }
                Within::Headers(left) => {
                    let part = split(&mut rest, left);
                    if !self.is_hopeless() {
                        self.block.extend_from_slice(part);
                    }
                    let left = left - part.len() as u64;
                    self.within = Within::Headers(left);
                    if left > 0 {
                        return Ok(());
                    }
                    self.within = Within::Head;
                    self.headers()?;
                }
                Within::Data(left) => {
                    let part = split(&mut rest, left);
                    if self.request.body.len() + part.len() > self.limits.body_octets_max as usize {
                        self.request.problem = Some(Problem::BodyTooLarge);
                    }
                    if !self.is_hopeless() {
                        self.request.body.extend_from_slice(part);
                    }
                    self.within = behind(left, part, Within::Data);
                }
                Within::Other(left) => {
                    let part = split(&mut rest, left);
                    self.within = behind(left, part, Within::Other);
                }
            }
            if rest.is_empty() && !matches!(self.within, Within::Headers(0)) {
                return Ok(());
            }
        }
    }

    /// The request, when the stream has ended, or when it is hopeless.
    ///
    /// # Errors
    /// The stream ended too early, or the body is not as long as the head says.
    pub fn finish(self) -> Result<Request, Fault> {
        if self.is_hopeless() {
            return Ok(self.request);
        }
        if !self.begun || !matches!(self.within, Within::Head) || !self.head.is_empty() {
            return Err(Fault::Stream(Code::RequestIncomplete));
        }
        let told = self.request.field(Field::ContentLength).map(length);
        if told.is_some_and(|told| told != Some(self.request.body.len() as u64)) {
            return Err(Fault::Stream(Code::Message));
        }
        Ok(self.request)
    }

    fn frame(&mut self, kind: u64, length: u64) -> Result<Within, Fault> {
        const UNEXPECTED: Fault = Fault::Connection(Code::FrameUnexpected);
        match kind {
            DATA if self.begun && !self.over => Ok(Within::Data(length)),
            HEADERS if !self.over => {
                if length > self.limits.header_octets_max.into() {
                    self.request.problem = Some(Problem::HeadersTooLarge);
                }
                Ok(Within::Headers(length))
            }
            // CANCEL_PUSH, SETTINGS, PUSH_PROMISE, GOAWAY, MAX_PUSH_ID; and those of HTTP/2.
            DATA | HEADERS | 2..=9 | 0xd => Err(UNEXPECTED),
            _ => Ok(Within::Other(length)),
        }
    }

    /// A header block is whole: the request's, or its trailers.
    fn headers(&mut self) -> Result<(), Fault> {
        self.over = self.begun;
        self.begun = true;
        if self.is_hopeless() {
            self.block.clear();
            return Ok(());
        }
        let mut fields = Block::new(self.limits.header_octets_max);
        let (request, is_trailers) = (&mut self.request, self.over);
        qpack::decode(&self.block, |line| {
            fields.take(&line, (!is_trailers).then_some(&mut *request));
        })
        .map_err(|_| Fault::Connection(Code::DecompressionFailed))?;
        self.block.clear();
        if fields.too_large {
            self.request.problem = Some(Problem::HeadersTooLarge);
            return Ok(());
        }
        if !fields.good || !self.request.has_target() {
            return Err(Fault::Stream(Code::Message));
        }
        let told = self.request.field(Field::ContentLength).and_then(length);
        if told.is_some_and(|told| told > self.limits.body_octets_max.into()) {
            self.request.problem = Some(Problem::BodyTooLarge);
        }
        Ok(())
    }
}

/// Takes up to `most` octets from the front.
fn split<'o>(rest: &mut &'o [u8], most: u64) -> &'o [u8] {
    let count = usize::try_from(most).map_or(rest.len(), |most| most.min(rest.len()));
    let (part, behind) = rest.split_at(count);
    *rest = behind;
    part
}

fn behind(left: u64, part: &[u8], within: fn(u64) -> Within) -> Within {
    match left - part.len() as u64 {
        0 => Within::Head,
        left => within(left),
    }
}

#[cfg(test)]
mod tests {
    use super::super::write_response;
    use super::*;

    const LIMITS: Limits = Limits {
        header_octets_max: 1000,
        body_octets_max: 20,
    };

    /// A header block of GET /dns-query with these lines behind.
    fn block(more: &[u8]) -> Vec<u8> {
        [b"\0\0\xd1\xd7\x51\x0a/dns-query", more].concat()
    }

    fn read(octets: &[u8]) -> Result<Request, Fault> {
        let mut reader = Reader::new(LIMITS, Request::default());
        reader.take(octets)?;
        let whole = reader.finish();
        // However it is cut, the same comes of it.
        let mut reader = Reader::new(LIMITS, Request::default());
        for octet in octets.chunks(1) {
            reader.take(octet)?;
        }
        let cut = reader.finish();
        assert_eq!(
            whole.as_ref().map(|request| &request.body),
            cut.as_ref().map(|request| &request.body)
        );
        whole
    }

    fn frames(block: &[u8], body: &[u8]) -> Vec<u8> {
        let mut out = Vec::new();
        write_response(&mut out, block, body);
        out
    }

    #[test]
    fn requests_are_read() {
        let request = read(&frames(&block(b""), b"")).unwrap();
        assert_eq!(request.field(Field::Method), Some(&b"GET"[..]));
        assert_eq!(request.field(Field::Path), Some(&b"/dns-query"[..]));
        let request = read(&frames(&block(b"\x54\x014"), b"body")).unwrap();
        assert_eq!((&request.body[..], request.problem), (&b"body"[..], None));
        // Frames that nobody knows, DATA in pieces, trailers.
        let mut octets = b"\x21\x03abc".to_vec();
        octets.extend(frames(&block(b""), b"one"));
        octets.extend(b"\0\x03two\x40\x60\0\0\0\x01\x06\0\0\x5f\x50\x01x");
        assert_eq!(read(&octets).unwrap().body, b"onetwo");
    }

    #[test]
    fn what_is_too_large_is_forgotten_as_it_comes() {
        let mut reader = Reader::new(LIMITS, Request::default());
        reader.take(&frames(&block(b""), &[7; 19])).unwrap();
        reader.take(b"\0\x82\0\0\0").unwrap();
        reader.take(&[7; 2000]).unwrap();
        assert!(reader.is_hopeless() && reader.held() <= 20);
        let request = reader.finish().unwrap();
        assert_eq!(request.problem, Some(Problem::BodyTooLarge));
        let mut reader = Reader::new(LIMITS, Request::default());
        reader.take(b"\x01\x82\0\0\0").unwrap();
        reader.take(&[0; 2000]).unwrap();
        assert!(reader.is_hopeless() && reader.held() == 0);
        let long = [b"\x54\x02", &b"21"[..]].concat();
        assert_eq!(
            read(&frames(&block(&long), b"")).unwrap().problem,
            Some(Problem::BodyTooLarge)
        );
        let lines = b"\xdd".repeat(40);
        assert_eq!(
            read(&frames(&block(&lines), b"")).unwrap().problem,
            Some(Problem::HeadersTooLarge)
        );
    }

    #[test]
    fn mistakes_are_told_apart() {
        let whole = frames(&block(b""), b"");
        for (octets, fault) in [
            (b"".to_vec(), Fault::Stream(Code::RequestIncomplete)),
            (whole[..5].to_vec(), Fault::Stream(Code::RequestIncomplete)),
            (
                [&whole[..], b"\0"].concat(),
                Fault::Stream(Code::RequestIncomplete),
            ),
            (
                b"\0\x01a".to_vec(),
                Fault::Connection(Code::FrameUnexpected),
            ),
            (
                [&whole[..], b"\x04\0"].concat(),
                Fault::Connection(Code::FrameUnexpected),
            ),
            (frames(b"\0\0\xd1", b""), Fault::Stream(Code::Message)),
            (
                // The same pseudo-header field twice.
                frames(&block(b"\xd1"), b""),
                Fault::Stream(Code::Message),
            ),
            (
                frames(&block(b"\x54\x015"), b"four"),
                Fault::Stream(Code::Message),
            ),
            (
                // The dynamic table has no entries.
                frames(b"\0\0\x80", b""),
                Fault::Connection(Code::DecompressionFailed),
            ),
        ] {
            assert_eq!(read(&octets).unwrap_err(), fault, "{octets:?}");
        }
    }
}
