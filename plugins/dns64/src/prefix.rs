//! IPv4 addresses inside IPv6 ones (RFC 6052 section 2.2).
use std::net::{AddrParseError, IpAddr, Ipv6Addr};

/// The octets in front of the IPv4 address.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Prefix {
    octets: [u8; 16],
    length: usize,
}

/// What is wrong with a prefix; CoreDNS's words.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum PrefixError {
    #[error("invalid CIDR address: {0}")]
    Cidr(String),
    #[error("invalid netmask 32 IPv6 address: \"{0}\"")]
    V4(String),
    #[error("invalid prefix length \"{0}\": it is one of 32, 40, 48, 56, 64, 72, 80, 88 and 96")]
    Length(String),
}

impl Prefix {
    /// 64:ff9b::/96 (RFC 6052 section 2.1).
    pub(crate) const WELL_KNOWN: Self = Self {
        octets: Ipv6Addr::new(0x64, 0xff9b, 0, 0, 0, 0, 0, 0).octets(),
        length: 12,
    };

    pub(crate) fn read(text: &str) -> Result<Self, PrefixError> {
        let no_cidr = || PrefixError::Cidr(text.to_owned());
        let (address, bits) = text.split_once('/').ok_or_else(no_cidr)?;
        let address = address.parse().map_err(|_: AddrParseError| no_cidr())?;
        let bits: usize = Some(bits)
            .filter(|bits| bits.bytes().all(|octet| octet.is_ascii_digit()))
            .and_then(|bits| bits.parse().ok())
            .ok_or_else(no_cidr)?;
        match address {
            IpAddr::V4(_) if bits <= 32 => Err(PrefixError::V4(text.to_owned())),
            IpAddr::V6(_)
                if bits <= 128 && (!bits.is_multiple_of(8) || !(32..=96).contains(&bits)) =>
            {
                Err(PrefixError::Length(text.to_owned()))
            }
            IpAddr::V6(v6) if bits <= 128 => {
                let mask = u128::MAX << (128 - bits);
                Ok(Self {
                    octets: (v6.to_bits() & mask).to_be_bytes(),
                    length: bits / 8,
                })
            }
            _ => Err(no_cidr()),
        }
    }

    /// The IPv6 address that stands for an IPv4 one. Octet 8 is always zero.
    pub(crate) fn embed(&self, v4: [u8; 4]) -> [u8; 16] {
        let mut v6 = self.octets;
        let places = (self.length..16).filter(|place| *place != 8);
        for (place, octet) in places.zip(v4) {
            v6[place] = octet;
        }
        v6
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_are_embedded_as_the_rfc_draws_it() {
        // RFC 6052 section 2.4, table 2.
        for (prefix, address) in [
            ("2001:db8::/32", "2001:db8:c000:221::"),
            ("2001:db8:100::/40", "2001:db8:1c0:2:21::"),
            ("2001:db8:122::/48", "2001:db8:122:c000:2:2100::"),
            ("2001:db8:122:300::/56", "2001:db8:122:3c0:0:221::"),
            ("2001:db8:122:344::/64", "2001:db8:122:344:c0:2:2100::"),
            ("2001:db8:122:344::/96", "2001:db8:122:344::192.0.2.33"),
            ("64:ff9b::1/96", "64:ff9b::192.0.2.33"),
        ] {
            let embedded = Prefix::read(prefix).unwrap().embed([192, 0, 2, 33]);
            assert_eq!(
                Ipv6Addr::from(embedded),
                address.parse::<Ipv6Addr>().unwrap()
            );
        }
        assert_eq!(Prefix::read("64:ff9b::/96"), Ok(Prefix::WELL_KNOWN));
    }

    #[test]
    fn what_is_no_prefix_is_refused() {
        for (text, error) in [
            ("prefix", "invalid CIDR address: prefix"),
            ("64:ff9b::", "invalid CIDR address: 64:ff9b::"),
            ("64:ff9b::/129", "invalid CIDR address"),
            ("192.0.2.0/33", "invalid CIDR address"),
            ("192.0.2.0/24", "invalid netmask 32 IPv6 address"),
            ("64:ff9b::/100", "invalid prefix length \"64:ff9b::/100\""),
            ("64:ff9b::/57", "invalid prefix length"),
            ("64:ff9b::/24", "invalid prefix length"),
            ("64:ff9b::/104", "invalid prefix length"),
        ] {
            let told = Prefix::read(text).unwrap_err().to_string();
            assert!(told.starts_with(error), "{told}");
        }
    }
}
