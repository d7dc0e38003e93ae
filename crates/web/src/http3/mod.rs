//! HTTP/3 (RFC 9114), stream by stream: octets of a stream in, a request out.
//!
//! | module | what it is |
//! |---|---|
//! | [`request`] | a request stream |
//! | [`uni`] | a stream that the client opened for itself: control, QPACK |
//! | [`qpack`] | header compression (RFC 9204), with the static table alone |
//!
//! Nothing is kept that is not needed: the payload of a frame that means nothing here is counted and
//! forgotten, and a header block or a body that is too long is forgotten as it comes.
pub mod qpack;
pub mod request;
pub mod uni;

/// Why a connection, or one stream of it, ends (RFC 9114 section 8.1, RFC 9204 section 6).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u32)]
pub enum Code {
    /// H3_NO_ERROR
    NoError = 0x100,
    /// H3_STREAM_CREATION_ERROR
    StreamCreation = 0x103,
    /// H3_CLOSED_CRITICAL_STREAM
    ClosedCriticalStream = 0x104,
    /// H3_FRAME_UNEXPECTED
    FrameUnexpected = 0x105,
    /// H3_FRAME_ERROR
    Frame = 0x106,
    /// H3_EXCESSIVE_LOAD
    ExcessiveLoad = 0x107,
    /// H3_SETTINGS_ERROR
    Settings = 0x109,
    /// H3_MISSING_SETTINGS
    MissingSettings = 0x10a,
    /// H3_REQUEST_REJECTED
    RequestRejected = 0x10b,
    /// H3_REQUEST_CANCELLED
    RequestCancelled = 0x10c,
    /// H3_REQUEST_INCOMPLETE
    RequestIncomplete = 0x10d,
    /// H3_MESSAGE_ERROR
    Message = 0x10e,
    /// QPACK_DECOMPRESSION_FAILED
    DecompressionFailed = 0x200,
    /// QPACK_ENCODER_STREAM_ERROR
    EncoderStream = 0x201,
}

/// A mistake of the client.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fault {
    /// The connection cannot go on.
    Connection(Code),
    /// The stream cannot.
    Stream(Code),
}

/// What a server says first: a control stream with SETTINGS. No dynamic table, so that no request
/// waits for another stream; and the size of the header list.
pub fn write_control(out: &mut Vec<u8>, header_octets_max: u32) {
    /// The stream's type, and the type of the frame (RFC 9114 sections 6.2.1 and 7.2.4).
    const CONTROL: u64 = 0;
    const SETTINGS: u64 = 4;
    /// SETTINGS_MAX_FIELD_SECTION_SIZE
    const FIELD_SECTION: u64 = 6;
    let mut settings = Vec::new();
    write_number(&mut settings, FIELD_SECTION);
    write_number(&mut settings, header_octets_max.into());
    write_number(out, CONTROL);
    write_number(out, SETTINGS);
    write_number(out, settings.len() as u64);
    out.extend_from_slice(&settings);
}

/// Writes what a server says on its control stream when it is about to leave (RFC 9114 section 5.2):
/// requests on this stream and on later ones are not answered; `None` while it does not know yet which
/// will be the first.
pub fn write_goaway(out: &mut Vec<u8>, stream: Option<u64>) {
    const GOAWAY: u64 = 7;
    /// The last stream that a client could open.
    const LAST: u64 = (1 << 62) - 4;
    let mut payload = Vec::new();
    write_number(&mut payload, stream.unwrap_or(LAST).min(LAST));
    write_number(out, GOAWAY);
    write_number(out, payload.len() as u64);
    out.extend_from_slice(&payload);
}

/// Writes a response: a header block (see [`qpack`]) and a body.
pub fn write_response(out: &mut Vec<u8>, block: &[u8], body: &[u8]) {
    const DATA: u64 = 0;
    const HEADERS: u64 = 1;
    write_number(out, HEADERS);
    write_number(out, block.len() as u64);
    out.extend_from_slice(block);
    if !body.is_empty() {
        write_number(out, DATA);
        write_number(out, body.len() as u64);
        out.extend_from_slice(body);
    }
}

/// An integer of QUIC (RFC 9000 section 16), and what stands behind it; nothing while octets are
/// missing.
fn number(octets: &[u8]) -> Option<(u64, &[u8])> {
    let first = *octets.first()?;
    let (number, rest) = octets.split_at_checked(1 << (first >> 6))?;
    let number = number
        .iter()
        .fold(0, |number, octet| number << 8 | u64::from(*octet));
    let bits = 8 * (octets.len() - rest.len()) - 2;
    Some((number & ((1 << bits) - 1), rest))
}

fn write_number(out: &mut Vec<u8>, number: u64) {
    match number {
        0..0x40 => out.push(number as u8),
        0x40..0x4000 => out.extend_from_slice(&(number as u16 | 0x4000).to_be_bytes()),
        0x4000..0x4000_0000 => {
            out.extend_from_slice(&(number as u32 | 0x8000_0000).to_be_bytes());
        }
        _ => out.extend_from_slice(&(number | 0xc000_0000_0000_0000).to_be_bytes()),
    }
}

/// The heads of frames, however they are cut: type and length, eight octets each at most.
#[derive(Clone, Copy, Debug, Default)]
struct Head {
    octets: [u8; 16],
    have: usize,
}

impl Head {
    /// Takes what belongs to a head from the front of `rest`; type and length when it is whole.
    fn take(&mut self, rest: &mut &[u8]) -> Option<(u64, u64)> {
        loop {
            if let Some((kind, behind)) = number(&self.octets[..self.have])
                && let Some((length, _)) = number(behind)
            {
                self.have = 0;
                return Some((kind, length));
            }
            let (octet, behind) = rest.split_first()?;
            *rest = behind;
            // Two numbers are whole with 16 octets at the latest.
            *self.octets.get_mut(self.have)? = *octet;
            self.have += 1;
        }
    }

    fn is_empty(&self) -> bool {
        self.have == 0
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_have_four_sizes() {
        for (value, octets) in [
            (0, &b"\0"[..]),
            (63, b"\x3f"),
            (64, b"\x40\x40"),
            (15_293, b"\x7b\xbd"),
            (16_383, b"\x7f\xff"),
            (494_878_333, b"\x9d\x7f\x3e\x7d"),
            (151_288_809_941_952_652, b"\xc2\x19\x7c\x5e\xff\x14\xe8\x8c"),
        ] {
            let mut out = Vec::new();
            write_number(&mut out, value);
            assert_eq!(out, octets);
            out.push(7);
            assert_eq!(number(&out), Some((value, &b"\x07"[..])));
            assert_eq!(number(&octets[..octets.len() - 1]), None);
        }
    }

    #[test]
    fn heads_may_be_cut_anywhere() {
        let mut octets = Vec::new();
        write_number(&mut octets, 0x21 + 0x1f * 1_000_000);
        write_number(&mut octets, 70_000);
        octets.push(9);
        let mut head = Head::default();
        let mut found = None;
        for (at, octet) in octets.chunks(1).enumerate() {
            let mut rest = octet;
            if let Some(both) = head.take(&mut rest) {
                found = Some((at, both));
                break;
            }
        }
        assert_eq!(
            found,
            Some((octets.len() - 2, (0x21 + 0x1f * 1_000_000, 70_000)))
        );
    }

    #[test]
    fn the_servers_own_words() {
        let mut out = Vec::new();
        write_control(&mut out, 16_384);
        assert_eq!(out, b"\0\x04\x05\x06\x80\0\x40\0");
        out.clear();
        write_goaway(&mut out, Some(8));
        write_goaway(&mut out, None);
        assert_eq!(out, b"\x07\x01\x08\x07\x08\xff\xff\xff\xff\xff\xff\xff\xfc");
        out.clear();
        write_response(&mut out, b"block", b"");
        assert_eq!(out, b"\x01\x05block");
    }
}
