//! Options of certificates that look after themselves, in both dialects.
use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::time::Duration;

use base64::Engine;
use base64::alphabet::URL_SAFE;
use base64::engine::{DecodePaddingMode, GeneralPurpose, GeneralPurposeConfig};
use corten_acme::{
    Binding, ChallengeKind, EtcdTls, Issuer, KeyType, LETS_ENCRYPT, Options, RenewAt, Spec,
    SpecError,
};
use corten_plugin::corefile::{Line, Occurrence, Token};
use corten_plugin::{Setup, SetupError};
use rustls::pki_types::CertificateDer;
use rustls::pki_types::pem::PemObject;

use crate::config::{OnRenewal, Source, Wanted};

/// Minutes between two looks at what is stored and what the CA says, at most.
const CHECK_INTERVAL_MINUTES: u64 = 15;
/// Where a CA asks.
const CHALLENGE_PORT: u16 = 53;
/// Where CoreDNS keeps its certificates, below *root*.
const COREDNS_FOLDER: &str = ".coredns/acme";

/// Options of `tls acme`.
pub(crate) const ACME: &[&str] = &[
    "domain",
    "ca",
    "cacert",
    "email",
    "certpath",
    "checkinterval",
    "port",
    "ari",
    "challenge",
    "eab",
    "etcd_credentials",
    "etcd_tls",
    "expired",
    "fallback",
    "fallback_ca",
    "key_type",
    "on_renewal",
    "peers",
    "preflight",
    "profile",
    "renew_at",
    "resolver",
    "startup",
];
/// Options of CoreDNS's form; the first six are CoreDNS's.
pub(crate) const COREDNS: &[&str] = &[
    "acme",
    "email",
    "ca",
    "storage",
    "ca_root",
    "resolver",
    "ari",
    "challenge",
    "checkinterval",
    "client_auth",
    "eab",
    "etcd_credentials",
    "etcd_tls",
    "expired",
    "fallback",
    "fallback_ca",
    "key_type",
    "keylog",
    "on_renewal",
    "peers",
    "port",
    "preflight",
    "profile",
    "renew_at",
    "startup",
];
/// Options of the local CA.
pub(crate) const INTERNAL: &[&str] = &[
    "certpath",
    "domain",
    "etcd_credentials",
    "etcd_tls",
    "expired",
    "on_renewal",
    "renew_at",
    "startup",
];

/// What is written of a managed certificate.
#[derive(Default)]
pub(crate) struct Managed {
    pub(crate) names: Vec<String>,
    /// CoreDNS's dialect: a certificate for each name, and its folder.
    coredns: bool,
    ca: Option<String>,
    roots: Option<PathBuf>,
    email: Option<String>,
    pub(crate) certpath: Option<Token>,
    pub(crate) etcd_credentials: Option<(String, String)>,
    pub(crate) etcd_tls: Option<EtcdTls>,
    check_minutes: Option<u64>,
    port: Option<u16>,
    on_renewal: OnRenewal,
    startup_waits: bool,
    options: Options,
}

impl Managed {
    /// In CoreDNS's dialect.
    pub(crate) fn of_coredns() -> Self {
        Self {
            coredns: true,
            ..Self::default()
        }
    }

    /// Reads an option, if it is one of those that are `known`.
    pub(crate) fn option(
        &mut self,
        setup: &Setup<'_>,
        line: &Line<'_>,
        known: &[&str],
    ) -> Result<bool, SetupError> {
        let name = line.name.text.as_str();
        if !known.contains(&name) {
            return Ok(false);
        }
        match name {
            "domain" | "acme" => {
                let names = line.at_least(1)?.iter();
                self.names.extend(names.map(|name| name.text.clone()));
            }
            "ca" => self.ca = Some(line.one_arg()?.text.clone()),
            "cacert" => self.roots = Some(roots(setup, line.one_arg()?)?),
            "ca_root" => {
                self.roots = Some(roots(setup, line.one_arg()?)?);
                // CoreDNS adds the file to what the system trusts.
                self.options.with_system_roots = true;
            }
            "email" => self.email = Some(email(line.one_arg()?)?),
            "certpath" | "storage" => self.certpath = Some(line.one_arg()?.clone()),
            "etcd_credentials" | "etcd_tls" => self.etcd_option(setup, line, name)?,
            "checkinterval" => self.check_minutes = Some(minutes(line.one_arg()?)?),
            "port" => self.port = Some(port(line.one_arg()?)?),
            "on_renewal" => {
                let choices = [("swap", OnRenewal::Swap), ("reload", OnRenewal::Reload)];
                self.on_renewal = one_of(line.one_arg()?, &choices)?;
            }
            "startup" => {
                self.startup_waits = one_of(line.one_arg()?, &[("serve", false), ("wait", true)])?;
            }
            _ => self.fine_option(line)?,
        }
        Ok(true)
    }

    /// Those that most configurations do without.
    fn fine_option(&mut self, line: &Line<'_>) -> Result<(), SetupError> {
        let options = &mut self.options;
        match line.name.text.as_str() {
            "ari" => {
                options.no_renewal_info = one_of(line.one_arg()?, &[("on", false), ("off", true)])?;
            }
            "challenge" => {
                let kinds = [
                    ChallengeKind::Dns01,
                    ChallengeKind::DnsAccount01,
                    ChallengeKind::DnsPersist01,
                ];
                let choices = kinds.map(|kind| (kind.as_str(), kind));
                options.challenge = one_of(line.one_arg()?, &choices)?;
            }
            "eab" => options.binding = Some(binding(line)?),
            "expired" => {
                let choices = [("serve", false), ("refuse", true)];
                options.refuse_expired = one_of(line.one_arg()?, &choices)?;
            }
            "fallback" => {
                let choices = [("internal", true), ("none", false)];
                options.fallback_internal = one_of(line.one_arg()?, &choices)?;
            }
            "fallback_ca" => {
                let urls = line.at_least(1)?.iter();
                options.fallback.extend(urls.map(|url| url.text.clone()));
            }
            "key_type" => {
                let word = line.one_arg()?;
                if word.text.starts_with("rsa") {
                    return Err(word
                        .error(format!("key_type '{}' is not supported", word.text))
                        .help("p256 is what every client of today can do; RSA keys can be used with 'tls CERT KEY'")
                        .into());
                }
                let choices = [("p256", KeyType::P256), ("p384", KeyType::P384)];
                options.key_type = one_of(word, &choices)?;
            }
            "peers" => {
                for word in line.at_least(1)? {
                    options.peers.push(peer(word)?);
                }
            }
            "preflight" => {
                let choices = [("refuse", false), ("warn", true)];
                options.lenient = one_of(line.one_arg()?, &choices)?;
            }
            "profile" => options.profile = Some(line.one_arg()?.text.clone()),
            "renew_at" => {
                let word = line.one_arg()?;
                let part = match word.text.strip_suffix('%') {
                    Some(percent) => percent.parse::<f64>().ok().map(|percent| percent / 100.0),
                    None => word.text.parse().ok(),
                };
                options.renew_at = part.and_then(RenewAt::new).ok_or_else(|| {
                    word.error(format!(
                        "'{}' is not a part between 0.1 and 0.95",
                        word.text
                    ))
                    .help("0.7 renews after 70 % of the lifetime")
                })?;
            }
            "resolver" => options.resolver = Some(resolver(line.one_arg()?)?),
            _ => (),
        }
        Ok(())
    }

    /// Finishes a form that has a CA.
    pub(crate) fn acme(
        mut self,
        setup: &Setup<'_>,
        line: &Occurrence<'_>,
    ) -> Result<Source, SetupError> {
        let directory = self.ca.take().unwrap_or_else(|| LETS_ENCRYPT.to_owned());
        let issuer = Issuer::Acme {
            directory,
            roots: self.roots.take(),
            email: self.email.take(),
        };
        self.finish(setup, line, issuer)
    }

    /// Makes the specifications.
    pub(crate) fn finish(
        self,
        setup: &Setup<'_>,
        line: &Occurrence<'_>,
        issuer: Issuer,
    ) -> Result<Source, SetupError> {
        let default = || match self.coredns {
            true => setup.path(COREDNS_FOLDER),
            false => default_folder(setup),
        };
        let storage = self.storage(setup, default)?;
        let minutes = self.check_minutes.unwrap_or(CHECK_INTERVAL_MINUTES);
        let interval = Duration::from_secs(minutes.saturating_mul(60));
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        let groups: Vec<&[&str]> = match self.coredns {
            true => names.chunks(1).collect(),
            false => vec![&names],
        };
        let mut specs: Vec<Spec> = Vec::new();
        for group in groups {
            let spec = Spec::new(group, issuer.clone(), storage.clone(), interval)
                .and_then(|spec| spec.with(self.options.clone()))
                .map_err(|error| self.place(line, &error))?;
            if !specs.contains(&spec) {
                specs.push(spec);
            }
        }
        Ok(Source::Managed(Wanted {
            specs,
            challenge_port: self.port.unwrap_or(CHALLENGE_PORT),
            on_renewal: self.on_renewal,
            strict_names: self.coredns,
            startup_waits: self.startup_waits,
            at: line.name.at.clone(),
        }))
    }

    /// A mistake at the word that has it.
    fn place(&self, line: &Occurrence<'_>, error: &SpecError) -> SetupError {
        let wrong = match error {
            SpecError::Name(word) | SpecError::Directory(word) => Some(word.as_str()),
            _ => None,
        };
        let mut words = line.args.iter().copied();
        let of_lines = line
            .lines()
            .iter()
            .flat_map(|option| option.args.iter().copied());
        let token = words
            .find(|word| Some(word.text.as_str()) == wrong)
            .or_else(|| {
                of_lines
                    .into_iter()
                    .find(|word| Some(word.text.as_str()) == wrong)
            })
            .unwrap_or(line.name);
        let text = match (self.coredns, error) {
            (true, SpecError::Name(name)) => format!("invalid ACME domain \"{name}\""),
            (true, SpecError::Directory(url)) => format!("invalid ACME CA URL \"{url}\""),
            _ => error.to_string(),
        };
        token.error(text).into()
    }
}

/// Where CertMagic keeps its data, so that what is there is found.
fn default_folder(setup: &Setup<'_>) -> PathBuf {
    let variable = |name: &str| {
        std::env::var_os(name)
            .filter(|value| !value.is_empty())
            .map(PathBuf::from)
    };
    let data = variable("XDG_DATA_HOME").or_else(|| Some(variable("HOME")?.join(".local/share")));
    data.map_or_else(|| setup.path(".corten"), |data| data.join("certmagic"))
}

fn one_of<T: Copy>(word: &Token, choices: &[(&str, T)]) -> Result<T, SetupError> {
    let found = choices.iter().find(|(name, _)| *name == word.text);
    found.map(|(_, value)| *value).ok_or_else(|| {
        let names: Vec<_> = choices.iter().map(|(name, _)| *name).collect();
        word.error(format!("'{}' is none of {}", word.text, names.join(", ")))
            .into()
    })
}

/// Identifier and key; no message shows them.
fn binding(line: &Line<'_>) -> Result<Binding, SetupError> {
    let wrong = |what: &str| SetupError::new(what).at(&line.name.at);
    let [id, key] = &line.args[..] else {
        return Err(wrong(
            "eab takes the key's identifier and the HMAC key: eab KID HMAC",
        ));
    };
    let config =
        GeneralPurposeConfig::new().with_decode_padding_mode(DecodePaddingMode::Indifferent);
    // CAs print it in either alphabet.
    let text = key.text.replace('+', "-").replace('/', "_");
    let key = GeneralPurpose::new(&URL_SAFE, config)
        .decode(text)
        .ok()
        .filter(|key| !key.is_empty())
        .ok_or_else(|| wrong("the HMAC key of eab is not written in base64"))?;
    Ok(Binding {
        id: id.text.clone(),
        key,
    })
}

fn minutes(word: &Token) -> Result<u64, SetupError> {
    match word.parse("a number of minutes")? {
        0 => Err(word.error("checkinterval is at least 1 minute").into()),
        minutes => Ok(minutes),
    }
}

fn port(word: &Token) -> Result<u16, SetupError> {
    let port = word.text.parse().ok().filter(|port| *port != 0);
    port.ok_or_else(|| {
        word.error(format!("port '{}' is not between 1 and 65535", word.text))
            .into()
    })
}

fn peer(word: &Token) -> Result<SocketAddr, SetupError> {
    let bare = word.text.trim_start_matches('[').trim_end_matches(']');
    if let Ok(address) = bare.parse::<IpAddr>() {
        return Ok(SocketAddr::new(address, CHALLENGE_PORT));
    }
    word.text.parse().map_err(|_| {
        word.error(format!(
            "'{}' is not an address, or ADDRESS:PORT",
            word.text
        ))
        .into()
    })
}

/// CoreDNS's checks and words.
fn resolver(word: &Token) -> Result<String, SetupError> {
    let text = &word.text;
    let Some((host, port)) = text.rsplit_once(':') else {
        return Err(word
            .error(format!(
                "invalid ACME resolver \"{text}\": missing port in address"
            ))
            .into());
    };
    if host.is_empty() {
        return Err(word
            .error(format!("invalid ACME resolver \"{text}\": host is empty"))
            .into());
    }
    let bracketed = host.starts_with('[') && host.ends_with(']');
    if host.contains(':') && !bracketed {
        return Err(word
            .error(format!(
                "invalid ACME resolver \"{text}\": too many colons in address"
            ))
            .into());
    }
    match port.parse::<u16>() {
        Ok(1..) => Ok(text.clone()),
        _ => Err(word
            .error(format!("invalid ACME resolver port \"{port}\""))
            .into()),
    }
}

/// A file with roots.
fn roots(setup: &Setup<'_>, word: &Token) -> Result<PathBuf, SetupError> {
    let path = setup.path(&word.text);
    if !path.is_file() {
        let what = format!("there is no file {}", path.display());
        return Err(word.error(what).into());
    }
    let first = CertificateDer::pem_file_iter(&path).map(|mut all| all.next());
    let wrong = match first {
        Ok(Some(Ok(_))) => return Ok(path),
        Ok(None) => "there is no certificate (PEM) in it".to_owned(),
        Ok(Some(Err(error))) | Err(error) => error.to_string(),
    };
    Err(word.error(format!("{}: {wrong}", path.display())).into())
}

fn email(word: &Token) -> Result<String, SetupError> {
    let sound = word
        .text
        .split_once('@')
        .is_some_and(|(user, host)| !user.is_empty() && !host.is_empty());
    match sound && !word.text.contains([' ', ',', '<']) {
        true => Ok(word.text.clone()),
        false => Err(word
            .error(format!("'{}' is not a mail address", word.text))
            .into()),
    }
}
