//! When the CA would like a certificate to be renewed (RFC 9773).
use std::time::{Duration, SystemTime};

use instant_acme::{CertificateIdentifier, Error, RenewalInfo};
use rustls::pki_types::Der;
use serde::{Deserialize, Serialize};
use x509_parser::extensions::ParsedExtension;
use x509_parser::prelude::{FromDer, X509Certificate};

use crate::backoff::{is_plausible, moment, seconds};
use crate::http::Transport;
use crate::machine::Window;

/// When to ask again if the CA does not say, or cannot be asked.
const ASK_AGAIN: Duration = Duration::from_secs(6 * 3600);
/// Limits of what the CA may say about that.
const ASK_AGAIN_MIN: Duration = Duration::from_secs(60);
const ASK_AGAIN_MAX: Duration = Duration::from_secs(24 * 3600);

/// What the CA said about one certificate; kept beside it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Suggestion {
    /// Which certificate (RFC 9773 section 4.1).
    pub(crate) certificate: String,
    /// The directory of the CA that has signed it.
    pub(crate) directory: String,
    /// The window, in seconds since 1970.
    pub(crate) window: Option<(u64, u64)>,
    /// When to ask again, in seconds since 1970.
    pub(crate) ask_again: u64,
}

impl Suggestion {
    /// The window, if this is about that certificate.
    pub(crate) fn window(&self, certificate: Option<&str>) -> Option<Window> {
        let (start, end) = self.window?;
        (certificate == Some(&self.certificate)).then(|| Window {
            start: moment(start),
            end: moment(end),
        })
    }

    /// Whether it is not yet time to ask again.
    pub(crate) fn is_fresh(&self, certificate: &str, now: SystemTime) -> bool {
        self.certificate == certificate
            && self.ask_again > seconds(now)
            && is_plausible(self.ask_again, now)
    }
}

/// The name of a certificate in renewal information: the key identifier of its authority and its
/// serial number. Nothing for one without the former.
pub(crate) fn identifier(leaf: &[u8]) -> Option<String> {
    let (_, parsed) = X509Certificate::from_der(leaf).ok()?;
    let authority =
        parsed
            .extensions()
            .iter()
            .find_map(|extension| match extension.parsed_extension() {
                ParsedExtension::AuthorityKeyIdentifier(authority) => {
                    authority.key_identifier.as_ref().map(|key| key.0)
                }
                _ => None,
            })?;
    let identifier = CertificateIdentifier::new(
        Der::from_slice(authority),
        Der::from_slice(parsed.raw_serial()),
    );
    Some(identifier.to_string())
}

/// The same for an order that replaces the certificate.
pub(crate) fn replaced(identifier: &str) -> Option<CertificateIdentifier<'_>> {
    let (authority, serial) = identifier.split_once('.')?;
    Some(CertificateIdentifier {
        authority_key_identifier: authority.into(),
        serial: serial.into(),
    })
}

/// Asks the CA about a certificate; what went wrong comes with the time to ask again.
pub(crate) async fn ask(
    transport: &Transport,
    directory: &str,
    certificate: &str,
    now: SystemTime,
) -> (Suggestion, Result<Option<String>, Error>) {
    let mut suggestion = nothing(directory, certificate, now);
    let info = async {
        let Some(url) = transport.directory(directory).await?.renewal_info else {
            return Ok(None);
        };
        let url = format!("{}/{certificate}", url.trim_end_matches('/'));
        let (_, body) = transport.get(&url).await?;
        Ok::<_, Error>(Some(serde_json::from_slice::<RenewalInfo>(&body)?))
    };
    let info = match info.await {
        Ok(Some(info)) => info,
        Ok(None) => return (suggestion, Ok(None)),
        Err(error) => return (suggestion, Err(error)),
    };
    if let Some(wish) = transport.take_retry_after() {
        suggestion.ask_again = seconds(now + wish.clamp(ASK_AGAIN_MIN, ASK_AGAIN_MAX));
    }
    let at = |time: time::OffsetDateTime| u64::try_from(time.unix_timestamp()).unwrap_or(0);
    let window = (
        at(info.suggested_window.start),
        at(info.suggested_window.end),
    );
    // A window that ends before it begins is none (RFC 9773 section 4.2).
    suggestion.window = (window.0 < window.1).then_some(window);
    (suggestion, Ok(info.explanation_url))
}

/// The same for a CA that says nothing.
pub(crate) fn unanswered(
    directory: &str,
    certificate: &str,
    now: SystemTime,
) -> (Suggestion, Result<Option<String>, Error>) {
    let suggestion = nothing(directory, certificate, now);
    (suggestion, Err(Error::Timeout(None)))
}

fn nothing(directory: &str, certificate: &str, now: SystemTime) -> Suggestion {
    Suggestion {
        certificate: certificate.to_owned(),
        directory: directory.to_owned(),
        window: None,
        ask_again: seconds(now + ASK_AGAIN),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_certificate_is_named_as_the_standard_names_it() {
        assert_eq!(
            replaced("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE").map(|id| id.to_string()),
            Some("aYhba4dGQEHhs3uEe6CuLN4ByNQ.AIdlQyE".to_owned())
        );
        assert_eq!(replaced("none"), None);
        // A self-signed one has no authority.
        let (_, pem) = crate::bundle::tests::pair(&["a.example"]);
        let leaf = rustls::pki_types::pem::PemObject::from_pem_slice(pem.as_bytes());
        let leaf: rustls::pki_types::CertificateDer<'_> = leaf.unwrap();
        assert_eq!(identifier(&leaf), None);
    }

    #[test]
    fn a_ca_is_asked_again_when_it_is_time_and_when_the_clock_was_wrong() {
        let now = moment(1_000_000);
        let fresh = |ask_again| {
            let suggestion = Suggestion {
                certificate: "a.b".into(),
                window: Some((1, u64::MAX)),
                ask_again,
                ..Suggestion::default()
            };
            assert!(suggestion.window(Some("a.b")).is_some());
            suggestion.is_fresh("a.b", now) && !suggestion.is_fresh("a.c", now)
        };
        assert!(fresh(1_000_001) && fresh(1_086_400));
        assert!(!fresh(1_000_000) && !fresh(2_000_000) && !fresh(u64::MAX));
    }

    #[test]
    fn a_suggestion_counts_for_its_certificate_only() {
        let suggestion = Suggestion {
            certificate: "a.b".into(),
            window: Some((1, 2)),
            ..Suggestion::default()
        };
        assert!(suggestion.window(Some("a.b")).is_some());
        assert!(suggestion.window(Some("a.c")).is_none());
        assert!(suggestion.window(None).is_none());
    }
}
