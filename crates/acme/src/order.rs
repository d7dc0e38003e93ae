//! One ACME order (RFC 8555 section 7.4), from the account to the chain.
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AuthorizationStatus, ChallengeType, Error, Identifier, NewOrder, OrderStatus,
};
use rcgen::{
    CertificateParams, DistinguishedName, KeyPair, PKCS_ECDSA_P256_SHA256, PKCS_ECDSA_P384_SHA384,
};
use sha2::{Digest, Sha256};
use tokio::time::sleep;

use crate::account::Accounts;
use crate::ari;
use crate::backoff::Failure;
use crate::challenges::{Challenges, Pending, SETTLE};
use crate::http::Transport;
use crate::preflight::Places;
use crate::problem::{
    Invisible, NotOffered, NotOrdered, ObtainError, Refused, explain, insistently,
    is_about_replacing, is_passing, is_unknown_account, patiently,
};
use crate::spec::{ChallengeKind, KeyType, Spec};
use crate::storage::Lease;

/// Between two looks at an order, growing, unless the CA says.
const POLL_MIN: Duration = Duration::from_millis(100);
const POLL_MAX: Duration = Duration::from_secs(5);
const POLL_WISH_MAX: Duration = Duration::from_secs(60);
/// What stands in front of the names of records.
const CHALLENGE: &str = "_acme-challenge";
const PERSIST: &str = "_validation-persist";

/// What an order is made with.
pub(crate) struct Order<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) directory: &'a str,
    pub(crate) transport: &'a Transport,
    pub(crate) accounts: Accounts<'a>,
    /// Checked before each step that costs some of the CA's quota.
    pub(crate) lease: &'a dyn Lease,
    pub(crate) challenges: &'a Arc<Challenges>,
    /// Where the challenges are looked for before the CA does.
    pub(crate) places: &'a Places,
    pub(crate) profile: Option<&'a str>,
    /// The certificate that is replaced, as renewal information names it.
    pub(crate) replaces: Option<&'a str>,
}

/// A record that shows control of a name.
struct Proof {
    /// As the order's authorization calls it.
    domain: String,
    prefix: String,
    value: String,
}

impl Order<'_> {
    /// Obtains key and chain as PEM text.
    pub(crate) async fn obtain(&self) -> Result<String, ObtainError> {
        self.attempt().await.map_err(|error| self.explain(&error))
    }

    async fn attempt(&self) -> Result<String, Error> {
        let mut opened = patiently!(self.accounts.open())?;
        self.check_lease().await?;
        let mut order = match self.place(&opened.account).await {
            Err(error) if is_unknown_account(&error) => {
                // Such as a CA that lost its accounts, or a test's: once more with a new one.
                tracing::warn!(target: "plugin/tls", "{}: {error}; the account is put aside and a new one is made", self.directory);
                opened = patiently!(self.accounts.replace(&opened))?;
                self.check_lease().await?;
                self.place(&opened.account).await?
            }
            other => other?,
        };
        let served = self.publish(&opened.account, &mut order).await?;
        if !served.is_empty() {
            self.say_ready(&mut order).await?;
        }
        if self.settled(&mut order, OrderStatus::Ready).await? == OrderStatus::Invalid {
            return Err(self.refusal(&mut order).await);
        }
        drop(served);
        self.check_lease().await?;
        let key = key(self.spec.options.key_type).map_err(|error| Error::Other(Box::new(error)))?;
        let request = csr(&self.spec.names, &key).map_err(|error| Error::Other(Box::new(error)))?;
        // From here on the CA has worked for it: a connection that breaks loses nothing.
        insistently!({
            match patiently!(order.finalize_csr(&request)) {
                // The answer was lost, not the request.
                Err(error) if is_passing(&error) && self.is_under_way(&mut order).await => Ok(()),
                other => other,
            }
        })?;
        self.settled(&mut order, OrderStatus::Valid).await?;
        let chain = insistently!(patiently!(order.certificate()))?
            .ok_or(Error::Str("a certificate for an order that is done"))?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// Whether the CA makes the certificate already.
    async fn is_under_way(&self, order: &mut instant_acme::Order) -> bool {
        matches!(
            patiently!(order.refresh()),
            Ok(state) if matches!(state.status, OrderStatus::Processing | OrderStatus::Valid)
        )
    }

    /// Places the order. What the CA has against replacing another certificate is no reason to go
    /// without.
    async fn place(&self, account: &Account) -> Result<instant_acme::Order, Error> {
        let names = self.spec.names.iter().cloned().map(Identifier::Dns);
        let names: Vec<_> = names.collect();
        let new = || {
            let new = NewOrder::new(&names);
            match self.profile {
                Some(profile) => new.profile(profile),
                None => new,
            }
        };
        if let Some(replaced) = self.replaces.and_then(ari::replaced) {
            let order = new().replaces(replaced);
            match patiently!(account.new_order(&order)) {
                Err(error) if is_about_replacing(&error) => {
                    tracing::info!(target: "plugin/tls", "{}: {error}; ordering without saying what is replaced", self.directory);
                }
                other => return other,
            }
        }
        let order = new();
        patiently!(account.new_order(&order))
    }

    /// Serves every record that the CA wants to see, and waits until all name servers show them.
    async fn publish(
        &self,
        account: &Account,
        order: &mut instant_acme::Order,
    ) -> Result<Vec<Pending>, Error> {
        let proofs = patiently!(self.proofs(account, order))?;
        let mut served = Vec::with_capacity(proofs.len());
        for proof in &proofs {
            let name = format!("{}.{}", proof.prefix, bare(&proof.domain));
            let alias = self.places.alias(&name).await;
            let published = self.challenges.publish(&name, &alias, &proof.value);
            served.extend(published.await.served);
        }
        // Whoever is asked, and cannot be seen from here, has looked by then.
        if !served.is_empty() {
            sleep(SETTLE).await;
        }
        for proof in &proofs {
            let name = format!("{}.{}", proof.prefix, bare(&proof.domain));
            if let Err(words) = self.places.wait_visible(&name, &proof.value).await {
                let hint = match self.spec.options.challenge {
                    // Such a record is the operator's where other servers answer for the zone.
                    ChallengeKind::DnsPersist01 => {
                        format!("; publish there, for good: {name}. TXT \"{}\"", proof.value)
                    }
                    _ => String::new(),
                };
                let what =
                    format!("the challenge's answer for {name} cannot be seen: {words}{hint}");
                if !self.spec.options.lenient {
                    return Err(Error::Other(Box::new(Invisible(what))));
                }
                tracing::warn!(target: "plugin/tls", "{}: {what}", self.directory);
            }
        }
        Ok(served)
    }

    /// The records of the authorizations that are pending.
    async fn proofs(
        &self,
        account: &Account,
        order: &mut instant_acme::Order,
    ) -> Result<Vec<Proof>, Error> {
        let mut proofs = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if !is_pending(authorization.status)? {
                continue;
            }
            let kind = self.spec.options.challenge;
            let challenge = authorization
                .challenge(kind.in_library())
                .ok_or_else(|| Error::Other(Box::new(NotOffered(kind))))?;
            let domain = challenge.identifier().to_string();
            // No CA has us show control of what we have not asked for, or of one name again and again.
            if !is_ordered(&self.spec.names, &domain, proofs.len()) {
                return Err(Error::Other(Box::new(NotOrdered(domain))));
            }
            let (prefix, value) = match kind {
                ChallengeKind::Dns01 => (
                    CHALLENGE.to_owned(),
                    challenge.key_authorization().dns_value(),
                ),
                ChallengeKind::DnsAccount01 => (
                    format!("{}.{CHALLENGE}", account_label(account.id())),
                    challenge.key_authorization().dns_value(),
                ),
                // A CA that calls our account by another CA's name would have us let a stranger in there.
                ChallengeKind::DnsPersist01 if host(account.id()) != host(self.directory) => {
                    return Err(Error::Str("an account of its own for records that persist"));
                }
                ChallengeKind::DnsPersist01 => (
                    PERSIST.to_owned(),
                    persistent(&self.transport.issuer_names(), account.id(), &domain)
                        .ok_or(Error::Str("the CA's name for records that persist"))?,
                ),
            };
            proofs.push(Proof {
                domain,
                prefix,
                value,
            });
        }
        Ok(proofs)
    }

    /// Tells the CA that it may look.
    async fn say_ready(&self, order: &mut instant_acme::Order) -> Result<(), Error> {
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            if !is_pending(authorization.status)? {
                continue;
            }
            if let Some(mut challenge) =
                authorization.challenge(self.spec.options.challenge.in_library())
            {
                patiently!(challenge.set_ready())?;
            }
        }
        Ok(())
    }

    /// Looks at the order until it is as wanted, or invalid. The caller bounds the time.
    async fn settled(
        &self,
        order: &mut instant_acme::Order,
        wanted: OrderStatus,
    ) -> Result<OrderStatus, Error> {
        let mut pause = POLL_MIN;
        loop {
            let (status, error) = insistently!(
                patiently!(order.refresh()).map(|state| (state.status, state.error.clone()))
            )?;
            match (status, error) {
                (OrderStatus::Invalid, None) => return Ok(OrderStatus::Invalid),
                // The reasons stand with the names.
                (OrderStatus::Invalid, Some(_)) if wanted == OrderStatus::Ready => {
                    return Ok(OrderStatus::Invalid);
                }
                (_, Some(error)) => return Err(Error::Api(error)),
                (OrderStatus::Valid, None) => return Ok(OrderStatus::Valid),
                (status, None) if status == wanted => return Ok(status),
                _ => (),
            }
            let wish = self.transport.take_retry_after();
            sleep(wish.map_or(pause, |wish| wish.clamp(POLL_MIN, POLL_WISH_MAX))).await;
            pause = pause.mul_f32(1.5).min(POLL_MAX);
        }
    }

    /// What the CA says about the names of an order that failed.
    async fn refusal(&self, order: &mut instant_acme::Order) -> Error {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(mut authorization)) = authorizations.next().await {
            // What is known of it is from before the CA looked.
            if patiently!(authorization.refresh()).is_err() {
                continue;
            }
            for challenge in &authorization.challenges {
                if let Some(problem) = &challenge.error {
                    reasons.push(format!("{}: {problem}", authorization.identifier()));
                }
            }
        }
        Error::Other(Box::new(Refused(match reasons.is_empty() {
            true => "the CA gave no reason".into(),
            false => reasons.join("; "),
        })))
    }

    /// Fails if another server may be at work by now.
    async fn check_lease(&self) -> Result<(), Error> {
        let check = self.lease.check().await;
        check.map_err(|error| Error::Other(Box::new(error)))
    }

    fn explain(&self, error: &Error) -> ObtainError {
        let explained = explain(self.directory, error);
        ObtainError {
            failure: match self.transport.was_rate_limited() {
                true if explained.failure != Failure::Preflight => Failure::RateLimited,
                _ => explained.failure,
            },
            retry_after: self.transport.take_retry_after(),
            ..explained
        }
    }
}

impl ChallengeKind {
    fn in_library(self) -> ChallengeType {
        match self {
            Self::Dns01 => ChallengeType::Dns01,
            other => ChallengeType::Unknown(other.as_str().to_owned()),
        }
    }

    /// What stands in front of the names of this kind's records, where it does not take an account
    /// to know it.
    pub(crate) fn prefix(self) -> &'static str {
        match self {
            Self::Dns01 | Self::DnsAccount01 => CHALLENGE,
            Self::DnsPersist01 => PERSIST,
        }
    }
}

fn is_pending(status: AuthorizationStatus) -> Result<bool, Error> {
    match status {
        AuthorizationStatus::Valid => Ok(false),
        AuthorizationStatus::Pending => Ok(true),
        status => Err(Error::Other(
            format!("the CA holds an authorization that is {status:?}").into(),
        )),
    }
}

/// Whether one more proof, for this name, can belong to an order.
fn is_ordered(names: &[String], domain: &str, proofs: usize) -> bool {
    proofs < names.len() && names.iter().any(|name| bare(name) == bare(domain))
}

/// Host and port of a URL.
fn host(url: &str) -> &str {
    let rest = url.split_once("://").map_or(url, |(_, rest)| rest);
    rest.split('/').next().unwrap_or(rest)
}

/// A name without its wildcard.
fn bare(domain: &str) -> &str {
    domain.strip_prefix("*.").unwrap_or(domain)
}

/// The label of an account: `_` and ten octets of its URL's hash in base 32
/// (draft-ietf-acme-dns-account-label section 3.1).
fn account_label(account: &str) -> String {
    const ALPHABET: &[u8; 32] = b"abcdefghijklmnopqrstuvwxyz234567";
    let digest = Sha256::digest(account.as_bytes());
    let (groups, _) = digest[..10].as_chunks::<5>();
    let mut label = String::from("_");
    for group in groups {
        let bits = group
            .iter()
            .fold(0u64, |bits, octet| bits << 8 | u64::from(*octet));
        label.extend((0..8).map(|at| char::from(ALPHABET[(bits >> (35 - 5 * at) & 31) as usize])));
    }
    label
}

/// The value of a record that persists (draft-ietf-acme-dns-persist section 3.1).
fn persistent(issuers: &[String], account: &str, domain: &str) -> Option<String> {
    let issuer = issuers.first()?;
    let policy = match domain.starts_with("*.") {
        true => "; policy=wildcard",
        false => "",
    };
    Some(format!("{issuer}; accounturi={account}{policy}"))
}

fn key(kind: KeyType) -> Result<KeyPair, rcgen::Error> {
    KeyPair::generate_for(match kind {
        KeyType::P256 => &PKCS_ECDSA_P256_SHA256,
        KeyType::P384 => &PKCS_ECDSA_P384_SHA384,
    })
}

/// A certificate request whose subject is empty: the CA takes the names from the extension.
fn csr(names: &[String], key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut parameters = CertificateParams::new(names.to_vec())?;
    parameters.distinguished_name = DistinguishedName::new();
    Ok(parameters.serialize_request(key)?.der().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn records_are_made_as_the_drafts_say() {
        // The example of draft-ietf-acme-dns-account-label.
        assert_eq!(
            account_label("https://example.com/acme/acct/ExampleAccount"),
            "_ujmmovf2vn55tgye"
        );
        let issuers = ["ca.example".to_owned()];
        assert_eq!(
            persistent(&issuers, "https://ca.example/acct/1", "*.a.example").unwrap(),
            "ca.example; accounturi=https://ca.example/acct/1; policy=wildcard"
        );
        assert_eq!(persistent(&[], "x", "a.example"), None);
        let names = ["*.a.example".to_owned(), "a.example".to_owned()];
        assert!(is_ordered(&names, "*.a.example", 1) && is_ordered(&names, "a.example", 0));
        assert!(!is_ordered(&names, "b.example", 0) && !is_ordered(&names, "a.example", 2));
        assert_eq!(host("https://ca.example:14000/dir"), "ca.example:14000");
        assert_ne!(host("https://other.example/acct/1"), host("ca.example/dir"));
    }
}
