//! A zone's public key.
use corten_wire::Name;
use ring::digest::Context;

use crate::algorithm::DigestType;

/// ZONE: the key is a zone's (RFC 4034 section 2.1.1).
pub const ZONE_FLAG: u16 = 0x0100;
/// SEP: the key that a DS record of the parent names.
pub const SEP_FLAG: u16 = 0x0001;
/// REVOKE (RFC 5011 section 3).
pub const REVOKE_FLAG: u16 = 0x0080;

/// The public half of a zone's key, as its DNSKEY record has it (RFC 4034 section 2.1).
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Dnskey {
    rdata: Vec<u8>,
    tag: u16,
}

/// What a key is for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum KeyRole {
    /// ZONE and SEP are set: signs the DNSKEY RRset, or everything where there is no other.
    KeySigning,
    /// ZONE is set, SEP is not.
    ZoneSigning,
    /// No zone's key.
    Other,
}

impl Dnskey {
    /// A key from RDATA of a DNSKEY record; nothing if that is too short or its protocol is not 3.
    pub fn from_rdata(rdata: &[u8]) -> Option<Self> {
        match rdata {
            [_, _, 3, _, _, ..] => Some(Self {
                tag: key_tag(rdata),
                rdata: rdata.to_vec(),
            }),
            _ => None,
        }
    }

    /// RDATA of the DNSKEY record, and of the CDNSKEY record (RFC 7344 section 3.2).
    pub fn rdata(&self) -> &[u8] {
        &self.rdata
    }

    /// Flags.
    pub fn flags(&self) -> u16 {
        u16::from_be_bytes([self.rdata[0], self.rdata[1]])
    }

    /// Number of the algorithm.
    pub fn algorithm(&self) -> u8 {
        self.rdata[3]
    }

    /// The key itself, in its algorithm's form.
    pub fn public_key(&self) -> &[u8] {
        &self.rdata[4..]
    }

    /// Key tag (RFC 4034 appendix B): names the key, not always it alone.
    pub fn tag(&self) -> u16 {
        self.tag
    }

    /// What the key is for, by its flags.
    pub fn role(&self) -> KeyRole {
        match (self.flags() & ZONE_FLAG != 0, self.flags() & SEP_FLAG != 0) {
            (true, true) => KeyRole::KeySigning,
            (true, false) => KeyRole::ZoneSigning,
            (false, _) => KeyRole::Other,
        }
    }

    /// RDATA of the DS record that names this key of a zone, and of the CDS record (RFC 4034 section
    /// 5.1, RFC 7344 section 3.1).
    pub fn ds(&self, owner: &Name, digest: DigestType) -> Vec<u8> {
        let mut context = Context::new(digest.ring());
        context.update(owner.wire());
        context.update(&self.rdata);
        let mut rdata = Vec::with_capacity(52);
        rdata.extend_from_slice(&self.tag.to_be_bytes());
        rdata.push(self.algorithm());
        rdata.push(digest.number());
        rdata.extend_from_slice(context.finish().as_ref());
        rdata
    }
}

/// RFC 4034 appendix B; algorithm 1, which has another sum, is none of ours.
fn key_tag(rdata: &[u8]) -> u16 {
    let mut sum = 0u32;
    for (at, octet) in rdata.iter().enumerate() {
        let shift = if at % 2 == 0 { 8 } else { 0 };
        // 65,535 octets at most: no overflow.
        sum += u32::from(*octet) << shift;
    }
    (sum + (sum >> 16 & 0xffff)) as u16
}

#[cfg(test)]
mod tests {
    use base64::Engine;
    use base64::engine::general_purpose::STANDARD;

    use super::*;

    fn rdata(flags: u16, algorithm: u8, key: &str) -> Vec<u8> {
        let mut rdata = flags.to_be_bytes().to_vec();
        rdata.extend([3, algorithm]);
        rdata.extend(STANDARD.decode(key).unwrap());
        rdata
    }

    fn hex(octets: &[u8]) -> String {
        octets.iter().map(|octet| format!("{octet:02x}")).collect()
    }

    /// The examples of RFC 4034 section 5.4, RFC 4509 section 2.3 and RFC 6605 section 6.
    #[test]
    fn digests_and_tags_are_those_of_the_rfcs() {
        let dskey = "AQOeiiR0GOMYkDshWoSKz9XzfwJr1AYtsmx3TGkJaNXVbfi/2pHm822aJ5iI9BMzNXxeYCmZDRD99WYwYqUSdjMmmAphXdvxegXd/M5+X7OrzKBaMbCVdFLUUh6DhweJBjEVv5f2wwjM9XzcnOf+EPbtG9DMBmADjFDc2w/rljwvFw==";
        let p256 = "GojIhhXUN/u4v54ZQqGSnyhWJwaubCvTmeexv7bR6edbkrSqQpF64cYbcB7wNcP+e+MAnLr+Wi9xMWyQLc8NAA==";
        let p384 = "xKYaNhWdGOfJ+nPrL8/arkwf2EY3MDJ+SErKivBVSum1w/egsXvSADtNJhyem5RCOpgQ6K8X1DRSEkrbYQ+OB+v8/uX45NBwY8rp65F6Glur8I/mlVNgF6W/qTI37m40";
        for (owner, flags, algorithm, key, digest, tag, expected) in [
            (
                "dskey.example.com",
                256,
                5,
                dskey,
                DigestType::Sha1,
                60485,
                "2bb183af5f22588179a53b0a98631fad1a292118",
            ),
            (
                "dskey.example.com",
                256,
                5,
                dskey,
                DigestType::Sha256,
                60485,
                "d4b7d520e7bb5f0f67674a0cceb1e3e0614b93c4f9e99b8383f6a1e4469da50a",
            ),
            (
                "example.net",
                257,
                13,
                p256,
                DigestType::Sha256,
                55648,
                "b4c8c1fe2e7477127b27115656ad6256f424625bf5c1e2770ce6d6e37df61d17",
            ),
            (
                "example.net",
                257,
                14,
                p384,
                DigestType::Sha384,
                10771,
                "72d7b62976ce06438e9c0bf319013cf801f09ecc84b8d7e9495f27e305c6a9b0563a9b5f4d288405c3008a946df983d6",
            ),
        ] {
            let key = Dnskey::from_rdata(&rdata(flags, algorithm, key)).unwrap();
            let ds = key.ds(&owner.parse().unwrap(), digest);
            assert_eq!(key.tag(), tag, "{owner}");
            assert_eq!(hex(&ds[4..]), expected, "{owner}");
            let [high, low] = tag.to_be_bytes();
            assert_eq!(ds[..4], [high, low, algorithm, digest.number()]);
        }
    }

    #[test]
    fn roles_are_read_from_flags() {
        for (flags, role) in [
            (257, KeyRole::KeySigning),
            (256, KeyRole::ZoneSigning),
            (1, KeyRole::Other),
            (0, KeyRole::Other),
        ] {
            assert_eq!(
                Dnskey::from_rdata(&rdata(flags, 13, "AAAA"))
                    .unwrap()
                    .role(),
                role
            );
        }
        assert_eq!(Dnskey::from_rdata(&[1, 1, 3, 13]), None);
        assert_eq!(Dnskey::from_rdata(&[1, 1, 4, 13, 0]), None);
    }
}
