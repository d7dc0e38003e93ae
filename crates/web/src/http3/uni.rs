//! A stream that the client opened for itself (RFC 9114 section 6.2): its control stream, and those of
//! QPACK.
use super::{Code, Fault, Head, number};

/// SETTINGS and GOAWAY are short; longer ones are nobody's.
const PAYLOAD_MAX: u64 = 1024;

/// What the client's stream is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// Settings, and that it is about to leave.
    Control,
    /// Instructions for our dynamic table, which has no room.
    Encoder,
    /// What has become of our header blocks, which refer to no table.
    Decoder,
    /// Nothing known; nobody has to read it.
    Other,
}

/// Reads one.
#[derive(Debug, Default)]
pub struct Reader {
    kind: Option<Kind>,
    begun: [u8; 8],
    have: usize,
    head: Head,
    settings: bool,
    left: u64,
}

impl Reader {
    /// What the stream is for, when that is known.
    pub fn kind(&self) -> Option<Kind> {
        self.kind
    }

    /// Takes what comes next.
    ///
    /// # Errors
    /// What the client did wrong; the connection cannot go on.
    pub fn take(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let mut rest = octets;
        while self.kind.is_none() {
            let Some((octet, behind)) = rest.split_first() else {
                return Ok(());
            };
            rest = behind;
            if let Some(place) = self.begun.get_mut(self.have) {
                *place = *octet;
            }
            self.have += 1;
            let known = number(self.begun.get(..self.have).unwrap_or(&self.begun));
            self.kind = known.map(|(kind, _)| match kind {
                0 => Kind::Control,
                2 => Kind::Encoder,
                3 => Kind::Decoder,
                _ => Kind::Other,
            });
            // A push stream: only servers have them.
            if known.is_some_and(|(kind, _)| kind == 1) {
                return Err(Fault::Connection(Code::StreamCreation));
            }
        }
        match self.kind {
            Some(Kind::Control) => self.control(rest),
            // Room for a table of no octets may be set (RFC 9204 section 4.3.1); nothing fits in.
            Some(Kind::Encoder) if rest.iter().any(|octet| *octet != 0x20) => {
                Err(Fault::Connection(Code::EncoderStream))
            }
            _ => Ok(()),
        }
    }

    fn control(&mut self, octets: &[u8]) -> Result<(), Fault> {
        let mut rest = octets;
        loop {
            let skipped =
                usize::try_from(self.left).map_or(rest.len(), |left| left.min(rest.len()));
            rest = &rest[skipped..];
            self.left -= skipped as u64;
            if self.left > 0 {
                return Ok(());
            }
            let Some((kind, length)) = self.head.take(&mut rest) else {
                return Ok(());
            };
            const SETTINGS: u64 = 4;
            match kind {
                SETTINGS if self.settings => {
                    return Err(Fault::Connection(Code::FrameUnexpected));
                }
                SETTINGS => self.settings = true,
                _ if !self.settings => return Err(Fault::Connection(Code::MissingSettings)),
                // DATA, HEADERS, PUSH_PROMISE, and those of HTTP/2.
                0 | 1 | 2 | 5 | 6 | 8 | 9 => {
                    return Err(Fault::Connection(Code::FrameUnexpected));
                }
                _ => (),
            }
            // What the client takes does not matter: responses are small and refer to no table.
            if matches!(kind, 3 | SETTINGS | 7 | 0xd) && length > PAYLOAD_MAX {
                return Err(Fault::Connection(Code::ExcessiveLoad));
            }
            self.left = length;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(octets: &[u8]) -> Result<Option<Kind>, Fault> {
        let mut reader = Reader::default();
        for octet in octets.chunks(1) {
            reader.take(octet)?;
        }
        let mut whole = Reader::default();
        whole.take(octets)?;
        assert_eq!(whole.kind(), reader.kind());
        Ok(reader.kind())
    }

    #[test]
    fn streams_are_told_apart() {
        for (octets, kind) in [
            (&b""[..], None),
            (b"\x40", None),
            (b"\0", Some(Kind::Control)),
            (b"\0\x04\0", Some(Kind::Control)),
            (
                b"\0\x04\x02\x06\x01\x07\x01\0\x21\x02ab",
                Some(Kind::Control),
            ),
            (b"\x02", Some(Kind::Encoder)),
            (b"\x02\x20", Some(Kind::Encoder)),
            (b"\x03\x80\x40", Some(Kind::Decoder)),
            (b"\x40\x54anything", Some(Kind::Other)),
            (b"\xff\xff\xff\xff\xff\xff\xff\xff", Some(Kind::Other)),
        ] {
            assert_eq!(read(octets), Ok(kind), "{octets:?}");
        }
    }

    #[test]
    fn mistakes_end_the_connection() {
        for (octets, code) in [
            (&b"\x01"[..], Code::StreamCreation),
            (b"\0\x07\x01\0", Code::MissingSettings),
            (b"\0\x04\0\x04\0", Code::FrameUnexpected),
            (b"\0\x04\0\0\x01a", Code::FrameUnexpected),
            (b"\0\x04\x80\0\xff\xff", Code::ExcessiveLoad),
            (b"\x02\x3f\xe1\x1f", Code::EncoderStream),
        ] {
            assert_eq!(read(octets), Err(Fault::Connection(code)), "{octets:?}");
        }
    }
}
