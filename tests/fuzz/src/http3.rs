//! Streams of HTTP/3: however they are cut, the same comes of them, and nothing beyond the limits is
//! kept.
use corten_web::Request;
use corten_web::http3::request::{Limits, Reader};
use corten_web::http3::{Fault, qpack, uni};

const LIMITS: Limits = Limits {
    header_octets_max: 256,
    body_octets_max: 128,
};

/// The first octet says what kind of stream it is.
pub fn http3(octets: &[u8]) {
    let Some((kind, octets)) = octets.split_first() else {
        return;
    };
    match kind % 3 {
        0 => block(octets),
        1 => stream(octets),
        _ => request(octets),
    }
}

/// A header block: what it costs is bounded by what it is long.
fn block(octets: &[u8]) {
    let mut lines = 0;
    let _ = qpack::decode(octets, |line| {
        lines += 1;
        // A Huffman code has five bits at least.
        assert!(line.value.len() <= 8 * octets.len() / 5 + 100);
    });
    assert!(lines <= octets.len());
}

fn stream(octets: &[u8]) {
    let mut whole = uni::Reader::default();
    let mut cut = uni::Reader::default();
    let first = whole.take(octets);
    let second = octets.chunks(1).try_for_each(|octet| cut.take(octet));
    assert_eq!((first, whole.kind()), (second, cut.kind()));
}

fn request(octets: &[u8]) {
    let whole = read(octets, octets.len().max(1));
    let cut = read(octets, 1);
    match (whole, cut) {
        (Ok(whole), Ok(cut)) => assert_eq!((&whole.body, whole.problem), (&cut.body, cut.problem)),
        (whole, cut) => assert_eq!(whole.err(), cut.err()),
    }
}

fn read(octets: &[u8], size: usize) -> Result<Request, Fault> {
    let mut reader = Reader::new(LIMITS, Request::default());
    for octets in octets.chunks(size) {
        reader.take(octets)?;
        let most = LIMITS.header_octets_max + LIMITS.body_octets_max;
        assert!(reader.held() <= most as usize);
    }
    reader.finish()
}
