//! Where certificates are kept: the options `certpath`, `etcd_credentials` and `etcd_tls`.
use std::path::PathBuf;

use corten_acme::{EtcdLocation, EtcdTls, Location};
use corten_plugin::corefile::{Line, Token};
use corten_plugin::{Setup, SetupError};

use crate::options::Managed;

/// Port of etcd's clients.
const ETCD_PORT: u16 = 2379;
/// What stands in front of keys where nothing else is said.
const ETCD_PREFIX: &str = "corten";

impl Managed {
    /// `etcd_credentials USER PASSWORD`, or `etcd_tls [CERT KEY] [CA]` as in CoreDNS's *etcd*.
    pub(crate) fn etcd_option(
        &mut self,
        setup: &Setup<'_>,
        line: &Line<'_>,
        name: &str,
    ) -> Result<(), SetupError> {
        let words: Vec<_> = line.args.iter().map(|word| word.text.as_str()).collect();
        match (name, &words[..]) {
            ("etcd_credentials", [user, password]) => {
                self.etcd_credentials = Some(((*user).to_owned(), (*password).to_owned()));
            }
            ("etcd_tls", files) if files.len() <= 3 => {
                let (identity, roots) = match files {
                    [roots] => (None, Some(roots)),
                    [certificate, key, rest @ ..] => (Some((certificate, key)), rest.first()),
                    [] => (None, None),
                };
                self.etcd_tls = Some(EtcdTls {
                    roots: roots.map(|file| setup.path(file)),
                    identity: identity
                        .map(|(certificate, key)| (setup.path(certificate), setup.path(key))),
                });
            }
            // The last word may be the password: it is not shown.
            ("etcd_credentials", _) => {
                let what =
                    "etcd_credentials takes a user and a password: etcd_credentials USER PASSWORD";
                return Err(SetupError::new(what).at(&line.name.at));
            }
            _ => return Err(line.argument_error().into()),
        }
        Ok(())
    }

    /// The folder or the cluster that the options name.
    pub(crate) fn storage(
        &self,
        setup: &Setup<'_>,
        default: impl FnOnce() -> PathBuf,
    ) -> Result<Location, SetupError> {
        let Some(word) = &self.certpath else {
            return Ok(default().into());
        };
        let (cluster, tls) = match word.text.split_once("://") {
            Some(("etcd", rest)) => (rest, self.etcd_tls.clone()),
            Some(("etcds", rest)) => (rest, Some(self.etcd_tls.clone().unwrap_or_default())),
            Some((scheme, _)) => {
                let error = word.error(format!("'{scheme}://' is no place for certificates"));
                return Err(error
                    .help("write a folder, or etcd://HOST:PORT[,HOST:PORT…]/PREFIX")
                    .into());
            }
            None if self.etcd_tls.is_some() || self.etcd_credentials.is_some() => {
                let error = word.error("etcd_tls and etcd_credentials need a certpath in etcd");
                return Err(error.help("write certpath etcd://HOST:PORT/PREFIX").into());
            }
            None => return Ok(setup.path(&word.text).into()),
        };
        let (members, prefix) = cluster.split_once('/').unwrap_or((cluster, ""));
        let endpoints = members
            .split(',')
            .map(|member| endpoint(word, member))
            .collect::<Result<_, _>>()?;
        Ok(Location::Etcd(Box::new(EtcdLocation {
            endpoints,
            prefix: match prefix.trim_matches('/') {
                "" => ETCD_PREFIX.to_owned(),
                prefix => prefix.to_owned(),
            },
            credentials: self.etcd_credentials.clone(),
            tls,
        })))
    }
}

/// HOST:PORT from a member as it is written; the port may be left out.
fn endpoint(word: &Token, member: &str) -> Result<String, SetupError> {
    let bracketed = member.ends_with(']');
    let (host, port) = match member.rsplit_once(':') {
        Some((host, port)) if !bracketed => (host, port.parse().ok()),
        _ => (member, Some(ETCD_PORT)),
    };
    let sound = !host.is_empty()
        && host
            .bytes()
            .all(|octet| octet.is_ascii_alphanumeric() || b"-._:[]".contains(&octet));
    match port {
        Some(port) if sound && port != 0 => Ok(format!("{host}:{port}")),
        _ => Err(word
            .error(format!("'{member}' is not HOST:PORT of an etcd member"))
            .into()),
    }
}
