//! DNSSEC as the signer has it: what *dnssec* and *sign* share.
//!
//! | module | what it is |
//! |---|---|
//! | [`algorithm`] | the algorithms that keys may have |
//! | [`dnskey`] | a zone's public key: its RDATA, key tag, digests for the parent |
//! | [`key`] | a key that can sign |
//! | [`keyfile`] | keys from the files that `dnssec-keygen` writes |
//! | [`canonical`] | records in canonical form |
//! | [`rrsig`] | signatures over RRsets, made and checked |
//! | [`bitmap`] | sets of types |
//! | [`denial`] | NSEC and NSEC3: RDATA, hashes, names right behind others |
//! | [`zonemd`] | the digest of a whole zone |
//! | [`zone`] | a zone signed as a whole |
//!
//! Everything works on octets in wire form. Not here: the time, and files but for those of keys, resolvers' validation of
//! chains of trust. Digests and signatures are *ring*'s.
//!
//! RFC 4033, 4034 and 4035, with 5155 (NSEC3), 6840, 8976 (ZONEMD), 9077 and 9276.
pub mod algorithm;
pub mod bitmap;
pub mod canonical;
pub mod denial;
pub mod dnskey;
pub mod key;
pub mod keyfile;
pub mod rrsig;
pub mod zone;
pub mod zonemd;
