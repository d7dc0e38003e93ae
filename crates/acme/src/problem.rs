//! What can go wrong with an order, in words, and what follows from it.
use std::io;
use std::time::{Duration, SystemTime};

use instant_acme::Error;
use rustls::CertificateError;

use crate::backoff::Failure;
use crate::http::{NoDirectory, Unavailable, Unreachable};
use crate::spec::ChallengeKind;
use crate::storage::is_lost;

/// Times that one request is sent when the CA rejects its nonce: that is nobody's fault, and costs
/// no quota.
pub(crate) const NONCE_ATTEMPTS_MAX: usize = 16;
/// Times that a request is sent, after what the CA has worked for, while the CA cannot be reached.
pub(crate) const INSISTENCE: u32 = 5;
/// Pause behind the first of them; behind each other one it is that much longer.
pub(crate) const INSISTENCE_PAUSE: Duration = Duration::from_secs(1);
/// Characters of the longest text of others that is told, and kept.
const TOLD_CHARACTERS: usize = 1000;

/// Why there is no certificate.
#[derive(Clone, Debug, thiserror::Error)]
#[error("{what}")]
pub(crate) struct ObtainError {
    pub(crate) what: String,
    pub(crate) failure: Failure,
    pub(crate) retry_after: Option<Duration>,
}

impl ObtainError {
    pub(crate) fn new(failure: Failure, what: impl Into<String>) -> Self {
        Self {
            what: told(&what.into()),
            failure,
            retry_after: None,
        }
    }
}

/// Repeats a request whose nonce the CA has rejected.
macro_rules! patiently {
    ($request:expr) => {{
        let mut attempt = 1;
        loop {
            match $request.await {
                Err(error)
                    if attempt < $crate::problem::NONCE_ATTEMPTS_MAX
                        && $crate::problem::is_problem(&error, "badNonce") =>
                {
                    attempt += 1;
                }
                other => break other,
            }
        }
    }};
}

pub(crate) use patiently;

/// Repeats what comes to grief because the CA cannot be reached in this moment.
macro_rules! insistently {
    ($request:expr) => {{
        let mut attempt = 1;
        loop {
            match $request {
                Err(error)
                    if attempt < $crate::problem::INSISTENCE
                        && $crate::problem::is_passing(&error) =>
                {
                    tokio::time::sleep($crate::problem::INSISTENCE_PAUSE * attempt).await;
                    attempt += 1;
                }
                other => break other,
            }
        }
    }};
}
pub(crate) use insistently;

/// The library's error in words, with what follows from it.
pub(crate) fn explain(directory: &str, error: &Error) -> ObtainError {
    // What comes from our own files, and not from the CA, is not told of the CA.
    if let Error::Other(other) = error
        && let Some(error) = other.downcast_ref::<io::Error>()
    {
        let failure = match is_lost(error) {
            true => Failure::Unreachable,
            false => Failure::Storage,
        };
        return ObtainError::new(failure, error.to_string());
    }
    let (what, failure) = match error {
        Error::Api(problem) if is_problem(error, "rateLimited") => {
            (problem.to_string(), Failure::RateLimited)
        }
        Error::Api(problem) if is_problem(error, "externalAccountRequired") => (
            format!("{problem}; register with the CA and write 'eab KID HMAC'"),
            Failure::Refused,
        ),
        Error::Api(problem) => (problem.to_string(), Failure::Refused),
        Error::Other(other) if other.is::<Refused>() => (other.to_string(), Failure::Validation),
        Error::Other(other) if other.is::<Invisible>() => (other.to_string(), Failure::Preflight),
        Error::Other(other) if other.is::<NotOffered>() || other.is::<NotOrdered>() => {
            (other.to_string(), Failure::Refused)
        }
        Error::Other(other) if other.is::<Unavailable>() || other.is::<NoDirectory>() => {
            (other.to_string(), Failure::Unreachable)
        }
        Error::Other(other) => of_certificate(other.downcast_ref::<Unreachable>())
            .unwrap_or_else(|| (other.to_string(), Failure::Unreachable)),
        Error::Json(error) => (
            format!("what it sent is none of ACME: {error}"),
            Failure::Unreachable,
        ),
        Error::Str(what) => (format!("it did not send {what}"), Failure::Refused),
        other => (other.to_string(), Failure::Unreachable),
    };
    ObtainError::new(failure, format!("{directory}: {what}"))
}

/// What to do about the certificate that the CA's server shows.
fn of_certificate(error: Option<&Unreachable>) -> Option<(String, Failure)> {
    let (error, now) = (error?, SystemTime::now());
    let clock = || format!("this machine's clock says {}", httpdate::fmt_http_date(now));
    Some(match error.certificate()? {
        CertificateError::UnknownIssuer => (
            format!(
                "{error}; if the CA is one of your own, name its root: 'cacert', or 'ca_root' beside 'acme'"
            ),
            Failure::Unreachable,
        ),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => (
            format!("{error}; {}: set it right", clock()),
            Failure::Clock,
        ),
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => (
            format!("{error}; {}: is that right?", clock()),
            Failure::Unreachable,
        ),
        // What openssl makes of itself when nobody says 'basicConstraints=CA:FALSE'.
        CertificateError::Other(other) if other.to_string().contains("CaUsedAsEndEntity") => (
            format!(
                "{error}; the CA's server shows a certificate that is a CA's (CA:TRUE): give it one that is not, signed by that"
            ),
            Failure::Unreachable,
        ),
        _ => return None,
    })
}

/// The CA did not believe us.
#[derive(Debug, thiserror::Error)]
#[error("the challenge failed: {0}")]
pub(crate) struct Refused(pub(crate) String);

/// The CA would not believe us.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub(crate) struct Invisible(pub(crate) String);

/// The CA wants another proof.
#[derive(Debug, thiserror::Error)]
#[error("the CA does not offer the challenge {}", .0.as_str())]
pub(crate) struct NotOffered(pub(crate) ChallengeKind);

/// The CA wants proof of what we have not asked for.
#[derive(Debug, thiserror::Error)]
#[error("the CA wants to see control of {}, which was not ordered", told(.0))]
pub(crate) struct NotOrdered(pub(crate) String);

/// Whether the CA answered with a problem of this type (RFC 8555 section 6.7).
pub(crate) fn is_problem(error: &Error, kind: &str) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    problem
        .r#type
        .as_deref()
        .is_some_and(|urn| urn.strip_prefix("urn:ietf:params:acme:error:") == Some(kind))
}

/// Whether the account is gone, or shut (RFC 8555 sections 7.3.6 and 6.7).
pub(crate) fn is_unknown_account(error: &Error) -> bool {
    let Error::Api(problem) = error else {
        return false;
    };
    let detail = problem.detail.as_deref().unwrap_or_default();
    is_problem(error, "accountDoesNotExist")
        || is_problem(error, "unauthorized") && detail.contains("deactivated")
}

/// Whether an order may go through that does not say what it replaces.
pub(crate) fn is_about_replacing(error: &Error) -> bool {
    match error {
        Error::Api(_) => !is_problem(error, "rateLimited") && !is_unknown_account(error),
        // The library's own words for a CA that does not repeat what it was told, or has no
        // renewal information.
        Error::Other(other) => other.to_string().contains("replaces"),
        Error::Unsupported(_) => true,
        _ => false,
    }
}

/// Whether the CA could not be reached, or only somebody in front of it.
pub(crate) fn is_passing(error: &Error) -> bool {
    let Error::Other(other) = error else {
        return false;
    };
    let page = other.downcast_ref::<Unavailable>();
    other.is::<Unreachable>() || page.is_some_and(|page| page.status.is_server_error())
}

/// A text of others as it is told: one line, without what a terminal obeys, and not without end.
pub(crate) fn told(text: &str) -> String {
    let plain = |c: char| if c.is_control() { ' ' } else { c };
    let mut short: String = text.chars().take(TOLD_CHARACTERS).map(plain).collect();
    if text.chars().nth(TOLD_CHARACTERS).is_some() {
        short.push('…');
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::lost;

    #[test]
    fn what_is_wrong_with_the_storage_is_not_told_of_the_ca() {
        let denied = io::Error::new(io::ErrorKind::PermissionDenied, "/certs/account.json: no");
        for (error, failure, what) in [
            (denied, Failure::Storage, "/certs/account.json: no"),
            (
                lost(),
                Failure::Unreachable,
                "another server has taken over the work on this certificate",
            ),
        ] {
            let told = explain("https://ca.example/dir", &Error::Other(Box::new(error)));
            assert_eq!((told.failure, told.what.as_str()), (failure, what));
        }
    }

    fn unreachable() -> Error {
        let source = io::ErrorKind::ConnectionReset.into();
        Error::Other(Box::new(Unreachable::new("ca.example", source)))
    }

    #[test]
    fn a_ca_that_shows_a_cas_certificate_is_told_so() {
        let inner = rustls::OtherError(std::sync::Arc::new(io::Error::other("CaUsedAsEndEntity")));
        let error = rustls::Error::InvalidCertificate(CertificateError::Other(inner));
        let source = io::Error::new(io::ErrorKind::InvalidData, error);
        let error = Error::Other(Box::new(Unreachable::new("ca.example", source)));
        let told = explain("https://ca.example/dir", &error).what;
        assert!(told.ends_with("signed by that"), "{told}");
    }

    #[tokio::test]
    async fn what_passes_is_tried_again_and_nothing_else() {
        let (mut sent, refused) = (0, || Error::Str("a certificate"));
        let done: Result<u32, Error> = insistently!({
            sent += 1;
            match sent {
                1 => Err(unreachable()),
                _ => Ok(7),
            }
        });
        assert_eq!((done.unwrap(), sent), (7, 2));
        let done: Result<u32, Error> = insistently!({
            sent += 1;
            Err(refused())
        });
        assert!(done.is_err());
        assert_eq!(sent, 3);
    }

    #[test]
    fn a_text_of_others_is_one_short_line() {
        let text = format!("a\r\n[INFO] b\u{1b}[31m{}", "c".repeat(1 << 20));
        let error = ObtainError::new(Failure::Refused, text);
        assert!(
            error.what.starts_with("a  [INFO] b [31mccc"),
            "{}",
            &error.what[..30]
        );
        assert_eq!(error.what.chars().count(), TOLD_CHARACTERS + 1);
        assert_eq!(told("as it is"), "as it is");
    }
}
