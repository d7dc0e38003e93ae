//! For how long a response may be kept by HTTP's caches (RFC 8484 section 5.1).
use corten_wire::HEADER_OCTETS;

/// Seconds of a response that has no TTL to go by, or is no answer at all (CoreDNS's value).
const SHORT: u32 = 5;
/// Seconds at most (CoreDNS's value).
const LONG: u32 = 3600;

const NOERROR: u8 = 0;
const NXDOMAIN: u8 = 3;
const SOA: u16 = 6;
const OPT: u16 = 41;

/// Seconds for which a reply of ours is fresh: its smallest TTL; for one without an answer the SOA's
/// MINIMUM counts as well. Failures and referrals have little time.
pub(crate) fn seconds(reply: &[u8]) -> u32 {
    walk(reply).unwrap_or(SHORT)
}

fn walk(reply: &[u8]) -> Option<u32> {
    let count = |at: usize| {
        reply
            .get(at..at + 2)
            .map(|two| u16::from_be_bytes([two[0], two[1]]))
    };
    let rcode = reply.get(3)? & 0xf;
    if !matches!(rcode, NOERROR | NXDOMAIN) || reply.get(2)? & 0x78 != 0 {
        return None;
    }
    let (questions, answers, authorities) = (count(4)?, count(6)?, count(8)?);
    let records = u32::from(answers) + u32::from(authorities) + u32::from(count(10)?);
    let mut at = HEADER_OCTETS;
    for _ in 0..questions {
        at = behind_name(reply, at)? + 4;
    }
    let (mut least, mut any, mut soa) = (LONG, false, false);
    for number in 0..records {
        at = behind_name(reply, at)?;
        let (fixed, rest) = reply.get(at..)?.split_first_chunk::<10>()?;
        let [t0, t1, _, _, ttl @ .., l0, l1] = *fixed;
        let (rtype, length) = (
            u16::from_be_bytes([t0, t1]),
            usize::from(u16::from_be_bytes([l0, l1])),
        );
        let rdata = rest.get(..length)?;
        at += 10 + length;
        if rtype == OPT {
            continue;
        }
        least = least.min(u32::from_be_bytes(ttl));
        any = true;
        if rtype == SOA && answers == 0 {
            soa = true;
            if let Some(minimum) = rdata.last_chunk::<4>() {
                least = least.min(u32::from_be_bytes(*minimum));
            }
        }
        // A referral is of no use to others for long.
        let last_authority = number + 1 == u32::from(answers) + u32::from(authorities);
        if last_authority && answers == 0 && rcode == NOERROR && !soa {
            return None;
        }
    }
    any.then_some(least)
}

/// The place behind a name; its pointer is not followed.
fn behind_name(reply: &[u8], mut at: usize) -> Option<usize> {
    loop {
        match *reply.get(at)? {
            0 => return Some(at + 1),
            length @ 1..=63 => at += 1 + usize::from(length),
            _ => return Some(at + 2),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const QUESTION: &[u8] = b"\x01a\0\0\x01\0\x01";

    fn record(rtype: u16, ttl: u32, rdata: &[u8]) -> Vec<u8> {
        let mut octets = vec![0xc0, 12];
        octets.extend_from_slice(&rtype.to_be_bytes());
        octets.extend_from_slice(&[0, 1]);
        octets.extend_from_slice(&ttl.to_be_bytes());
        octets.extend_from_slice(&(rdata.len() as u16).to_be_bytes());
        octets.extend_from_slice(rdata);
        octets
    }

    fn reply(rcode: u8, sections: [&[Vec<u8>]; 3]) -> Vec<u8> {
        let mut octets = vec![0, 0, 0x84, rcode, 0, 1];
        for section in sections {
            octets.extend_from_slice(&(section.len() as u16).to_be_bytes());
        }
        octets.extend_from_slice(QUESTION);
        for section in sections {
            octets.extend(section.concat());
        }
        octets
    }

    #[test]
    fn the_smallest_ttl_counts() {
        let a = |ttl| record(1, ttl, &[192, 0, 2, 1]);
        let ns = |ttl| record(2, ttl, &[0xc0, 12]);
        let soa = |ttl, minimum: u32| {
            let mut rdata = vec![0; 18];
            rdata.extend_from_slice(&minimum.to_be_bytes());
            record(6, ttl, &rdata)
        };
        let opt = || record(41, 0, &[]);
        for (message, expected) in [
            (reply(0, [&[a(300), a(45)], &[ns(60)], &[]]), 45),
            (reply(0, [&[a(300)], &[ns(60)], &[a(30), opt()]]), 30),
            (reply(0, [&[a(9999)], &[], &[opt()]]), LONG),
            (reply(0, [&[a(0)], &[], &[]]), 0),
            (reply(3, [&[], &[soa(300, 60)], &[opt()]]), 60),
            (reply(3, [&[], &[soa(30, 60)], &[]]), 30),
            (reply(0, [&[], &[soa(300, 20)], &[]]), 20),
            // An SOA that was asked for says nothing about how long it is true itself.
            (reply(0, [&[soa(300, 20)], &[], &[]]), 300),
            (reply(0, [&[], &[ns(300)], &[a(300)]]), SHORT),
            (reply(0, [&[], &[], &[opt()]]), SHORT),
            (reply(0, [&[], &[], &[]]), SHORT),
            (reply(2, [&[a(300)], &[], &[]]), SHORT),
            (reply(5, [&[], &[], &[]]), SHORT),
            (vec![0; 4], SHORT),
        ] {
            assert_eq!(seconds(&message), expected, "{message:?}");
        }
        let whole = reply(0, [&[a(300)], &[soa(1, 1)], &[opt()]]);
        for end in 0..whole.len() {
            seconds(&whole[..end]);
        }
    }
}
