//! The target that reads PROXY protocol headers.
use corten_wire::proxy::{HEADER_OCTETS_MAX, Start, read};

/// A header is within what came and within its limit; it says the same whatever follows, and
/// nothing before it was whole. What is no header or a broken one stays so, and what may become one
/// is short.
pub fn proxy(octets: &[u8]) {
    let found = read(octets);
    let more = [octets, b"\0\x11\r\nmore"].concat();
    match found {
        Ok(Start::Header(header)) => {
            assert!(header.octets <= octets.len().min(HEADER_OCTETS_MAX));
            assert!(matches!(header.version, 1 | 2));
            assert_eq!(read(&more), found);
            assert_eq!(read(&octets[..header.octets]), found);
            for length in 0..header.octets {
                assert_eq!(read(&octets[..length]), Ok(Start::Incomplete));
            }
        }
        Ok(Start::Incomplete) => assert!(octets.len() < HEADER_OCTETS_MAX),
        Ok(Start::Other) | Err(_) => assert_eq!(read(&more), found),
    }
}
