//! Which certificate is wanted, from whom.
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use crate::storage::Location;

/// Directory of Let's Encrypt's production CA, the default.
pub const LETS_ENCRYPT: &str = "https://acme-v02.api.letsencrypt.org/directory";
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
    /// The longest time between two looks at the clock.
    pub check_interval: Duration,
    /// Other servers that may know the answer to a challenge.
    pub peers: Vec<SocketAddr>,
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
    /// The same name is wanted from two CAs, folders or with other names.
    #[error(
        "'{0}' is wanted by another block with other settings; the settings of both must be the same"
    )]
    Conflict(String),
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
            peers: Vec::new(),
        })
    }

    /// Other servers that may know the answer to a challenge.
    pub(crate) fn peers(&self) -> &[SocketAddr] {
        &self.peers
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
    let lower = name.trim_end_matches('.').to_ascii_lowercase();
    let labels = lower.strip_prefix("*.").unwrap_or(&lower);
    let sound = |label: &str| {
        (1..=63).contains(&label.len())
            && !label.starts_with('-')
            && !label.ends_with('-')
            && label
                .bytes()
                .all(|octet| octet.is_ascii_alphanumeric() || octet == b'-' || octet == b'_')
    };
    match labels.len() <= 253 && labels.split('.').all(sound) {
        true => Ok(lower),
        false => Err(SpecError::Name(name.to_owned())),
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
            &["NS1.Example.org.", "*.example.org", "ns1.example.org"],
            "ca.example/dir",
        )
        .unwrap();
        assert_eq!(spec.names, ["*.example.org", "ns1.example.org"]);
        assert_eq!(
            spec.issuer,
            Issuer::Acme {
                directory: "https://ca.example/dir".into(),
                roots: None,
                email: None
            }
        );
        assert!(spec.covers("A.example.org") && spec.covers("ns1.example.org."));
        assert!(!spec.covers("a.b.example.org") && !spec.covers("example.org"));
    }

    #[test]
    fn what_no_ca_signs_is_refused() {
        for (names, url, error) in [
            (&[][..], LETS_ENCRYPT, SpecError::NoName),
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
}
