//! Signatures of queries and their answers, `+tsig=KEY:ALGORITHM:SECRET`.
//!
//! The code is the server's; that it agrees with others is shown by its vectors, and with NSD, Knot and
//! BIND.
use std::io;
use std::sync::{Arc, Mutex};
use std::time::{SystemTime, UNIX_EPOCH};

use corten_tsig::{Key, Query, ResponseError, Secret};

use crate::client::NoAnswer;

/// The signature of one query.
pub(crate) struct Signature {
    key: String,
    query: Mutex<Query>,
}

fn now() -> u64 {
    SystemTime::now()
        .duration_since(UNIX_EPOCH)
        .unwrap()
        .as_secs()
}

impl Signature {
    /// Signs a message.
    pub(crate) fn sign(wire: &mut Vec<u8>, key: &str) -> Self {
        let [name, algorithm, secret] = key.split(':').collect::<Vec<_>>()[..] else {
            panic!("+tsig=KEY:ALGORITHM:SECRET");
        };
        let own = Key::new(
            name.parse().unwrap(),
            Some(algorithm.parse().unwrap()),
            Secret::from_base64(secret).unwrap(),
        );
        Self {
            key: name.to_lowercase(),
            query: Mutex::new(Query::sign(wire, &Arc::new(own), now())),
        }
    }

    /// Verifies the next message of the answer, and returns it without its signature.
    pub(crate) fn verify(&self, octets: &[u8]) -> io::Result<Vec<u8>> {
        let end = self
            .query
            .lock()
            .unwrap()
            .verify(octets, now())
            .map_err(|error| {
                io::Error::other(NoAnswer(match error {
                    ResponseError::Refused(code) if code.0 == 17 => "error PeerBadKey",
                    ResponseError::Refused(code) if code.0 == 16 => "error PeerBadSignature",
                    ResponseError::Refused(_) => "error PeerError",
                    ResponseError::Unsigned => "error Unsigned",
                    _ => "error BadSignature",
                }))
            })?;
        let mut message = octets[..end].to_vec();
        if end < octets.len() {
            let count = u16::from_be_bytes([message[10], message[11]]) - 1;
            message[10..12].copy_from_slice(&count.to_be_bytes());
        }
        Ok(message)
    }

    /// As cases have it; the answer has been verified.
    pub(crate) fn line(&self) -> String {
        format!("tsig {} NOERROR", self.key)
    }
}
