//! The directive's three forms.
use std::path::PathBuf;
use std::time::Duration;

use corten_acme::{EtcdTls, Issuer, LETS_ENCRYPT, Spec, SpecError};
use corten_plugin::corefile::{Line, Location, Occurrence, Token};
use corten_plugin::{Setup, SetupError};

/// Minutes between two looks at the clock, at most.
const CHECK_INTERVAL_MINUTES: u64 = 15;
/// Where a CA asks.
const CHALLENGE_PORT: u16 = 53;
const FILE_OPTIONS: &[&str] = &["client_auth", "keylog"];
const INTERNAL_OPTIONS: &[&str] = &[
    "certpath",
    "client_auth",
    "domain",
    "etcd_credentials",
    "etcd_tls",
    "keylog",
    "on_renewal",
];
const ACME_OPTIONS: &[&str] = &[
    "ca",
    "cacert",
    "certpath",
    "checkinterval",
    "client_auth",
    "domain",
    "email",
    "etcd_credentials",
    "etcd_tls",
    "keylog",
    "on_renewal",
    "port",
];

/// What a *tls* directive says.
pub(crate) struct Config {
    pub(crate) source: Source,
    pub(crate) client: ClientOptions,
}

/// Where the certificate comes from.
pub(crate) enum Source {
    Files {
        certificate: PathBuf,
        key: PathBuf,
    },
    Managed {
        spec: Spec,
        challenge_port: u16,
        on_renewal: OnRenewal,
        at: Location,
    },
}

/// What happens when a certificate has been renewed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum OnRenewal {
    /// The listeners exchange it.
    #[default]
    Swap,
    /// And then the whole configuration is read again.
    Reload,
}

/// What clients must show, and whether keys are written down.
#[derive(Default)]
pub(crate) struct ClientOptions {
    pub(crate) mode: ClientAuth,
    pub(crate) ca: Option<PathBuf>,
    pub(crate) keylog: Option<PathBuf>,
}

/// The modes of Go's `tls.ClientAuthType`.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) enum ClientAuth {
    #[default]
    NoCert,
    Request,
    Require,
    VerifyIfGiven,
    RequireAndVerify,
}

/// Options of a managed certificate as they are read.
#[derive(Default)]
pub(crate) struct Managed {
    names: Vec<String>,
    ca: Option<String>,
    cacert: Option<PathBuf>,
    email: Option<String>,
    pub(crate) certpath: Option<Token>,
    pub(crate) etcd_credentials: Option<(String, String)>,
    pub(crate) etcd_tls: Option<EtcdTls>,
    check_minutes: Option<u64>,
    port: Option<u16>,
    on_renewal: OnRenewal,
}

impl Config {
    /// The last line counts, as in CoreDNS; all must be right.
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let mut last = None;
        for line in setup.occurrences()? {
            last = Some(Self::line(setup, &line)?);
        }
        last.ok_or_else(|| SetupError::new("the directive is not there"))
    }

    fn line(setup: &Setup<'_>, line: &Occurrence<'_>) -> Result<Self, SetupError> {
        let mut client = ClientOptions::default();
        let source = match &line.args[..] {
            [form] if form.text == "acme" => acme(setup, line, &mut client)?,
            [form, names @ ..] if form.text == "internal" => {
                internal(setup, line, names, &mut client)?
            }
            [certificate, key, ca @ ..] if ca.len() <= 1 => {
                client.ca = ca.first().map(|ca| setup.path(&ca.text));
                for option in line.lines() {
                    if !client_option(setup, option, &mut client)? {
                        return Err(option.unknown_property(FILE_OPTIONS).into());
                    }
                }
                Source::Files {
                    certificate: setup.path(&certificate.text),
                    key: setup.path(&key.text),
                }
            }
            [] => {
                let help =
                    "write 'tls CERT KEY [CA]', 'tls acme { domain NAME }' or 'tls internal'";
                return Err(line.argument_error().help(help).into());
            }
            _ => return Err(line.argument_error().into()),
        };
        Ok(Self { source, client })
    }
}

/// `tls acme { domain NAME… … }`
fn acme(
    setup: &Setup<'_>,
    line: &Occurrence<'_>,
    client: &mut ClientOptions,
) -> Result<Source, SetupError> {
    let mut managed = Managed::default();
    for option in line.lines() {
        if client_option(setup, option, client)? || managed.option(setup, option)? {
            continue;
        }
        match option.name.text.as_str() {
            "ca" => managed.ca = Some(option.one_arg()?.text.clone()),
            "cacert" => managed.cacert = Some(existing(setup, option.one_arg()?)?),
            "email" => managed.email = Some(email(option.one_arg()?)?),
            "checkinterval" => {
                let word = option.one_arg()?;
                let minutes = word.parse("a number of minutes")?;
                if minutes == 0 {
                    return Err(word.error("checkinterval is at least 1 minute").into());
                }
                managed.check_minutes = Some(minutes);
            }
            "port" => {
                let word = option.one_arg()?;
                let port = word.text.parse().ok().filter(|port| *port != 0);
                managed.port = Some(port.ok_or_else(|| {
                    word.error(format!("port '{}' is not between 1 and 65535", word.text))
                })?);
            }
            other => {
                let help = format!("options are {}", ACME_OPTIONS.join(", "));
                return Err(option
                    .name
                    .error(format!("unknown argument to acme '{other}'"))
                    .help(help)
                    .into());
            }
        }
    }
    if managed.names.is_empty() {
        return Err(line
            .name
            .error("acme needs at least one domain")
            .help("write 'domain ns1.example.org' between the braces")
            .into());
    }
    let directory = managed.ca.take().unwrap_or_else(|| LETS_ENCRYPT.to_owned());
    let issuer = Issuer::Acme {
        directory,
        roots: managed.cacert.take(),
        email: managed.email.take(),
    };
    managed.finish(setup, line, issuer)
}

/// `tls internal [NAME…]`: without names those of the block's zones.
fn internal(
    setup: &Setup<'_>,
    line: &Occurrence<'_>,
    names: &[&Token],
    client: &mut ClientOptions,
) -> Result<Source, SetupError> {
    let mut managed = Managed {
        names: names.iter().map(|name| name.text.clone()).collect(),
        ..Managed::default()
    };
    for option in line.lines() {
        if !client_option(setup, option, client)? && !managed.option(setup, option)? {
            return Err(option.unknown_property(INTERNAL_OPTIONS).into());
        }
    }
    if managed.names.is_empty() {
        managed.names = setup
            .block
            .zones
            .iter()
            .filter(|zone| !zone.is_root())
            .map(ToString::to_string)
            .collect();
        managed.names.push("localhost".to_owned());
    }
    managed.finish(setup, line, Issuer::Internal)
}

impl Managed {
    /// Options that both managed forms have; returns whether it was one.
    fn option(&mut self, setup: &Setup<'_>, line: &Line<'_>) -> Result<bool, SetupError> {
        match line.name.text.as_str() {
            "domain" => self
                .names
                .extend(line.at_least(1)?.iter().map(|name| name.text.clone())),
            "certpath" => self.certpath = Some(line.one_arg()?.clone()),
            name @ ("etcd_credentials" | "etcd_tls") => self.etcd_option(setup, line, name)?,
            "on_renewal" => {
                let word = line.one_arg()?;
                self.on_renewal = match word.text.as_str() {
                    "swap" => OnRenewal::Swap,
                    "reload" => OnRenewal::Reload,
                    other => {
                        return Err(word
                            .error(format!("'{other}' is neither 'swap' nor 'reload'"))
                            .into());
                    }
                };
            }
            _ => return Ok(false),
        }
        Ok(true)
    }

    fn finish(
        self,
        setup: &Setup<'_>,
        line: &Occurrence<'_>,
        issuer: Issuer,
    ) -> Result<Source, SetupError> {
        let storage = self.storage(setup)?;
        let interval =
            Duration::from_secs(60 * self.check_minutes.unwrap_or(CHECK_INTERVAL_MINUTES));
        let names: Vec<_> = self.names.iter().map(String::as_str).collect();
        let spec = Spec::new(&names, issuer, storage, interval)
            .map_err(|error: SpecError| line.name.error(error.to_string()))?;
        let challenge_port = self.port.unwrap_or(CHALLENGE_PORT);
        Ok(Source::Managed {
            spec,
            challenge_port,
            on_renewal: self.on_renewal,
            at: line.name.at.clone(),
        })
    }
}

/// Options of all forms; returns whether it was one.
fn client_option(
    setup: &Setup<'_>,
    line: &Line<'_>,
    client: &mut ClientOptions,
) -> Result<bool, SetupError> {
    match line.name.text.as_str() {
        "client_auth" => {
            let word = line.one_arg()?;
            client.mode = match word.text.as_str() {
                "nocert" => ClientAuth::NoCert,
                "request" => ClientAuth::Request,
                "require" => ClientAuth::Require,
                "verify_if_given" => ClientAuth::VerifyIfGiven,
                "require_and_verify" => ClientAuth::RequireAndVerify,
                other => {
                    let error = word.error(format!("unknown authentication type '{other}'"));
                    return Err(error.help("types are nocert, request, require, verify_if_given and require_and_verify").into());
                }
            };
        }
        "keylog" => client.keylog = Some(setup.path(&line.one_arg()?.text)),
        _ => return Ok(false),
    }
    Ok(true)
}

fn existing(setup: &Setup<'_>, word: &Token) -> Result<PathBuf, SetupError> {
    let path = setup.path(&word.text);
    match path.is_file() {
        true => Ok(path),
        false => Err(word
            .error(format!("there is no file {}", path.display()))
            .into()),
    }
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
