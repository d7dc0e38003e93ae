//! *geoip*: looks up where the client is.
//!
//! | module | what it is |
//! |---|---|
//! | `database` | the file, and what its records have |
//! | here | the directive, and which address is looked up |
mod database;

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;

use corten_plugin::{Directive, Exchange, MetadataProvider, Setup, SetupError};

use database::Database;

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "geoip",
    setup,
    readme: include_str!("../README.md"),
};

struct GeoIp {
    database: Arc<Database>,
    client: Client,
}

/// Whose place is looked up.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Client {
    /// Who sent the query.
    Sender,
    /// Whoever the query's client subnet names (RFC 7871), else who sent it.
    Subnet,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let lines = setup.occurrences()?;
    if let [_, second, ..] = &lines[..] {
        let error = second
            .name
            .error("configuring multiple databases is not supported");
        return Err(error.into());
    }
    let line = setup.only_occurrence()?;
    let [file] = line.args[..] else {
        return Err(line.argument_error().into());
    };
    let mut client = Client::Sender;
    for option in line.lines() {
        if option.name.text != "edns-subnet" {
            return Err(option.unknown_property(&["edns-subnet"]).into());
        }
        option.no_args()?;
        client = Client::Subnet;
    }
    // As CoreDNS, which does not look in the folder of `root` here.
    let database = Database::shared(setup.process, Path::new(&file.text))
        .map_err(|error| file.error(error.to_string()))?;
    if setup.options.metadata.is_none() {
        let at = &line.name.at;
        tracing::warn!(
            target: "plugin/geoip",
            "{}:{} - without 'metadata' in the server block nobody can read what geoip knows",
            at.file,
            at.line
        );
    }
    let provider: Arc<dyn MetadataProvider> = Arc::new(GeoIp { database, client });
    setup.provide(provider);
    Ok(())
}

impl MetadataProvider for GeoIp {
    fn value(&self, ex: &Exchange, label: &str) -> Option<String> {
        let label = label.strip_prefix("geoip/")?;
        self.database.value(self.client.address(ex), label)
    }
}

impl Client {
    fn address(self, ex: &Exchange) -> IpAddr {
        let subnet = match self {
            Self::Sender => None,
            Self::Subnet => ex.query.edns_option(8).and_then(subnet),
        };
        subnet.unwrap_or_else(|| ex.client.ip()).to_canonical()
    }
}

/// The address of a client subnet option: family, two prefix lengths, and as many octets as the
/// prefix needs (RFC 7871 section 6).
fn subnet(option: &[u8]) -> Option<IpAddr> {
    let (&[high, low, _, _], address) = option.split_first_chunk::<4>()?;
    let mut octets = [0; 16];
    octets.get_mut(..address.len())?.copy_from_slice(address);
    match u16::from_be_bytes([high, low]) {
        1 if address.len() <= 4 => {
            let [a, b, c, d, ..] = octets;
            Some(Ipv4Addr::new(a, b, c, d).into())
        }
        2 => Some(Ipv6Addr::from(octets).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests;
