//! The directive's forms.
use std::path::PathBuf;

use corten_acme::{Issuer, Spec};
use corten_plugin::corefile::{Line, Location, Occurrence, Token};
use corten_plugin::{Setup, SetupError};

use crate::options::{ACME, COREDNS, INTERNAL, Managed};

const FILE_OPTIONS: &[&str] = &["client_auth", "keylog"];
/// What a *tls* directive says.
pub(crate) struct Config {
    pub(crate) source: Source,
    pub(crate) client: ClientOptions,
}

/// Where the certificate comes from.
pub(crate) enum Source {
    Files { certificate: PathBuf, key: PathBuf },
    Managed(Wanted),
}

/// Certificates that look after themselves.
pub(crate) struct Wanted {
    /// At least one; the first is for clients that name no server.
    pub(crate) specs: Vec<Spec>,
    pub(crate) challenge_port: u16,
    pub(crate) on_renewal: OnRenewal,
    /// Whether clients that name another server are turned away.
    pub(crate) strict_names: bool,
    /// Whether the program says that it serves only once there are certificates.
    pub(crate) startup_waits: bool,
    pub(crate) at: Location,
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
            [] if !line.lines().is_empty() => coredns(setup, line, &mut client)?,
            [] => {
                let help = "write 'tls CERT KEY [CA]', 'tls acme { domain NAME }', 'tls { acme NAME }' or 'tls internal'";
                return Err(line
                    .name
                    .error("ACME requires at least one domain")
                    .help(help)
                    .into());
            }
            _ => return Err(line.argument_error().into()),
        };
        Ok(Self { source, client })
    }
}

/// `tls acme { domain NAME… … }`: one certificate for all names.
fn acme(
    setup: &Setup<'_>,
    line: &Occurrence<'_>,
    client: &mut ClientOptions,
) -> Result<Source, SetupError> {
    let mut managed = Managed::default();
    for option in line.lines() {
        if client_option(setup, option, client)? || managed.option(setup, option, ACME)? {
            continue;
        }
        let other = &option.name.text;
        let help = format!("options are {}, client_auth, keylog", ACME.join(", "));
        return Err(option
            .name
            .error(format!("unknown argument to acme '{other}'"))
            .help(help)
            .into());
    }
    if managed.names.is_empty() {
        return Err(line
            .name
            .error("acme needs at least one domain")
            .help("write 'domain ns1.example.org' between the braces")
            .into());
    }
    managed.acme(setup, line)
}

/// CoreDNS's `tls { acme NAME… … }`: a certificate for each name.
fn coredns(
    setup: &Setup<'_>,
    line: &Occurrence<'_>,
    client: &mut ClientOptions,
) -> Result<Source, SetupError> {
    let mut managed = Managed::of_coredns();
    for (at, option) in line.lines().iter().enumerate() {
        let name = &option.name.text;
        if line.lines()[..at].iter().any(|o| o.name.text == *name) {
            return Err(option
                .name
                .error(format!("ACME option \"{name}\" can only be specified once"))
                .into());
        }
        if client_option(setup, option, client)? || managed.option(setup, option, COREDNS)? {
            continue;
        }
        return Err(option
            .name
            .error(format!("unknown ACME option \"{name}\""))
            .help(format!("options are {}", COREDNS.join(", ")))
            .into());
    }
    if managed.names.is_empty() {
        return Err(line
            .name
            .error("ACME requires at least one domain")
            .help("write 'acme ns1.example.org' between the braces")
            .into());
    }
    managed.acme(setup, line)
}

/// `tls internal [NAME…]`: without names those of the block's zones.
fn internal(
    setup: &Setup<'_>,
    line: &Occurrence<'_>,
    names: &[&Token],
    client: &mut ClientOptions,
) -> Result<Source, SetupError> {
    let mut managed = Managed::default();
    managed.names = names.iter().map(|name| name.text.clone()).collect();
    for option in line.lines() {
        if !client_option(setup, option, client)? && !managed.option(setup, option, INTERNAL)? {
            return Err(option.unknown_property(INTERNAL).into());
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
