//! PROXY protocol headers: who a proxy says its client is.
//!
//! "The PROXY protocol, versions 1 & 2" by W. Tarreau (HAProxy, `doc/proxy-protocol.txt`). Not here: whose headers are
//! believed.
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Octets of the longest header that is read. Version 2 could carry 65,551; a header should fit one
/// segment of 536 (section 2.2), and what goes beyond this is nobody's address.
pub const HEADER_OCTETS_MAX: usize = 4096;

/// What every header of version 2 begins with.
const SIGNATURE: &[u8] = b"\r\n\r\n\0\r\nQUIT\n";
/// What every header of version 1 begins with.
const WORD: &[u8] = b"PROXY ";
/// Octets of the longest line of version 1, its end included (section 2.1).
const LINE_OCTETS_MAX: usize = 107;
/// Octets in front of version 2's addresses.
const FIXED_OCTETS: usize = 16;

/// What a header says, and how long it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Header {
    /// Octets of the header; the payload begins behind it.
    pub octets: usize,
    /// 1 or 2.
    pub version: u8,
    /// Nothing when the proxy speaks for itself or does not know: the peer is the client.
    pub addresses: Option<Addresses>,
}

/// A connection as the proxy saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Addresses {
    /// The client.
    pub source: SocketAddr,
    /// What the client talked to.
    pub destination: SocketAddr,
    /// Whether it came as a datagram.
    pub datagram: bool,
}

/// What the beginning of a stream, or a datagram, is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Start {
    /// A whole header.
    Header(Header),
    /// Something else: there is no header.
    Other,
    /// It may become a header when more comes.
    Incomplete,
}

/// A header that breaks its format.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum HeaderError {
    /// Version 2's octets do not fit together.
    #[error("malformed PROXY header")]
    Malformed,
    /// Another version.
    #[error("PROXY header of unknown version {0}")]
    Version(u8),
    /// Longer than [`HEADER_OCTETS_MAX`].
    #[error("PROXY header of {0} octets")]
    TooLong(usize),
}

/// Reads a header of either version from the beginning of `octets`.
pub fn read(octets: &[u8]) -> Result<Start, HeaderError> {
    if begins(octets, SIGNATURE) {
        return version_2(octets);
    }
    if begins(octets, WORD) {
        return version_1(octets);
    }
    Ok(Start::Other)
}

/// Whether `octets` begin with `mark`, as far as they go.
fn begins(octets: &[u8], mark: &[u8]) -> bool {
    let common = octets.len().min(mark.len());
    octets.get(..common) == mark.get(..common)
}

/// `PROXY TCP4 192.0.2.1 192.0.2.2 56324 53\r\n` (section 2.1).
fn version_1(octets: &[u8]) -> Result<Start, HeaderError> {
    let line = octets.get(..LINE_OCTETS_MAX).unwrap_or(octets);
    let Some(end) = line.windows(2).position(|pair| pair == b"\r\n") else {
        return match line.len() < LINE_OCTETS_MAX {
            true => Ok(Start::Incomplete),
            false => Err(HeaderError::Malformed),
        };
    };
    let text = line
        .get(WORD.len()..end)
        .and_then(|text| std::str::from_utf8(text).ok())
        .ok_or(HeaderError::Malformed)?;
    let header = |addresses| {
        Ok(Start::Header(Header {
            octets: end + 2,
            version: 1,
            addresses,
        }))
    };
    let mut words = text.split(' ');
    let family = words.next();
    if family == Some("UNKNOWN") {
        return header(None);
    }
    let (Some(family), Some(source), Some(destination), Some(from), Some(to), None) = (
        family,
        words.next(),
        words.next(),
        words.next(),
        words.next(),
        words.next(),
    ) else {
        return Err(HeaderError::Malformed);
    };
    let address = |ip: &str, port: &str| {
        let ip: IpAddr = match family {
            "TCP4" => ip.parse::<Ipv4Addr>().ok()?.into(),
            "TCP6" => ip.parse::<Ipv6Addr>().ok()?.into(),
            _ => return None,
        };
        let digits = !port.is_empty() && port.bytes().all(|octet| octet.is_ascii_digit());
        let port = digits.then(|| port.parse().ok())??;
        Some(SocketAddr::new(ip.to_canonical(), port))
    };
    let (Some(source), Some(destination)) = (address(source, from), address(destination, to))
    else {
        return Err(HeaderError::Malformed);
    };
    header(Some(Addresses {
        source,
        destination,
        datagram: false,
    }))
}

/// Signature, version and command, family and protocol, length, addresses, extensions (section
/// 2.2).
fn version_2(octets: &[u8]) -> Result<Start, HeaderError> {
    let Some(&version) = octets.get(SIGNATURE.len()) else {
        return Ok(Start::Incomplete);
    };
    if version >> 4 != 2 {
        return Err(HeaderError::Version(version >> 4));
    }
    let Some(&[_, family, high, low]) = octets.get(SIGNATURE.len()..FIXED_OCTETS) else {
        return Ok(Start::Incomplete);
    };
    let length = FIXED_OCTETS + usize::from(u16::from_be_bytes([high, low]));
    if length > HEADER_OCTETS_MAX {
        return Err(HeaderError::TooLong(length));
    }
    let Some(body) = octets.get(FIXED_OCTETS..length) else {
        return Ok(Start::Incomplete);
    };
    let addresses = match (version & 0xf, family >> 4, family & 0xf) {
        // LOCAL: a health check of the proxy's own. Whatever else stands there is skipped.
        (0, _, _) => None,
        (1, 1, protocol @ (1 | 2)) => Some(pair::<4>(body, protocol == 2)?),
        (1, 2, protocol @ (1 | 2)) => Some(pair::<16>(body, protocol == 2)?),
        // Unspecified, or a Unix socket: there is no address to tell.
        (1, 0, 0) | (1, 3, 1 | 2) => None,
        _ => return Err(HeaderError::Malformed),
    };
    Ok(Start::Header(Header {
        octets: length,
        version: 2,
        addresses,
    }))
}

/// Two addresses of `N` octets, and their ports.
fn pair<const N: usize>(body: &[u8], datagram: bool) -> Result<Addresses, HeaderError>
where
    [u8; N]: Into<IpAddr>,
{
    let two = || {
        let (source, rest) = body.split_first_chunk::<N>()?;
        let (destination, rest) = rest.split_first_chunk::<N>()?;
        let (from, rest) = rest.split_first_chunk::<2>()?;
        let to = rest.first_chunk::<2>()?;
        let address = |ip: [u8; N], port: [u8; 2]| {
            let ip: IpAddr = ip.into();
            SocketAddr::new(ip.to_canonical(), u16::from_be_bytes(port))
        };
        Some((address(*source, *from), address(*destination, *to)))
    };
    let (source, destination) = two().ok_or(HeaderError::Malformed)?;
    Ok(Addresses {
        source,
        destination,
        datagram,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn v2(command: u8, family: u8, body: &[u8]) -> Vec<u8> {
        let length = (body.len() as u16).to_be_bytes();
        [SIGNATURE, &[command, family], &length, body].concat()
    }

    fn found(octets: &[u8]) -> Option<(String, bool)> {
        match read(octets) {
            Ok(Start::Header(header)) => header.addresses.map(|found| {
                (
                    format!("{} {}", found.source, found.destination),
                    found.datagram,
                )
            }),
            other => panic!("{other:?}"),
        }
    }

    const FOUR: &[u8] = &[203, 0, 113, 7, 192, 0, 2, 1, 0x14, 0xe9, 0, 53];

    #[test]
    fn headers_tell_the_client() {
        let six = [
            &[0u8; 10][..],
            &[0xff, 0xff, 203, 0, 113, 7],
            &[0; 15],
            &[1],
            &[0x14, 0xe9, 0, 53],
        ]
        .concat();
        let extended = [FOUR, &[4, 0, 1, 0]].concat();
        let four = Some(("203.0.113.7:5353 192.0.2.1:53".to_owned(), false));
        let line = |text: &str| found(text.as_bytes());
        assert_eq!(found(&v2(0x21, 0x11, FOUR)), four);
        assert_eq!(found(&v2(0x21, 0x11, &extended)), four);
        assert!(found(&v2(0x21, 0x12, FOUR)).unwrap().1);
        assert_eq!(
            found(&v2(0x21, 0x22, &six)),
            Some(("203.0.113.7:5353 [::1]:53".to_owned(), true)),
            "mapped addresses are IPv4"
        );
        assert_eq!(
            line("PROXY TCP4 203.0.113.7 192.0.2.1 5353 53\r\nabc"),
            four
        );
        assert_eq!(
            line("PROXY TCP6 2001:db8::7 ::1 5353 53\r\n").unwrap().0,
            "[2001:db8::7]:5353 [::1]:53"
        );
        for nobody in [
            v2(0x20, 0x11, FOUR),
            v2(0x20, 0, &[]),
            v2(0x21, 0, &[1, 2, 3]),
            v2(0x21, 0x31, &[0; 216]),
            b"PROXY UNKNOWN\r\n".to_vec(),
            b"PROXY UNKNOWN ffff::1 ffff::2 1 2\r\n".to_vec(),
        ] {
            assert_eq!(found(&nobody), None);
        }
    }

    #[test]
    fn every_prefix_of_a_header_is_incomplete_and_what_follows_does_not_matter() {
        for whole in [
            v2(0x21, 0x12, FOUR),
            v2(0x20, 0, &[9; 300]),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 5353 53\r\n".to_vec(),
        ] {
            for length in 0..whole.len() {
                assert_eq!(read(&whole[..length]), Ok(Start::Incomplete), "{length}");
            }
            let followed = [&whole[..], b"\0\x1d\r\n"].concat();
            let Ok(Start::Header(header)) = read(&followed) else {
                panic!("a whole header");
            };
            assert_eq!(header.octets, whole.len());
        }
    }

    #[test]
    fn what_is_no_header_is_told_from_a_broken_one() {
        for other in [
            &b"\x12\x34\x01\x00"[..],
            b"\x16\x03\x01",
            b"\0\x1d\x12\x34",
            b"PROXYTCP4",
            b"\r\n\r\n\0\r\nQUID\n",
        ] {
            assert_eq!(read(other), Ok(Start::Other), "{other:?}");
        }
        let long = [b"PROXY TCP4 ".to_vec(), vec![b'1'; 200]].concat();
        for broken in [
            v2(0x11, 0x11, FOUR),
            v2(0x22, 0x11, FOUR),
            v2(0x21, 0x13, FOUR),
            v2(0x21, 0x41, FOUR),
            v2(0x21, 0x11, &FOUR[..11]),
            v2(0x21, 0x21, FOUR),
            v2(0x21, 0x11, &[0; 5000]),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 5353\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 5353 53 1\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 ::1 5353 53\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 65536 53\r\n".to_vec(),
            b"PROXY TCP4 203.0.113.7 192.0.2.1 +1 53\r\n".to_vec(),
            b"PROXY UDP4 203.0.113.7 192.0.2.1 1 53\r\n".to_vec(),
            b"PROXY \xff\r\n".to_vec(),
            b"PROXY \r\n".to_vec(),
            long,
        ] {
            assert!(read(&broken).is_err(), "{broken:?}");
        }
    }
}
