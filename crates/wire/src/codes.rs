//! Numbers of the DNS with their mnemonics (IANA "Domain Name System Parameters").
use std::fmt;
use std::str::FromStr;

macro_rules! codes {
    ($(#[$doc:meta])* $type:ident, unknown = $prefix:literal, $($name:ident = $value:literal),+ $(,)?) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash, PartialOrd, Ord)]
        pub struct $type(pub u16);

        impl $type {
            $(#[doc = concat!("`", stringify!($name), "`.")] pub const $name: Self = Self($value);)+

            /// The mnemonic, if the number has one.
            pub const fn mnemonic(self) -> Option<&'static str> {
                match self.0 { $($value => Some(stringify!($name)),)+ _ => None }
            }
        }

        impl fmt::Display for $type {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                match self.mnemonic() {
                    Some(name) => f.write_str(name),
                    None => write!(f, concat!($prefix, "{}"), self.0),
                }
            }
        }

        impl FromStr for $type {
            type Err = UnknownCode;

            /// Reads a mnemonic in any case, or the generic form of RFC 3597 section 5.
            fn from_str(text: &str) -> Result<Self, UnknownCode> {
                $(if text.eq_ignore_ascii_case(stringify!($name)) { return Ok(Self($value)) })+
                text.get($prefix.len()..)
                    .filter(|_| !$prefix.is_empty() && text[..$prefix.len()].eq_ignore_ascii_case($prefix))
                    .filter(|number| number.bytes().all(|octet| octet.is_ascii_digit()))
                    .and_then(|number| number.parse().ok())
                    .map(Self)
                    .ok_or(UnknownCode)
            }
        }
    };
}

/// A word that is no mnemonic and no generic form.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not a known mnemonic")]
pub struct UnknownCode;

codes! {
    /// TYPE or QTYPE (RFC 1035 sections 3.2.2 and 3.2.3).
    RecordType, unknown = "TYPE",
    A = 1, NS = 2, MD = 3, MF = 4, CNAME = 5, SOA = 6, MB = 7, MG = 8, MR = 9, NULL = 10, WKS = 11, PTR = 12,
    HINFO = 13, MINFO = 14, MX = 15, TXT = 16, RP = 17, AFSDB = 18, X25 = 19, ISDN = 20, RT = 21, NSAP = 22,
    SIG = 24, KEY = 25, PX = 26, GPOS = 27, AAAA = 28, LOC = 29, NXT = 30, EID = 31, NIMLOC = 32, SRV = 33,
    ATMA = 34, NAPTR = 35, KX = 36, CERT = 37, DNAME = 39, SINK = 40, OPT = 41, APL = 42, DS = 43, SSHFP = 44,
    IPSECKEY = 45, RRSIG = 46, NSEC = 47, DNSKEY = 48, DHCID = 49, NSEC3 = 50, NSEC3PARAM = 51, TLSA = 52,
    SMIMEA = 53, HIP = 55, NINFO = 56, RKEY = 57, TALINK = 58, CDS = 59, CDNSKEY = 60, OPENPGPKEY = 61,
    CSYNC = 62, ZONEMD = 63, SVCB = 64, HTTPS = 65, SPF = 99, UINFO = 100, UID = 101, GID = 102, UNSPEC = 103,
    NID = 104, L32 = 105, L64 = 106, LP = 107, EUI48 = 108, EUI64 = 109, TKEY = 249, TSIG = 250, IXFR = 251,
    AXFR = 252, MAILB = 253, MAILA = 254, ANY = 255, URI = 256, CAA = 257, AVC = 258, AMTRELAY = 260,
    TA = 32768, DLV = 32769,
}

codes! {
    /// CLASS or QCLASS (RFC 1035 sections 3.2.4 and 3.2.5).
    Class, unknown = "CLASS",
    IN = 1, CS = 2, CH = 3, HS = 4, NONE = 254, ANY = 255,
}

codes! {
    /// RCODE, with the upper bits of EDNS where there is one (RFC 6895 section 2.3).
    Rcode, unknown = "RCODE",
    NOERROR = 0, FORMERR = 1, SERVFAIL = 2, NXDOMAIN = 3, NOTIMP = 4, REFUSED = 5, YXDOMAIN = 6, YXRRSET = 7,
    NXRRSET = 8, NOTAUTH = 9, NOTZONE = 10, BADVERS = 16, BADKEY = 17, BADTIME = 18, BADMODE = 19, BADNAME = 20,
    BADALG = 21, BADTRUNC = 22, BADCOOKIE = 23,
}

codes! {
    /// OPCODE (RFC 1035 section 4.1.1, RFC 6895 section 2.2).
    Opcode, unknown = "OPCODE",
    QUERY = 0, IQUERY = 1, STATUS = 2, NOTIFY = 4, UPDATE = 5, DSO = 6,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_mnemonics_agree_both_ways() {
        for number in 0..=65_535u16 {
            assert_eq!(
                RecordType(number).to_string().parse(),
                Ok(RecordType(number))
            );
            assert_eq!(Class(number).to_string().parse(), Ok(Class(number)));
        }
        assert_eq!("aaaa".parse(), Ok(RecordType::AAAA));
        assert_eq!("type65280".parse(), Ok(RecordType(65_280)));
        assert_eq!("TYPE65536".parse::<RecordType>(), Err(UnknownCode));
        assert_eq!("TYPE+1".parse::<RecordType>(), Err(UnknownCode));
        assert_eq!("".parse::<RecordType>(), Err(UnknownCode));
        assert_eq!("ö".parse::<RecordType>(), Err(UnknownCode));
    }
}
