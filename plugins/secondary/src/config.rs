//! The directive's lines.
use std::net::IpAddr;
use std::path::PathBuf;
use std::sync::Arc;

use corten_plugin::corefile::{Line, Token};
use corten_plugin::wire::Name;
use corten_plugin::{Fallthrough, Setup, SetupError, Zones, socket_address};
use corten_tsig::{Key, Keyring};
use corten_upstream::client_tls;
use rustls::pki_types::ServerName;
use tokio::sync::Semaphore;

use crate::client::{Primary, Tls};
use crate::copy::Store;
use crate::incoming::Bounds;

const PROPERTIES: &[&str] = &[
    "transfer",
    "catalog",
    "fallthrough",
    "key",
    "tls",
    "tls_servername",
    "source",
    "store",
    "max_records",
    "max_octets",
];
/// Zones of a directive whose primaries are asked at the same time.
pub(crate) const UNDER_WAY_MAX: usize = 64;
/// Protocol of zone transfers over TLS (RFC 9103 section 8.1).
const DOT: &[u8] = b"dot";
const BOUNDS: Bounds = Bounds {
    records_max: 20_000_000,
    octets_max: 2 << 30,
};

/// Where zones come from: one occurrence of the directive.
#[derive(Debug)]
pub(crate) struct Source {
    pub(crate) zones: Vec<Name>,
    pub(crate) primaries: Vec<Primary>,
    /// The key that requests are signed with, and notifications must be.
    pub(crate) key: Option<Arc<Key>>,
    pub(crate) source: Option<IpAddr>,
    /// The zones are catalogs; members are taken in these zones.
    pub(crate) catalog: Option<Zones>,
    pub(crate) store: Option<Store>,
    pub(crate) bounds: Bounds,
    /// Room for those that are asked.
    pub(crate) under_way: Semaphore,
}

impl Source {
    /// Whether what came from there is good for this one, too.
    pub(crate) fn is_like(&self, other: &Self) -> bool {
        self.primaries == other.primaries && self.key == other.key
    }

    /// Whether a notification from there counts.
    pub(crate) fn is_primary(&self, ip: IpAddr) -> bool {
        self.primaries
            .iter()
            .any(|primary| primary.address.ip() == ip)
    }

    /// Whether a catalog may bring this zone.
    pub(crate) fn takes_member(&self, zone: &Name) -> bool {
        self.catalog
            .as_ref()
            .is_some_and(|zones| zones.names().is_empty() || zones.matches(zone).is_some())
    }
}

/// What the block's directives say.
pub(crate) struct Config {
    pub(crate) sources: Vec<Arc<Source>>,
    pub(crate) fallthrough: Fallthrough,
}

#[derive(Default)]
struct Draft {
    /// Words behind `transfer from`.
    from: Vec<Token>,
    key: Option<Arc<Key>>,
    source: Option<IpAddr>,
    catalog: Option<Vec<Name>>,
    tls: Vec<PathBuf>,
    server_name: Option<String>,
    store: Option<Store>,
    bounds: Option<Bounds>,
}

impl Config {
    pub(crate) fn read(setup: &Setup<'_>) -> Result<Self, SetupError> {
        let mut config = Self {
            sources: Vec::new(),
            fallthrough: Fallthrough::default(),
        };
        for line in setup.occurrences()? {
            let zones = setup.zones(&line.args)?.names().to_vec();
            let mut draft = Draft::default();
            for option in line.lines() {
                option.no_block()?;
                match option.name.text.as_str() {
                    "fallthrough" => config.fallthrough = setup.fallthrough(&option.args)?,
                    _ => draft.option(setup, option)?,
                }
            }
            if draft.from.is_empty() {
                return Err(line
                    .name
                    .error("secondary zones require a transfer from property")
                    .help("say where the zone comes from: 'transfer from ADDRESS'")
                    .into());
            }
            let source = Arc::new(draft.finish(zones, &line)?);
            config.sources.push(source);
        }
        Ok(config)
    }
}

impl Draft {
    fn option(&mut self, setup: &Setup<'_>, line: &Line<'_>) -> Result<(), SetupError> {
        match line.name.text.as_str() {
            "transfer" => self.transfer(line)?,
            "catalog" => {
                let more = match line.args.is_empty() {
                    true => Vec::new(),
                    false => setup.zones(&line.args)?.names().to_vec(),
                };
                // Once without a list means all.
                self.catalog = Some(match self.catalog.take() {
                    Some(known) if known.is_empty() || more.is_empty() => Vec::new(),
                    known => [known.unwrap_or_default(), more].concat(),
                });
            }
            "key" => self.key = Some(key(setup, line.one_arg()?)?),
            "source" => {
                let word = line.one_arg()?;
                let ip = word
                    .text
                    .parse()
                    .map_err(|_| word.error(format!("invalid source address \"{}\"", word.text)))?;
                self.source = Some(ip);
            }
            "tls" => {
                let files = line.args_between(0, 3)?.iter();
                self.tls = files.map(|word| setup.path(&word.text)).collect();
            }
            "tls_servername" => self.server_name = Some(line.one_arg()?.text.clone()),
            "store" => self.store = Some(Store::new(setup.path(&line.one_arg()?.text))),
            "max_records" => {
                let bounds = self.bounds.get_or_insert(BOUNDS);
                bounds.records_max = line.one_arg()?.parse("a number of records")?;
            }
            "max_octets" => {
                let bounds = self.bounds.get_or_insert(BOUNDS);
                bounds.octets_max = line.one_arg()?.parse("a number of octets")?;
            }
            _ => return Err(line.unknown_property(PROPERTIES).into()),
        }
        Ok(())
    }

    fn transfer(&mut self, line: &Line<'_>) -> Result<(), SetupError> {
        let [from, addresses @ ..] = line.at_least(1)? else {
            return Err(line.argument_error().into());
        };
        if from.text != "from" {
            let error = from.error(format!("unknown property {}", from.text));
            return Err(error.help("it is: transfer from ADDRESS...").into());
        }
        if addresses.is_empty() {
            return Err(line.argument_error().into());
        }
        for word in addresses {
            if word.text == "*" {
                return Err(word.error("can't use '*' in transfer from").into());
            }
            self.from.push((*word).clone());
        }
        Ok(())
    }

    fn finish(self, zones: Vec<Name>, line: &Line<'_>) -> Result<Source, SetupError> {
        let over_tls = self.from.iter().any(|word| word.text.starts_with("tls://"));
        let config = match over_tls {
            true => Some(
                client_tls::config(&self.tls, DOT)
                    .map_err(|error| SetupError::new(error).at(&line.name.at))?,
            ),
            false => None,
        };
        let mut primaries = Vec::new();
        for word in &self.from {
            let (text, is_tls) = match word.text.strip_prefix("tls://") {
                Some(text) => (text, true),
                None => (
                    word.text.strip_prefix("dns://").unwrap_or(&word.text),
                    false,
                ),
            };
            let (text, own_name) = match text.split_once('%') {
                Some((text, name)) => (text, Some(name.to_owned())),
                None => (text, None),
            };
            let address = socket_address(text, if is_tls { 853 } else { 53 }).ok_or_else(|| {
                word.error(format!("not an IP address: \"{}\"", word.text))
                    .help("a primary is IP, IP:PORT or tls://IP[:PORT][%NAME]")
            })?;
            let tls = match config.as_ref().filter(|_| is_tls) {
                None => None,
                Some(config) => {
                    let name = own_name.or_else(|| self.server_name.clone());
                    let name = name.unwrap_or_else(|| address.ip().to_string());
                    let name = ServerName::try_from(name.clone())
                        .map_err(|_| word.error(format!("'{name}' is not a server name")))?;
                    Some(Tls {
                        config: Arc::clone(config),
                        name,
                    })
                }
            };
            primaries.push(Primary { address, tls });
        }
        Ok(Source {
            zones,
            primaries,
            key: self.key,
            source: self.source,
            catalog: self.catalog.map(Zones::new),
            store: self.store,
            bounds: self.bounds.unwrap_or(BOUNDS),
            under_way: Semaphore::new(UNDER_WAY_MAX),
        })
    }
}

/// A key of the block's *tsig*.
fn key(setup: &Setup<'_>, word: &Token) -> Result<Arc<Key>, SetupError> {
    Keyring::find(setup.parts.offers.all(), &word.text).map_err(|error| {
        let help = error.help().map(str::to_owned);
        word.error(error.to_string()).maybe_help(help).into()
    })
}
