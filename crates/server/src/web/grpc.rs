//! Messages and trailers of gRPC, for one method: `coredns.dns.DnsService/Query`, which takes and
//! gives `DnsPacket { bytes msg = 1 }`.
use corten_web::http2::hpack::{self, index};

/// Where the method is.
pub(crate) const PATH: &[u8] = b"/coredns.dns.DnsService/Query";
const SERVICE: &[u8] = b"/coredns.dns.DnsService/";
const CONTENT_TYPE: &[u8] = b"application/grpc";
/// Octets in front of a message: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Field 1, length-delimited.
const MSG: u8 = 0x0a;

/// Why a call fails, in grpc-go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    UnknownService,
    UnknownMethod,
    /// The message is not one of protobuf's, or none.
    Undecodable,
    /// What it holds is no DNS query.
    NoQuery,
    TooLarge,
    Compressed,
    Late,
    NoResponse,
    Busy,
}

impl Failure {
    const fn status(self) -> (&'static str, &'static str) {
        match self {
            Self::UnknownService => ("12", "unknown service"),
            Self::UnknownMethod => ("12", "unknown method for service coredns.dns.DnsService"),
            Self::Undecodable => ("13", "grpc: error unmarshalling request"),
            Self::NoQuery => ("2", "dns: bad query"),
            Self::TooLarge => ("8", "grpc: received message larger than max"),
            Self::Compressed => ("12", "grpc: Decompressor is not installed"),
            Self::Late => ("4", "the request took too long"),
            Self::NoResponse => ("13", "no response"),
            Self::Busy => ("14", "too many queries wait"),
        }
    }
}

/// Whether a content type is gRPC's.
pub(crate) fn is_grpc(content_type: Option<&[u8]>) -> bool {
    let rest = content_type.and_then(|value| value.strip_prefix(CONTENT_TYPE));
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// Why a path is not the method's.
pub(crate) fn unknown(path: &[u8]) -> Failure {
    match path.starts_with(SERVICE) {
        true => Failure::UnknownMethod,
        false => Failure::UnknownService,
    }
}

/// The DNS message in the body of a call.
pub(crate) fn message(body: &[u8]) -> Result<&[u8], Failure> {
    let ([compressed, length @ ..], packet) = body
        .split_first_chunk::<PREFIX>()
        .ok_or(Failure::Undecodable)?;
    if *compressed != 0 {
        return Err(Failure::Compressed);
    }
    // A unary call has one message.
    if u32::from_be_bytes(*length) as usize != packet.len() {
        return Err(Failure::Undecodable);
    }
    field(packet).ok_or(Failure::Undecodable)
}

/// The last field 1 of a protobuf message; others are skipped.
fn field(packet: &[u8]) -> Option<&[u8]> {
    let (mut rest, mut found) = (packet, &[][..]);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let length = match tag & 7 {
            0 => {
                varint(&mut rest)?;
                0
            }
            1 => 8,
            2 => usize::try_from(varint(&mut rest)?).ok()?,
            5 => 4,
            _ => return None,
        };
        let (value, behind) = rest.split_at_checked(length)?;
        rest = behind;
        match tag {
            0x0a => found = value,
            _ if tag >> 3 == 0 => return None,
            _ => (),
        }
    }
    Some(found)
}

fn varint(rest: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in 0..10 {
        let (&octet, behind) = rest.split_first()?;
        *rest = behind;
        number |= u64::from(octet & 0x7f) << (7 * shift);
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

/// Writes a DNS message as the body of a response.
pub(crate) fn write_message(message: &[u8], out: &mut Vec<u8>) {
    let mut length = [0; 3];
    let mut digits = 0;
    let mut rest = message.len();
    // 65,535 octets at most: three digits of seven bits.
    loop {
        length[digits] = (rest & 0x7f) as u8;
        rest >>= 7;
        digits += 1;
        if rest == 0 || digits == length.len() {
            break;
        }
        length[digits - 1] |= 0x80;
    }
    let packet = 1 + digits + message.len();
    out.push(0);
    out.extend_from_slice(&(packet as u32).to_be_bytes());
    out.push(MSG);
    out.extend_from_slice(&length[..digits]);
    out.extend_from_slice(message);
}

/// The head of a response that goes well.
pub(crate) fn write_head(block: &mut Vec<u8>) {
    hpack::write_indexed(block, index::STATUS_200);
    hpack::write_value(block, index::CONTENT_TYPE, CONTENT_TYPE);
}

/// The trailers behind it.
pub(crate) fn write_trailers(block: &mut Vec<u8>) {
    hpack::write_field(block, b"grpc-status", b"0");
}

/// A response that is a failure and nothing else.
pub(crate) fn write_failure(failure: Failure, block: &mut Vec<u8>) {
    let (status, text) = failure.status();
    write_head(block);
    hpack::write_field(block, b"grpc-status", status.as_bytes());
    hpack::write_field(block, b"grpc-message", text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    fn framed(packet: &[u8]) -> Vec<u8> {
        let mut body = vec![0];
        body.extend_from_slice(&(packet.len() as u32).to_be_bytes());
        body.extend_from_slice(packet);
        body
    }

    #[test]
    fn messages_are_written_as_they_are_read() {
        for length in [0, 1, 12, 127, 128, 300, 16_383, 16_384, 65_535] {
            let octets = vec![7; length];
            let mut body = Vec::new();
            write_message(&octets, &mut body);
            assert_eq!(message(&body), Ok(&octets[..]), "{length}");
        }
    }

    #[test]
    fn other_fields_are_skipped_and_nonsense_is_told() {
        // Fields 2 (varint), 3 (64 bits), 4 (text), 5 (32 bits), and 1 twice: the last counts.
        let packet = b"\x10\x05\x19aaaaaaaa\x22\x01a\x2daaaa\x0a\x01x\x0a\x02hi";
        assert_eq!(message(&framed(packet)), Ok(&b"hi"[..]));
        assert_eq!(message(&framed(b"")), Ok(&b""[..]));
        for packet in [
            &b"\x0a"[..],
            b"\x0a\x05hi",
            b"\x0b\x01",
            b"\x02\x01a",
            &[0xff; 12],
        ] {
            assert_eq!(
                message(&framed(packet)),
                Err(Failure::Undecodable),
                "{packet:?}"
            );
        }
        let mut compressed = framed(b"\x0a\x01x");
        compressed[0] = 1;
        assert_eq!(message(&compressed), Err(Failure::Compressed));
        let mut twice = framed(b"\x0a\x01x");
        twice.extend(framed(b"\x0a\x01x"));
        assert_eq!(message(&twice), Err(Failure::Undecodable));
        assert_eq!(message(b"\0\0\0"), Err(Failure::Undecodable));
    }

    #[test]
    fn content_types_are_those_of_grpc() {
        for (text, good) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpcs", false),
            ("application/dns-message", false),
        ] {
            assert_eq!(is_grpc(Some(text.as_bytes())), good, "{text}");
        }
        assert!(!is_grpc(None));
    }
}
