//! When a zone is signed again, and for how long signatures are valid.
use std::fmt;
use std::io;
use std::path::Path;

use corten_dnssec::key::SigningKey;
use corten_dnssec::rrsig::{Rrsig, Validity};
use corten_dnssec::zone::{Denial, Digest};
use corten_plugin::wire::{Name, RecordType};
use corten_zone::{Record, Soa, ZoneError, master, serial_newer};
use time::OffsetDateTime;

/// Seconds of an hour and of a day.
const HOUR: i64 = 3_600;
const DAY: i64 = 24 * HOUR;
/// A zone that was signed this long ago is signed again.
const AGE_MAX: i64 = 6 * DAY;
/// A zone whose signatures end in less than that is signed again.
const LEFT_MIN: i64 = 7 * DAY;
/// How long before now signatures begin to be valid: clocks differ.
const INCEPTION: i64 = 3 * HOUR;
/// How much earlier still, at most.
pub(crate) const INCEPTION_JITTER: i64 = 18 * HOUR;
/// How long signatures are valid.
const EXPIRATION: i64 = 32 * DAY;
/// How much longer, at most.
pub(crate) const EXPIRATION_JITTER: i64 = 5 * DAY;
/// Records in which the signature over the SOA record is looked for.
const RECORDS_MAX: usize = 100;

/// Seconds that make the signatures of several zones end at different times.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Jitter {
    pub(crate) inception: i64,
    pub(crate) expiration: i64,
}

impl Jitter {
    pub(crate) fn random() -> Self {
        Self {
            inception: (rand::random::<f64>() * INCEPTION_JITTER as f64) as i64,
            expiration: (rand::random::<f64>() * EXPIRATION_JITTER as f64) as i64,
        }
    }

    /// Times of signatures that are made now, in seconds since 1970.
    pub(crate) fn validity(self, now: i64) -> Validity {
        // RRSIG records have the lower 32 bits (RFC 4034 section 3.1.5).
        Validity {
            inception: (now - INCEPTION - self.inception) as u32,
            expiration: (now + EXPIRATION + self.expiration) as u32,
        }
    }
}

/// Why a zone is signed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Why {
    /// The signed file is not there, or cannot be read.
    File(String),
    /// The signatures were made long ago.
    Old { inception: i64, now: i64 },
    /// They are not valid yet.
    Future { inception: i64, now: i64 },
    /// They end soon.
    Ends { expiration: i64, now: i64 },
    /// There is no signature over the SOA record.
    Unsigned,
    /// Other keys signed.
    OtherKeys,
    /// It has other denials, or a digest that it is not to have, or none.
    OtherForm,
    /// The zone file is newer than its signed form.
    Changed,
}

/// A moment in the form that CoreDNS logs.
pub(crate) struct Moment(pub(crate) i64);

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let at = OffsetDateTime::from_unix_timestamp(self.0).unwrap_or(OffsetDateTime::UNIX_EPOCH);
        write!(
            f,
            "{:04}-{:02}-{:02}T{:02}:{:02}:{:02}.000Z",
            at.year(),
            u8::from(at.month()),
            at.day(),
            at.hour(),
            at.minute(),
            at.second()
        )
    }
}

/// Seconds as Go writes durations.
struct Span(i64);

impl fmt::Display for Span {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (sign, seconds) = if self.0 < 0 {
            ("-", -self.0)
        } else {
            ("", self.0)
        };
        let (hours, minutes) = (seconds / HOUR, seconds / 60 % 60);
        write!(f, "{sign}{hours}h{minutes}m{}s", seconds % 60)
    }
}

impl fmt::Display for Why {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::File(error) => f.write_str(error),
            Self::Old { inception, now } => write!(
                f,
                "inception \"{}\" was more than: {} ago from {}: {}",
                Moment(*inception),
                Span(AGE_MAX),
                Moment(*now),
                Span(now - inception)
            ),
            Self::Future { inception, now } => write!(
                f,
                "inception \"{}\" date is in the future: {}",
                Moment(*inception),
                Span(now - inception)
            ),
            Self::Ends { expiration, now } => write!(
                f,
                "expiration \"{}\" is less than: {} away from {}: {}",
                Moment(*expiration),
                Span(LEFT_MIN),
                Moment(*now),
                Span(expiration - now)
            ),
            Self::Unsigned => write!(f, "no SOA RRSIG found in first {RECORDS_MAX} records"),
            Self::OtherKeys => f.write_str("it was signed with other keys"),
            Self::OtherForm => f.write_str("'denial' or 'zonemd' is another one"),
            Self::Changed => f.write_str("the zone file has changed"),
        }
    }
}

/// What is known of a signed file.
#[derive(Debug, Default)]
pub(crate) struct Before {
    /// Its serial, if it has one.
    pub(crate) serial: Option<u32>,
    /// Times and key tag of each signature over the SOA record.
    signatures: Vec<(Validity, u16)>,
    /// What the apex says of its form; nothing where it has too many records to be looked through.
    form: Option<(Denial, Digest)>,
}

impl Before {
    /// Looks into a signed file.
    ///
    /// # Errors
    /// When it cannot be read, with CoreDNS's words where it is not there.
    pub(crate) fn read(path: &Path, origin: &Name) -> Result<Self, String> {
        if let Err(error) = std::fs::metadata(path) {
            let what = match error.kind() {
                io::ErrorKind::NotFound => "no such file or directory".to_owned(),
                _ => error.to_string(),
            };
            return Err(format!("open {}: {what}", path.display()));
        }
        let (mut before, mut records, mut enough) = (Self::default(), 0, false);
        let (mut denial, mut digest, mut behind_apex) = (Denial::Nsec, Digest::None, false);
        let read = master::records_of(path, origin.wire(), &mut |record| {
            records += 1;
            behind_apex |= !record.owner.eq_ignore_ascii_case(origin.wire());
            match record.rtype {
                RecordType::NSEC3PARAM => denial = Denial::Nsec3,
                RecordType::ZONEMD => digest = Digest::Zonemd,
                RecordType::SOA => {
                    let soa = Soa::read(Record {
                        owner: &record.owner,
                        rtype: record.rtype,
                        ttl: record.ttl,
                        rdata: &record.rdata,
                    });
                    before.serial = soa.map(|soa| soa.serial);
                }
                RecordType::RRSIG => {
                    let rrsig = Rrsig::read(&record.rdata);
                    if let Some(rrsig) = rrsig.filter(|rrsig| rrsig.covered == RecordType::SOA) {
                        before.signatures.push((rrsig.validity, rrsig.tag));
                    }
                }
                _ => (),
            }
            enough = records >= RECORDS_MAX;
            match enough {
                // Ends the reading; the rest is as good as the beginning.
                true => Err(ZoneError::NoSoa),
                false => Ok(()),
            }
        });
        if let Err(error) = read
            && !enough
        {
            return Err(error.to_string());
        }
        before.form = (behind_apex || !enough).then_some((denial, digest));
        Ok(before)
    }

    /// Why the zone is to be signed again; nothing if its signatures are good.
    pub(crate) fn why(&self, keys: &[SigningKey], form: (Denial, Digest), now: i64) -> Option<Why> {
        if self.signatures.is_empty() {
            return Some(Why::Unsigned);
        }
        // The moment near now whose lower bits stand in the record.
        let near = |low: u32| now + i64::from(low.wrapping_sub(now as u32).cast_signed());
        for (validity, _) in &self.signatures {
            let (inception, expiration) = (near(validity.inception), near(validity.expiration));
            if inception > now {
                return Some(Why::Future { inception, now });
            }
            if now - inception > AGE_MAX {
                return Some(Why::Old { inception, now });
            }
            if expiration - now < LEFT_MIN {
                return Some(Why::Ends { expiration, now });
            }
        }
        let signed = |key: &SigningKey| {
            let tag = key.public().tag();
            self.signatures.iter().any(|(_, signer)| *signer == tag)
        };
        let known = self
            .signatures
            .iter()
            .all(|(_, tag)| keys.iter().any(|key| key.public().tag() == *tag));
        if !known || !keys.iter().all(signed) {
            return Some(Why::OtherKeys);
        }
        self.form
            .is_some_and(|own| own != form)
            .then_some(Why::OtherForm)
    }

    /// The serial of a zone that is signed now: the time, or what comes behind the last one if that is
    /// not older.
    pub(crate) fn next_serial(&self, now: i64) -> u32 {
        let now = now as u32;
        match self.serial {
            Some(last) if !serial_newer(now, last) => last.wrapping_add(1),
            _ => now,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: i64 = 1_800_000_000;
    const FORM: (Denial, Digest) = (Denial::Nsec, Digest::None);

    fn before(inception: i64, expiration: i64, tags: &[u16]) -> Before {
        let validity = Validity {
            inception: (NOW + inception) as u32,
            expiration: (NOW + expiration) as u32,
        };
        Before {
            serial: None,
            signatures: tags.iter().map(|tag| (validity, *tag)).collect(),
            form: None,
        }
    }

    fn keys() -> [SigningKey; 1] {
        let public = "isle.example. IN DNSKEY 257 3 13 5FH4KREs5OvsiSGg9g8H9ylkcb3CYSCRAVn1XKgPfLS5mC6ZEFZt7NT8 m3MogOvZ0saJy/j2l4+QloStht+TSg==";
        let private = "Private-key-format: v1.3\nAlgorithm: 13 (ECDSAP256SHA256)\nPrivateKey: pUgsTAV2c6i8w8uT6/LfnAzpCfFTcDBvyMe/82/GPOA=\n";
        [corten_dnssec::keyfile::read(public, private).unwrap()]
    }

    #[test]
    fn zones_are_signed_again_in_time() {
        for (inception, expiration, tags, expected) in [
            (-DAY, 30 * DAY, &[33831][..], None),
            (-AGE_MAX, LEFT_MIN, &[33831], None),
            (
                -AGE_MAX - 1,
                30 * DAY,
                &[33831],
                Some("was more than: 144h0m0s ago from"),
            ),
            (
                10,
                30 * DAY,
                &[33831],
                Some("date is in the future: -0h0m10s"),
            ),
            (
                -DAY,
                LEFT_MIN - 1,
                &[33831],
                Some("is less than: 168h0m0s away from"),
            ),
            (-DAY, 30 * DAY, &[1], Some("other keys")),
            (-DAY, 30 * DAY, &[1, 33831], Some("other keys")),
            (
                -DAY,
                30 * DAY,
                &[],
                Some("no SOA RRSIG found in first 100 records"),
            ),
        ] {
            let why = before(inception, expiration, tags).why(&keys(), FORM, NOW);
            match (why, expected) {
                (None, None) => (),
                (Some(why), Some(expected)) => assert!(why.to_string().contains(expected), "{why}"),
                (why, expected) => panic!("{why:?} {expected:?}"),
            }
        }
    }

    /// What the Corefile says of the form is looked at as well, not only how old the signatures are.
    #[test]
    fn a_zone_of_another_form_is_signed_again() {
        let path = std::env::temp_dir().join(format!("corten-form-{}", std::process::id()));
        let origin: Name = "isle.example".parse().unwrap();
        let signature = "SOA 13 2 60 20270214000000 20270114000000 33831 isle.example. YWJj";
        let head = format!("@ 60 SOA ns post 1 2 3 4 5\n@ 60 RRSIG {signature}\n");
        let forms = [Denial::Nsec, Denial::Nsec3]
            .into_iter()
            .flat_map(|denial| [Digest::None, Digest::Zonemd].map(|digest| (denial, digest)));
        for form in forms.clone() {
            let mut text = head.clone();
            if form.0 == Denial::Nsec3 {
                text.push_str("@ 0 NSEC3PARAM 1 0 0 -\n");
            }
            if form.1 == Digest::Zonemd {
                text.push_str(&format!("@ 60 ZONEMD 1 1 1 {}\n", "ab".repeat(48)));
            }
            text.push_str("a 60 A 192.0.2.1\n");
            std::fs::write(&path, &text).unwrap();
            let before = Before::read(&path, &origin).unwrap();
            for wanted in forms.clone() {
                let why = before.why(&keys(), wanted, NOW);
                let expected = (wanted != form).then_some(Why::OtherForm);
                assert_eq!(why, expected, "{form:?}, {wanted:?}");
            }
        }
        // An apex of more records than are looked through.
        let many = (0..RECORDS_MAX).map(|number| format!("@ 60 TXT {number}\n"));
        std::fs::write(&path, head + &many.collect::<String>()).unwrap();
        let before = Before::read(&path, &origin).unwrap();
        for wanted in forms {
            assert_eq!(before.why(&keys(), wanted, NOW), None);
        }
        std::fs::remove_file(&path).unwrap();
    }

    #[test]
    fn serials_go_up() {
        let serial = |last| {
            Before {
                serial: last,
                ..Before::default()
            }
            .next_serial(NOW)
        };
        assert_eq!(serial(None), NOW as u32);
        assert_eq!(serial(Some(11)), NOW as u32);
        assert_eq!(serial(Some(NOW as u32)), NOW as u32 + 1);
        assert_eq!(serial(Some(NOW as u32 + 500)), NOW as u32 + 501);
    }

    #[test]
    fn jitter_stays_in_its_bounds() {
        for _ in 0..100 {
            let validity = Jitter::random().validity(NOW);
            let inception = NOW - i64::from(validity.inception);
            let expiration = i64::from(validity.expiration) - NOW;
            assert!((INCEPTION..=INCEPTION + INCEPTION_JITTER).contains(&inception));
            assert!((EXPIRATION..=EXPIRATION + EXPIRATION_JITTER).contains(&expiration));
        }
    }

    #[test]
    fn moments_are_written_as_coredns_does() {
        assert_eq!(
            Moment(1_564_784_865).to_string(),
            "2019-08-02T22:27:45.000Z"
        );
    }
}
