//! Which certificate is wanted, from whom.
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::storage::Location;

/// Directory of Let's Encrypt's production CA, the default.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
/// The directory where Let's Encrypt lets people practise.
pub const LETS_ENCRYPT_STAGING: &str = "https://acme-staging-v02.api.letsencrypt.org/directory";
/// Names of one certificate (Let's Encrypt's limit).
const NAMES_MAX: usize = 100;

/// Who signs.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub enum Issuer {
    /// A CA that speaks ACME.
    Acme {
        /// Its directory's URL.
        directory: String,
        /// PEM file of the roots that its HTTPS certificate is checked against; nothing for the
        /// system's.
        roots: Option<PathBuf>,
        /// Contact address, which is told to the CA; nothing for none.
        email: Option<String>,
    },
    /// The local CA, whose root is kept in the certificate folder.
    Internal,
}

/// A wanted certificate. Equal specifications share one certificate.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Spec {
    /// DNS names, lower-cased, sorted, without the final dot; a wildcard is `*.NAME`.
    pub names: Vec<String>,
    /// Who signs.
    pub issuer: Issuer,
    /// Where it is kept, with its account and what servers tell one another.
    pub storage: Location,
    /// The longest time between two looks at what is stored and at what the CA suggests.
    pub check_interval: Duration,
    /// How it is obtained and kept.
    pub options: Options,
}

/// How a certificate is obtained and kept; the default is what most want.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Options {
    /// Directories of CAs that are asked when the first has failed three times.
    pub fallback: Vec<String>,
    /// The CA's profile; its default without one.
    pub profile: Option<String>,
    /// What key the certificate is for.
    pub key_type: KeyType,
    /// External account binding (RFC 8555 section 7.3.4), for the first CA.
    pub binding: Option<Binding>,
    /// When to renew.
    pub renew_at: RenewAt,
    /// Whether the CA is not asked when to renew (RFC 9773).
    pub no_renewal_info: bool,
    /// Whether what is seen to be wrong before an order is told and not held against it.
    pub lenient: bool,
    /// Whether a certificate of the local CA serves while there is none at all.
    pub fallback_internal: bool,
    /// Whether handshakes are refused once the certificate has expired.
    pub refuse_expired: bool,
    /// How control of the names is shown.
    pub challenge: ChallengeKind,
    /// Other servers that may know the answer to a challenge.
    pub peers: Vec<SocketAddr>,
    /// HOST:PORT of the resolver that finds the CA and the name servers of the names; nothing for
    /// the system's.
    pub resolver: Option<String>,
    /// Whether the roots of the system count beside those of the file.
    pub with_system_roots: bool,
}

/// What key a certificate is for.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum KeyType {
    /// ECDSA over P-256.
    #[default]
    P256,
    /// ECDSA over P-384.
    P384,
}

/// How control of a name is shown.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub enum ChallengeKind {
    /// A TXT record of `_acme-challenge.NAME` (RFC 8555 section 8.4).
    #[default]
    Dns01,
    /// The same below a label of the account's own (draft-ietf-acme-dns-account-label).
    DnsAccount01,
    /// A record of `_validation-persist.NAME` that names the account and stays
    /// (draft-ietf-acme-dns-persist).
    DnsPersist01,
}

impl ChallengeKind {
    /// Its name in ACME.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Dns01 => "dns-01",
            Self::DnsAccount01 => "dns-account-01",
            Self::DnsPersist01 => "dns-persist-01",
        }
    }
}

/// Thousandths of the validity after which a certificate is renewed; 700 by default.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct RenewAt(u16);

impl RenewAt {
    /// Part of the validity, between 0.1 and 0.95: earlier would order without end, later leaves no
    /// time for failures.
    pub fn new(part: f64) -> Option<Self> {
        (0.1..=0.95)
            .contains(&part)
            .then_some(Self((part * 1000.0).round() as u16))
    }

    /// Part of the validity.
    pub fn part(self) -> f64 {
        f64::from(self.0) / 1000.0
    }
}

impl Default for RenewAt {
    fn default() -> Self {
        Self(700)
    }
}

/// Identifier and key that a CA has given to a customer.
#[derive(Clone, PartialEq, Eq, Hash)]
pub struct Binding {
    /// The key's identifier.
    pub id: String,
    /// The HMAC key.
    pub key: Vec<u8>,
}

impl fmt::Debug for Binding {
    /// Without the key.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Binding")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// A specification that cannot be met.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum SpecError {
    /// No name at all.
    #[error("at least one domain is expected")]
    NoName,
    /// Too many names.
    #[error("{0} domains; a certificate holds 100 at most")]
    TooManyNames(usize),
    /// Not a host name.
    #[error("'{0}' is not a domain name that a certificate can be made for")]
    Name(String),
    /// Not the URL of a directory.
    #[error("'{0}' is not the URL of an ACME directory, such as {LETS_ENCRYPT}")]
    Directory(String),
}

impl Spec {
    /// A specification with its names brought into form.
    pub fn new(
        names: &[&str],
        issuer: Issuer,
        storage: impl Into<Location>,
        check_interval: Duration,
    ) -> Result<Self, SpecError> {
        let mut names = names
            .iter()
            .map(|name| normalize(name))
            .collect::<Result<Vec<_>, _>>()?;
        names.sort();
        names.dedup();
        // CAs refuse a name beside a wildcard that covers it.
        let wildcards: Vec<_> = names
            .iter()
            .filter(|name| name.starts_with("*."))
            .cloned()
            .collect();
        names.retain(|name| name.starts_with("*.") || !covers(&wildcards, name));
        match names.len() {
            0 => return Err(SpecError::NoName),
            count if count > NAMES_MAX => return Err(SpecError::TooManyNames(count)),
            _ => (),
        }
        let issuer = match issuer {
            Issuer::Acme {
                directory,
                roots,
                email,
            } => Issuer::Acme {
                directory: normalize_url(&directory)?,
                roots,
                email,
            },
            Issuer::Internal => Issuer::Internal,
        };
        Ok(Self {
            names,
            issuer,
            storage: storage.into(),
            check_interval,
            options: Options::default(),
        })
    }

    /// The same with options; directories are brought into form.
    pub fn with(mut self, mut options: Options) -> Result<Self, SpecError> {
        for directory in &mut options.fallback {
            *directory = normalize_url(directory)?;
        }
        self.options = options;
        Ok(self)
    }

    /// Other servers that may know the answer to a challenge.
    pub(crate) fn peers(&self) -> &[SocketAddr] {
        &self.options.peers
    }

    /// Names of the records that show control, where it does not take an account to know them.
    pub(crate) fn records(&self) -> Vec<String> {
        let prefix = self.options.challenge.prefix();
        let bare = |name: &String| name.strip_prefix("*.").unwrap_or(name).to_owned();
        let mut names: Vec<_> = self.names.iter().map(bare).collect();
        names.sort_unstable();
        names.dedup();
        let record = |name| format!("{prefix}.{name}");
        names.into_iter().map(record).collect()
    }

    /// Directories of the CAs, in the order in which they are asked; none for the local CA.
    pub(crate) fn directories(&self) -> Vec<&str> {
        let first = match &self.issuer {
            Issuer::Acme { directory, .. } => Some(directory.as_str()),
            Issuer::Internal => None,
        };
        let others = self.options.fallback.iter().map(String::as_str);
        first.into_iter().chain(others).collect()
    }

    /// Whether a certificate for these names is good for `server_name`.
    pub fn covers(&self, server_name: &str) -> bool {
        covers(&self.names, server_name)
    }
}

/// Whether one of the names, a wildcard for one label, is `wanted`.
pub(crate) fn covers(names: &[String], wanted: &str) -> bool {
    let wanted = wanted.trim_end_matches('.').to_ascii_lowercase();
    let parent = wanted.split_once('.').map(|(_, parent)| parent);
    names.iter().any(|name| {
        *name == wanted
            || name
                .strip_prefix("*.")
                .is_some_and(|zone| parent == Some(zone))
    })
}

fn normalize(name: &str) -> Result<String, SpecError> {
    let wrong = || SpecError::Name(name.to_owned());
    // Names in other scripts as the DNS has them (RFC 5890); a wildcard is none of its labels.
    let lower = match name.strip_prefix("*.") {
        _ if name.is_ascii() => name.to_ascii_lowercase(),
        Some(rest) => format!("*.{}", idna::domain_to_ascii(rest).map_err(|_| wrong())?),
        None => idna::domain_to_ascii(name).map_err(|_| wrong())?,
    };
    let lower = lower.trim_end_matches('.').to_owned();
    let labels = lower.strip_prefix("*.").unwrap_or(&lower);
    let sound = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    let is_address = labels.parse::<std::net::IpAddr>().is_ok();
    match labels.len() <= 253 && !is_address && labels.split('.').all(sound) {
        true => Ok(lower),
        false => Err(wrong()),
    }
}

/// A URL may be written without its scheme, which is always HTTPS.
fn normalize_url(url: &str) -> Result<String, SpecError> {
    let rest = url.strip_prefix("https://").unwrap_or(url);
    let host = rest.split('/').next().unwrap_or_default();
    let sound = !host.is_empty()
        && !rest.contains("://")
        && host
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-.:[]_".contains(&octet));
    if sound {
        Ok(format!("https://{rest}"))
    } else {
        Err(SpecError::Directory(url.to_owned()))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(names: &[&str], directory: &str) -> Result<Spec, SpecError> {
        let issuer = Issuer::Acme {
            directory: directory.into(),
            roots: None,
            email: None,
        };
        Spec::new(
            names,
            issuer,
            PathBuf::from("certs"),
            Duration::from_secs(900),
        )
    }

    #[test]
    fn names_are_brought_into_form() {
        let spec = spec(
            &[
                "NS1.Example.org.",
                "*.b.example.org",
                "a.b.example.org",
                "ns1.example.org",
            ],
            "ca.example/dir",
        )
        .unwrap();
        // A wildcard covers the name beside it, which CAs refuse.
        assert_eq!(spec.names, ["*.b.example.org", "ns1.example.org"]);
        assert_eq!(
            spec.issuer,
            Issuer::Acme {
                directory: "https://ca.example/dir".into(),
                roots: None,
                email: None
            }
        );
        let other = self::spec(&["Bücher.example", "*.bücher.example"], "ca.example/dir").unwrap();
        assert_eq!(
            other.names,
            ["*.xn--bcher-kva.example", "xn--bcher-kva.example"]
        );
        assert!(spec.covers("A.b.example.org") && spec.covers("ns1.example.org."));
        assert!(!spec.covers("a.a.b.example.org") && !spec.covers("b.example.org"));
    }

    #[test]
    fn what_no_ca_signs_is_refused() {
        for (names, url, error) in [
            (&[][..], LETS_ENCRYPT, SpecError::NoName),
            (
                &["192.0.2.1"],
                LETS_ENCRYPT,
                SpecError::Name("192.0.2.1".into()),
            ),
            (&["a..b"], LETS_ENCRYPT, SpecError::Name("a..b".into())),
            (&["a b"], LETS_ENCRYPT, SpecError::Name("a b".into())),
            (&["a.*.b"], LETS_ENCRYPT, SpecError::Name("a.*.b".into())),
            (
                &["a"],
                "http://ca.example/dir",
                SpecError::Directory("http://ca.example/dir".into()),
            ),
            (
                &["a"],
                "https:///dir",
                SpecError::Directory("https:///dir".into()),
            ),
        ] {
            assert_eq!(spec(names, url), Err(error));
        }
    }

    #[test]
    fn options_are_in_form_and_keep_their_secret() {
        let options = Options {
            fallback: vec!["other.example/dir".into()],
            binding: Some(Binding {
                id: "kid".into(),
                key: vec![200, 201, 202],
            }),
            ..Options::default()
        };
        let spec = spec(&["a.example"], "ca.example/dir")
            .unwrap()
            .with(options)
            .unwrap();
        assert_eq!(
            spec.directories(),
            ["https://ca.example/dir", "https://other.example/dir"]
        );
        let shown = format!("{spec:?}");
        assert!(shown.contains("kid") && !shown.contains("201"), "{shown}");
        assert_eq!(RenewAt::new(0.7), Some(RenewAt::default()));
        assert_eq!(RenewAt::default().part(), 0.7);
        assert_eq!((RenewAt::new(0.05), RenewAt::new(1.0)), (None, None));
    }
}
