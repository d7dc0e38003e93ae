//! *tsig*: keys, and signatures of queries and answers (RFC 8945).
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | here | the decisions |
mod config;

use std::sync::Arc;

use corten_plugin::wire::{Name, Rcode};
use corten_plugin::{
    Directive, Exchange, Flow, Pace, Plugin, Seal, Setup, SetupError, Signer, Updates, unix_seconds,
};
use corten_tsig::{Answer, Keyring, Record, Refusal, verify};

use config::Config;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "tsig",
    setup,
    readme: include_str!("../README.md"),
};

struct Tsig {
    config: Config,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup)?;
    // For those of the block that sign and verify messages of their own.
    setup.provide(Arc::<Keyring>::clone(&config.keys));
    setup.push(Tsig { config });
    Ok(())
}

/// Signs what answers a query.
struct Signed(Answer);

impl Seal for Signed {
    fn room(&self) -> usize {
        self.0.room()
    }

    fn seal(&mut self, out: &mut Vec<u8>, start: usize) {
        self.0.sign(out, start, unix_seconds());
    }
}

impl Tsig {
    /// Whether a query must be signed.
    fn requires(&self, ex: &Exchange) -> bool {
        self.config.types.has(&ex.query.question.rtype)
            || self.config.opcodes.has(&ex.query.opcode())
    }

    /// Whether a question in a client's name is asked for one who has a key of ours.
    fn is_for_signer(&self, ex: &Exchange) -> bool {
        // Another block may have another key of that name.
        ex.signer()
            .is_some_and(|signer| self.mark(&signer.key) == Some(signer.mark))
    }

    fn mark(&self, key: &Name) -> Option<u64> {
        self.config.keys.get(key).map(|key| key.mark())
    }

    fn unsigned(&self, ex: &mut Exchange) -> Flow {
        if !self.requires(ex) || self.is_for_signer(ex) {
            return Flow::Pass;
        }
        tracing::debug!(
            target: "plugin/tsig",
            "rejecting '{}' request without TSIG", ex.query.question.rtype
        );
        ex.answer(Rcode::REFUSED)
    }
}

/// Whether a message is signed with HMAC-MD5, as some clients do unless they are told otherwise.
fn is_md5(message: &[u8]) -> bool {
    const MD5: &[u8] = b"\x08hmac-md5\x07sig-alg\x03reg\x03int\0";
    let record = Record::find(message).ok().flatten();
    record.is_some_and(|record| record.algorithm.eq_ignore_ascii_case(MD5))
}

impl Plugin for Tsig {
    fn name(&self) -> &'static str {
        "tsig"
    }

    fn any_class(&self) -> bool {
        true
    }

    fn updates(&self) -> Updates {
        Updates::See
    }

    fn judges_clients(&self) -> bool {
        !self.config.types.is_empty()
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if self.config.zones.matches(&ex.query.question.name).is_none() {
            return Flow::Pass;
        }
        let Some(message) = ex.query.signed_octets() else {
            return self.unsigned(ex);
        };
        let verdict = match verify(message, &self.config.keys, unix_seconds()) {
            Ok(Some(verdict)) => verdict,
            Ok(None) => return self.unsigned(ex),
            // RFC 8945 section 5.2.
            Err(_) => return ex.answer(Rcode::FORMERR),
        };
        let key = verdict.answer.key().clone();
        // Anybody can send this, with any key.
        static PACE: Pace = Pace::new(1);
        if verdict.refusal == Some(Refusal::BadKey) && is_md5(message) && PACE.admits() {
            tracing::warn!(
                target: "plugin/tsig",
                "key \"{key}\" of {} is used with HMAC-MD5, which is not served (RFC 8945 section 6); \
                 set the client to HMAC-SHA256: for certbot dns_rfc2136_algorithm = HMAC-SHA256, \
                 for cert-manager tsigAlgorithm: HMACSHA256",
                ex.client
            );
        }
        ex.query.remove_tsig();
        ex.seal_with(Box::new(Signed(verdict.answer)));
        if let Some(refusal) = verdict.refusal {
            tracing::debug!(
                target: "plugin/tsig",
                "TSIG validation failed: {} {refusal}", ex.query.question.rtype
            );
            return ex.answer(Rcode::NOTAUTH);
        }
        let mark = self.mark(&key).unwrap_or_default();
        ex.set_signer(Arc::new(Signer { key, mark }));
        Flow::Pass
    }
}

#[cfg(test)]
mod tests;
