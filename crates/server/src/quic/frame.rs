//! One query of a stream: two octets of length, the message, the end (RFC 9250 section 4.2).
use std::ops::Range;

/// What has come of a stream.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Frame {
    /// There has to be more.
    Unfinished,
    /// The message stands here, and nothing behind it.
    Whole(Range<usize>),
    /// There is something behind the message: a second query, for one.
    Excess,
}

/// Looks at what has come so far.
pub(super) fn frame(octets: &[u8]) -> Frame {
    let Some((length, rest)) = octets.split_first_chunk::<2>() else {
        return Frame::Unfinished;
    };
    let length = usize::from(u16::from_be_bytes(*length));
    match rest.len() {
        more if more > length => Frame::Excess,
        all if all == length => Frame::Whole(2..2 + length),
        _ => Frame::Unfinished,
    }
}

/// Whether a message may be a DoQ query at all: RFC 9250 section 4.2.1 wants the ID 0, and what is
/// shorter than a header or a response has no answer.
pub(super) fn may_be_query(message: &[u8]) -> bool {
    message.len() >= 12 && message[..2] == [0, 0] && message[2] & 0x80 == 0
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stream_carries_one_message() {
        for (octets, expected) in [
            (&b""[..], Frame::Unfinished),
            (b"\0", Frame::Unfinished),
            (b"\0\x02", Frame::Unfinished),
            (b"\0\x02a", Frame::Unfinished),
            (b"\0\x02ab", Frame::Whole(2..4)),
            (b"\0\x02abc", Frame::Excess),
            (b"\0\0", Frame::Whole(2..2)),
            (b"\0\0\0", Frame::Excess),
        ] {
            assert_eq!(frame(octets), expected, "{octets:?}");
        }
        let mut longest = vec![0xff; 2 + 65_535];
        assert_eq!(frame(&longest), Frame::Whole(2..65_537));
        longest.pop();
        assert_eq!(frame(&longest), Frame::Unfinished);
    }

    #[test]
    fn ids_are_0_and_responses_no_queries() {
        for (octets, expected) in [
            (*b"\0\0\x01\0\0\x01\0\0\0\0\0\0", true),
            (*b"\0\x01\x01\0\0\x01\0\0\0\0\0\0", false),
            (*b"\x01\0\x01\0\0\x01\0\0\0\0\0\0", false),
            (*b"\0\0\x81\0\0\x01\0\0\0\0\0\0", false),
        ] {
            assert_eq!(may_be_query(&octets), expected, "{octets:?}");
            assert!(!may_be_query(&octets[..11]));
        }
        assert!(!may_be_query(b""));
    }
}
