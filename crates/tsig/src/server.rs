//! A query is verified, its answer signed.
use std::sync::Arc;

use corten_wire::{Name, Rcode};

use crate::algorithm::{Algorithm, Code, Mac};
use crate::key::{Key, Keyring};
use crate::record::{Record, RecordError};

/// What was found out about a signed query, and how its answer is signed.
#[derive(Debug)]
pub struct Verdict {
    /// Why it is not taken; nothing when it is who it says.
    pub refusal: Option<Refusal>,
    /// Signs the answer.
    pub answer: Answer,
}

/// Why a signature does not count; the answer's RCODE is NOTAUTH (RFC 8945 section 5.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The key, or the algorithm for it, is not known.
    #[error("BADKEY")]
    BadKey,
    /// The code is another.
    #[error("BADSIG")]
    BadSignature,
    /// Signed too long ago, or in the future.
    #[error("BADTIME")]
    BadTime,
}

/// Signs the messages that answer one query.
#[derive(Debug)]
pub struct Answer {
    key: Name,
    algorithm: Box<[u8]>,
    /// The secret; nothing where the answer goes unsigned (RFC 8945 section 5.3.2).
    with: Option<(Arc<Key>, Algorithm)>,
    /// Code of the query, then of the message before.
    before: Mac,
    error: Rcode,
    time_asked: u64,
    fudge: u16,
    /// A message has been signed.
    begun: bool,
}

impl Refusal {
    /// The TSIG error.
    pub const fn code(self) -> Rcode {
        match self {
            // The number of BADVERS; in a TSIG record it means another thing.
            Self::BadSignature => Rcode(16),
            Self::BadKey => Rcode::BADKEY,
            Self::BadTime => Rcode::BADTIME,
        }
    }
}

/// Verifies a message as it was received. Nothing for one that is not signed.
///
/// The order is that of RFC 8945 section 5.2: key, code, time. The code is compared in constant
/// time, and nothing but the key's name is told of what failed.
///
/// # Errors
/// A message with a TSIG record that is malformed, or whose code is longer than that of its algorithm or
/// shorter than anybody may make it (RFC 8945 section 5.2.2.1): FORMERR.
pub fn verify(message: &[u8], keys: &Keyring, now: u64) -> Result<Option<Verdict>, RecordError> {
    let Some(record) = Record::find(message)? else {
        return Ok(None);
    };
    let algorithm = Algorithm::from_wire(record.algorithm);
    let key = keys.get(&record.key);
    let mut answer = Answer {
        key: record.key.clone(),
        algorithm: record.algorithm.into(),
        with: None,
        before: Mac::received(record.mac),
        error: Rcode::NOERROR,
        time_asked: record.time,
        fudge: record.fudge,
        begun: false,
    };
    let refusal = match (key, algorithm) {
        (Some(key), Some(algorithm)) if key.algorithm.is_none_or(|own| own == algorithm) => {
            if !(algorithm.octets_min()..=algorithm.octets()).contains(&record.mac.len()) {
                return Err(RecordError);
            }
            let refusal = judge(message, &record, key, algorithm, now);
            // RFC 8945 section 5.3.2: not with a key that the client has not shown to have.
            if !matches!(refusal, Some(Refusal::BadSignature)) {
                answer.with = Some((Arc::clone(key), algorithm));
            }
            refusal
        }
        _ => Some(Refusal::BadKey),
    };
    answer.error = refusal.map_or(Rcode::NOERROR, Refusal::code);
    Ok(Some(Verdict { refusal, answer }))
}

fn judge(
    message: &[u8],
    record: &Record<'_>,
    key: &Key,
    algorithm: Algorithm,
    now: u64,
) -> Option<Refusal> {
    let mut code = key.start(algorithm);
    record.unsigned(message, |octets| code.add(octets));
    code.add(&record.variables());
    if !code.is(record.mac) {
        return Some(Refusal::BadSignature);
    }
    // What may be shortened is taken however short it may be: nothing is BADTRUNC here.
    (now.abs_diff(record.time) > u64::from(record.fudge)).then_some(Refusal::BadTime)
}

impl Answer {
    /// Whose key it is.
    pub fn key(&self) -> &Name {
        &self.key
    }

    /// Octets that [`Answer::sign`] appends, at most.
    pub fn room(&self) -> usize {
        let mac = self
            .with
            .as_ref()
            .map_or(0, |(_, algorithm)| algorithm.octets());
        // Owner, fixed part, algorithm, numbers, code, the time of BADTIME.
        self.key.wire().len() + 10 + self.algorithm.len() + 16 + mac + 6
    }

    /// Appends a TSIG record to the message that begins at `start`; to one after the other when the
    /// answer has several (RFC 8945 section 5.3.1).
    pub fn sign(&mut self, out: &mut Vec<u8>, start: usize, now: u64) {
        let bad_time = self.error == Rcode::BADTIME;
        let [_, _, time @ ..] = now.to_be_bytes();
        let id = out.get(start..).and_then(|message| message.first_chunk());
        let mut record = Record {
            key: self.key.clone(),
            algorithm: &self.algorithm,
            // Section 5.2.3: the client's time, so that it takes the answer; ours behind it.
            time: if bad_time { self.time_asked } else { now },
            fudge: self.fudge,
            mac: &[],
            original_id: id.map_or(0, |id| u16::from_be_bytes(*id)),
            error: self.error.0,
            other: if bad_time { &time } else { &[] },
            start: out.len(),
        };
        let Some((key, algorithm)) = &self.with else {
            return record.write(out, start);
        };
        let mut code = key.start(*algorithm);
        add_before(&mut code, &self.before);
        code.add(out.get(start..).unwrap_or_default());
        match self.begun {
            false => code.add(&record.variables()),
            true => code.add(&record.timers()),
        }
        let mac = code.finish();
        record.mac = mac.octets();
        record.write(out, start);
        self.before = mac;
        self.begun = true;
    }
}

/// The code of the message before, with its length (RFC 8945 sections 4.3.1 and 5.3.1).
pub(crate) fn add_before(code: &mut Code, mac: &Mac) {
    code.add(&(mac.octets().len() as u16).to_be_bytes());
    code.add(mac.octets());
}
