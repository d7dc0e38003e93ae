//! Bodies of CoreDNS's service over gRPC, of either direction: `DnsPacket { bytes msg = 1 }`, and what gRPC has
//! in front of it.

/// Octets in front of a packet: whether it is compressed, and its length.
const PREFIX: usize = 5;
/// Field 1, length-delimited.
const MSG: u8 = 0x0a;

/// Why a body cannot be read.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Unreadable {
    /// It is compressed; nobody agreed to that.
    Compressed,
    /// It is not one packet.
    Malformed,
}

/// The DNS message in a body; empty where the packet has none.
///
/// # Errors
/// The body is something else than one packet of its own length.
pub fn message(body: &[u8]) -> Result<&[u8], Unreadable> {
    let ([compressed, length @ ..], packet) = body
        .split_first_chunk::<PREFIX>()
        .ok_or(Unreadable::Malformed)?;
    if *compressed != 0 {
        return Err(Unreadable::Compressed);
    }
    // A unary call has one message.
    if u32::from_be_bytes(*length) as usize != packet.len() {
        return Err(Unreadable::Malformed);
    }
    field(packet).ok_or(Unreadable::Malformed)
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

/// Appends the body with a DNS message.
pub fn write_message(message: &[u8], out: &mut Vec<u8>) {
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
                Err(Unreadable::Malformed),
                "{packet:?}"
            );
        }
        let mut compressed = framed(b"\x0a\x01x");
        compressed[0] = 1;
        assert_eq!(message(&compressed), Err(Unreadable::Compressed));
        let mut twice = framed(b"\x0a\x01x");
        twice.extend(framed(b"\x0a\x01x"));
        assert_eq!(message(&twice), Err(Unreadable::Malformed));
        assert_eq!(message(b"\0\0\0"), Err(Unreadable::Malformed));
    }
}
