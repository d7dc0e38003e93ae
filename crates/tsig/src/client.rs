//! A query is signed, its answer verified.
use std::sync::Arc;

use corten_wire::Rcode;

use crate::FUDGE;
use crate::algorithm::{Code, Mac};
use crate::key::Key;
use crate::record::{Record, RecordError};
use crate::server::add_before;

/// Messages of one answer without a signature between two that have one, at most (RFC 8945 section
/// 5.3.1).
const UNSIGNED_MAX: u8 = 99;

/// A query that was signed, and the answer to it so far.
pub struct Query {
    key: Arc<Key>,
    before: Mac,
    begun: bool,
    /// Messages since the last signature, if any.
    pending: Option<Code>,
    unsigned: u8,
}

/// Why a message is no answer to the query.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum ResponseError {
    /// The first or the last message, or more than 99 of them, have no signature.
    #[error("the response is not signed")]
    Unsigned,
    /// The record is malformed.
    #[error(transparent)]
    Record(#[from] RecordError),
    /// Another key or algorithm.
    #[error("the response is signed with another key")]
    OtherKey,
    /// The code is another, or truncated.
    #[error("the signature of the response is wrong")]
    BadSignature,
    /// Clocks differ.
    #[error("the response was signed at another time than now")]
    BadTime,
    /// The server does not take the query's signature.
    #[error("the server does not take the signature: {}", said(*.0))]
    Refused(Rcode),
}

fn said(error: Rcode) -> String {
    match error.0 {
        16 => "BADSIG".into(),
        _ => error.to_string(),
    }
}

impl Query {
    /// Signs a message that is otherwise as it leaves.
    pub fn sign(message: &mut Vec<u8>, key: &Arc<Key>, now: u64) -> Self {
        let algorithm = key.own_algorithm();
        let id = message
            .first_chunk()
            .map_or(0, |id| u16::from_be_bytes(*id));
        let mut record = Record {
            key: key.name.clone(),
            algorithm: algorithm.wire(),
            time: now,
            fudge: FUDGE,
            mac: &[],
            original_id: id,
            error: 0,
            other: &[],
            start: message.len(),
        };
        let mut code = key.start(algorithm);
        code.add(message);
        code.add(&record.variables());
        let mac = code.finish();
        record.mac = mac.octets();
        record.write(message, 0);
        Self {
            key: Arc::clone(key),
            before: mac,
            begun: false,
            pending: None,
            unsigned: 0,
        }
    }

    /// Verifies the next message of the answer, and returns where its TSIG record begins.
    ///
    /// # Errors
    /// Whatever it is, the answer is none: nothing of it may be used.
    pub fn verify(&mut self, message: &[u8], now: u64) -> Result<usize, ResponseError> {
        let Some(record) = Record::find(message)? else {
            return self.wait_for_signature(message);
        };
        if record.key != self.key.name {
            return Err(ResponseError::OtherKey);
        }
        // RFC 8945 section 5.3.2: such answers are not signed, and nothing is done because of them
        // but giving up.
        if record.mac.is_empty() && record.error != 0 {
            return Err(ResponseError::Refused(Rcode(record.error)));
        }
        let algorithm = self.key.own_algorithm();
        if !algorithm.wire().eq_ignore_ascii_case(record.algorithm) {
            return Err(ResponseError::OtherKey);
        }
        if record.mac.len() != algorithm.octets() {
            return Err(ResponseError::BadSignature);
        }
        let mut code = self.begin();
        record.unsigned(message, |octets| code.add(octets));
        match self.begun {
            false => code.add(&record.variables()),
            true => code.add(&record.timers()),
        }
        if !code.is(record.mac) {
            return Err(ResponseError::BadSignature);
        }
        if record.error != 0 {
            return Err(ResponseError::Refused(Rcode(record.error)));
        }
        if now.abs_diff(record.time) > u64::from(record.fudge) {
            return Err(ResponseError::BadTime);
        }
        self.before = Mac::received(record.mac);
        self.begun = true;
        self.unsigned = 0;
        Ok(record.start)
    }

    /// Whether all messages so far are signed: nothing may be used before.
    pub fn is_complete(&self) -> bool {
        self.begun && self.pending.is_none()
    }

    fn wait_for_signature(&mut self, message: &[u8]) -> Result<usize, ResponseError> {
        self.unsigned += 1;
        if !self.begun || self.unsigned > UNSIGNED_MAX {
            return Err(ResponseError::Unsigned);
        }
        let mut code = self.begin();
        code.add(message);
        self.pending = Some(code);
        Ok(message.len())
    }

    fn begin(&mut self) -> Code {
        self.pending.take().unwrap_or_else(|| {
            let mut code = self.key.start(self.key.own_algorithm());
            add_before(&mut code, &self.before);
            code
        })
    }
}

impl std::fmt::Debug for Query {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Query")
            .field("key", &self.key.name)
            .finish_non_exhaustive()
    }
}
