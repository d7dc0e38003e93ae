//! One ACME order (RFC 8555 section 7.4), from the account to the chain.
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use instant_acme::{
    Account, AccountCredentials, AuthorizationStatus, ChallengeType, Error, Identifier, NewAccount,
    NewOrder, OrderStatus, RetryPolicy,
};
use rcgen::{CertificateParams, DistinguishedName, KeyPair};

use crate::challenges::{Challenges, Pending};
use crate::http::{Transport, Unavailable};
use crate::machine::Failure;
use crate::spec::Spec;
use crate::storage::Lease;
use crate::store::Store;

/// Orders tried at once when the CA rejects a nonce: that is nobody's fault, and costs no quota.
const NONCE_ATTEMPTS_MAX: usize = 8;

/// What stands in front of a name whose control is to be shown.
const CHALLENGE: &str = "_acme-challenge";

/// How long things may take.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// One request to the CA, connection included.
    pub request: Duration,
    /// One order with everything that belongs to it.
    pub order: Duration,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            request: Duration::from_secs(30),
            order: Duration::from_secs(600),
        }
    }
}

/// Why there is no certificate.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct ObtainError {
    pub(crate) what: String,
    pub(crate) failure: Failure,
    pub(crate) retry_after: Option<Duration>,
}

impl ObtainError {
    pub(crate) fn local(what: impl Into<String>) -> Self {
        Self {
            what: what.into(),
            failure: Failure::Unreachable,
            retry_after: None,
        }
    }
}

/// What an order is made with.
pub(crate) struct Order<'a> {
    pub(crate) spec: &'a Spec,
    pub(crate) directory: &'a str,
    pub(crate) email: Option<&'a str>,
    pub(crate) roots: Option<&'a PathBuf>,
    pub(crate) store: &'a Store,
    /// Checked before each step that costs some of the CA's quota.
    pub(crate) lease: &'a dyn Lease,
    pub(crate) challenges: &'a Arc<Challenges>,
    pub(crate) limits: Limits,
}

impl Order<'_> {
    /// Obtains key and chain as PEM text.
    pub(crate) async fn obtain(&self) -> Result<String, ObtainError> {
        let transport = Transport::new(self.roots.map(PathBuf::as_path), self.limits.request)
            .map_err(ObtainError::local)?;
        // The way for the CA's queries is open before anything is asked of it.
        let _open = match self.challenges.responder() {
            Some(responder) => Some(responder.open().await.map_err(ObtainError::local)?),
            None => None,
        };
        let mut attempt = 1;
        let error = loop {
            match tokio::time::timeout(self.limits.order, self.attempt(&transport)).await {
                Ok(Ok(pem)) => return Ok(pem),
                Ok(Err(error))
                    if attempt < NONCE_ATTEMPTS_MAX && is_problem(&error, "badNonce") =>
                {
                    attempt += 1
                }
                Ok(Err(error)) => break error,
                Err(_) => {
                    return Err(ObtainError::local(format!(
                        "the order took longer than {:?}",
                        self.limits.order
                    )));
                }
            }
        };
        Err(self.explain(&error, transport.take_retry_after()))
    }

    async fn attempt(&self, transport: &Transport) -> Result<String, Error> {
        let account = self.account(transport).await?;
        let names: Vec<_> = self
            .spec
            .names
            .iter()
            .cloned()
            .map(Identifier::Dns)
            .collect();
        self.check_lease().await?;
        let mut order = match account.new_order(&NewOrder::new(&names)).await {
            Err(error) if is_problem(&error, "accountDoesNotExist") => {
                // Such as a CA that lost its accounts, or a test's: once more with a new one.
                self.store.set_account_aside(self.email).await;
                self.account(transport)
                    .await?
                    .new_order(&NewOrder::new(&names))
                    .await?
            }
            other => other?,
        };
        let mut served: Vec<Pending> = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(authorization) = authorizations.next().await {
            let mut authorization = authorization?;
            match authorization.status {
                AuthorizationStatus::Valid => continue,
                AuthorizationStatus::Pending => (),
                status => {
                    return Err(Error::Other(
                        format!("the CA holds an authorization that is {status:?}").into(),
                    ));
                }
            }
            let mut challenge = authorization
                .challenge(ChallengeType::Dns01)
                .ok_or(Error::Unsupported("dns-01 for this name"))?;
            let domain = challenge.identifier().to_string();
            served.push(
                self.challenges
                    .publish(
                        CHALLENGE,
                        &domain,
                        challenge.key_authorization().dns_value(),
                    )
                    .await,
            );
            challenge.set_ready().await?;
        }
        let patience = RetryPolicy::new()
            .initial_delay(Duration::from_millis(100))
            .backoff(1.5)
            .timeout(self.limits.order);
        if order.poll_ready(&patience).await? != OrderStatus::Ready {
            return Err(self.refusal(&mut order).await);
        }
        drop(served);
        self.check_lease().await?;
        let key = KeyPair::generate().map_err(|error| Error::Other(Box::new(error)))?;
        let request = csr(&self.spec.names, &key).map_err(|error| Error::Other(Box::new(error)))?;
        order.finalize_csr(&request).await?;
        let chain = order.poll_certificate(&patience).await?;
        Ok(format!("{}{chain}", key.serialize_pem()))
    }

    /// What the CA says about the names of an order that failed.
    async fn refusal(&self, order: &mut instant_acme::Order) -> Error {
        let mut reasons = Vec::new();
        let mut authorizations = order.authorizations();
        while let Some(Ok(authorization)) = authorizations.next().await {
            for challenge in &authorization.challenges {
                if let Some(problem) = &challenge.error {
                    reasons.push(format!("{}: {problem}", authorization.identifier()));
                }
            }
        }
        Error::Other(Box::new(Refused(if reasons.is_empty() {
            "the CA gave no reason".into()
        } else {
            reasons.join("; ")
        })))
    }

    /// Fails if another server may be at work by now.
    async fn check_lease(&self) -> Result<(), Error> {
        let check = self.lease.check().await;
        check.map_err(|error| Error::Other(Box::new(error)))
    }

    /// The account that is kept, or a new one.
    async fn account(&self, transport: &Transport) -> Result<Account, Error> {
        let builder = || Account::builder_with_http(Box::new(transport.clone()));
        let other = |error: std::io::Error| Error::Other(Box::new(error));
        if let Some(text) = self.store.load_account(self.email).await.map_err(other)? {
            match serde_json::from_slice::<AccountCredentials>(&text) {
                Ok(credentials) => return builder().from_credentials(credentials).await,
                Err(error) => {
                    tracing::error!(target: "plugin/tls", "{}: {error}; it is put aside, a new account is made", self.store.account_place(self.email));
                    self.store.set_account_aside(self.email).await;
                }
            }
        }
        let contact: Vec<_> = self
            .email
            .iter()
            .map(|email| format!("mailto:{email}"))
            .collect();
        let contact: Vec<_> = contact.iter().map(String::as_str).collect();
        let new = NewAccount {
            contact: &contact,
            terms_of_service_agreed: true,
            only_return_existing: false,
        };
        let (account, credentials) = builder()
            .create(&new, self.directory.to_owned(), None)
            .await?;
        let text = serde_json::to_vec(&credentials)?;
        self.store
            .save_account(self.email, &text)
            .await
            .map_err(other)?;
        Ok(account)
    }

    fn explain(&self, error: &Error, retry_after: Option<Duration>) -> ObtainError {
        let directory = self.directory;
        let (what, failure) = match error {
            Error::Api(problem) => (format!("{directory}: {problem}"), Failure::Refused),
            Error::Other(other) if other.is::<Refused>() => {
                (format!("{directory}: {other}"), Failure::Refused)
            }
            Error::Other(other) if other.is::<Unavailable>() => {
                (format!("{directory}: {other}"), Failure::Unreachable)
            }
            Error::Json(error) => (
                format!(
                    "{directory} is no ACME directory (most URLs of one end in '/directory'): {error}"
                ),
                Failure::Unreachable,
            ),
            other => (format!("{directory}: {other}"), Failure::Unreachable),
        };
        ObtainError {
            what,
            failure,
            retry_after,
        }
    }
}

/// The CA did not believe us.
#[derive(Debug, thiserror::Error)]
#[error("the challenge failed: {0}")]
struct Refused(String);

/// Whether the CA answered with a problem of this type (RFC 8555 section 6.7).
fn is_problem(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    problem
        .r#type
        .as_deref()
        .is_some_and(|urn| urn.strip_prefix("urn:ietf:params:acme:error:") == Some(kind))
}

/// A certificate request whose subject is empty: the CA takes the names from the extension.
fn csr(names: &[String], key: &KeyPair) -> Result<Vec<u8>, rcgen::Error> {
    let mut parameters = CertificateParams::new(names.to_vec())?;
    parameters.distinguished_name = DistinguishedName::new();
    Ok(parameters.serialize_request(key)?.der().to_vec())
}
