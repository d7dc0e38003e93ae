//! *hosts*: answers from `/etc/hosts`-like data.
//!
//! | module | what it is |
//! |---|---|
//! | `config` | the directive's lines |
//! | [`table`] | the entries: immutable, found without a lock |
//! | here | the decisions, and the task that looks at the file |
mod config;
mod table;

use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::path::Path;
use std::sync::Arc;
use std::time::SystemTime;

use arc_swap::ArcSwap;
use corten_plugin::metrics::{Gauge, registry};
use corten_plugin::wire::{Name, Owner, Rcode, RecordType, Section};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Plugin, Setup, SetupError, Stop, Tasks,
    async_trait,
};

use config::Config;
use table::{Builder, Table};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "hosts",
    setup,
    readme: include_str!("../README.md"),
};

/// Octets of the largest hosts file.
const FILE_OCTETS_MAX: u64 = 1 << 30;

struct Hosts {
    data: Arc<Data>,
    tasks: Tasks,
}

/// What the task that looks at the file shares with the plugin.
struct Data {
    config: Config,
    table: ArcSwap<Table>,
    /// The file as it was when it was first read.
    first: Stamp,
    entries: Gauge,
    reloaded: Gauge,
}

/// What tells a changed file from an unchanged one.
type Stamp = Option<(SystemTime, u64)>;

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let config = Config::read(setup)?;
    let file = config.file.display().to_string();
    let data = Data {
        table: ArcSwap::default(),
        first: stamp(&config.file),
        entries: registry().gauge(
            "coredns_hosts_entries",
            "The combined number of entries in hosts and Corefile.",
            &[("hostsfile", &file)],
        ),
        reloaded: registry().gauge(
            "coredns_hosts_reload_timestamp_seconds",
            "The timestamp of the last reload of hosts file.",
            &[],
        ),
        config,
    };
    match read(&data.config.file) {
        Ok(text) => data.fill(&text),
        Err(error) => {
            if error.kind() != io::ErrorKind::NotFound {
                return Err(SetupError::new(format!("{file}: {error}")));
            }
            if data.config.file_named {
                tracing::warn!(target: "plugin/hosts", "File does not exist: {file}");
            }
            data.fill("");
        }
    }
    setup.push(Hosts {
        data: Arc::new(data),
        tasks: Tasks::default(),
    });
    Ok(())
}

fn read(file: &Path) -> io::Result<String> {
    if fs::metadata(file)?.len() > FILE_OCTETS_MAX {
        return Err(io::Error::new(
            io::ErrorKind::FileTooLarge,
            "the file is too large",
        ));
    }
    // Names that are no UTF-8 are no entries, and the others are served.
    Ok(String::from_utf8_lossy(&fs::read(file)?).into_owned())
}

fn stamp(file: &Path) -> Stamp {
    let meta = fs::metadata(file).ok()?;
    Some((meta.modified().ok()?, meta.len()))
}

impl Data {
    /// Replaces the table by the file's entries and, behind them, the inline ones.
    fn fill(&self, text: &str) {
        let mut builder = Builder::new(&self.config.zones, self.config.reverse);
        builder.add_text(text);
        for (address, names) in &self.config.inline {
            names.iter().for_each(|name| builder.add(*address, name));
        }
        let table = builder.finish();
        self.entries
            .set(i64::try_from(table.entries()).unwrap_or(i64::MAX));
        let now = SystemTime::now()
            .duration_since(SystemTime::UNIX_EPOCH)
            .unwrap_or_default();
        self.reloaded
            .set(i64::try_from(now.as_secs()).unwrap_or(i64::MAX));
        self.table.store(Arc::new(table));
    }

    /// Reads the file again whenever its size or time of change is another. A file that is gone, or
    /// cannot be read, leaves the last entries in place.
    async fn watch(self: Arc<Self>) {
        let (file, mut seen) = (&self.config.file, self.first);
        loop {
            tokio::time::sleep(self.config.reload).await;
            let now = stamp(file);
            if now.is_none() || now == seen {
                continue;
            }
            let data = Arc::clone(&self);
            let read = tokio::task::spawn_blocking(move || {
                read(&data.config.file).map(|text| data.fill(&text))
            })
            .await;
            match read {
                Ok(Ok(())) => seen = now,
                Ok(Err(error)) => {
                    tracing::error!(target: "plugin/hosts", "{}: {error}", file.display())
                }
                // The runtime is about to end.
                Err(_) => return,
            }
        }
    }
}

#[async_trait]
impl Plugin for Hosts {
    fn name(&self) -> &'static str {
        "hosts"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let (name, rtype) = (&ex.query.question.name, ex.query.question.rtype);
        let config = &self.data.config;
        let table = self.data.table.load();
        if rtype == RecordType::PTR {
            // Reverse names need not be in the zones; a miss may be somebody else's.
            let address =
                reverse_address(name).filter(|address| table.names_of(*address).next().is_some());
            if let Some(address) = address {
                return pointers(ex, &table, address, config.ttl);
            }
            return Flow::Pass;
        }
        if config.zones.matches(name).is_none() {
            return Flow::Pass;
        }
        let supported = matches!(rtype, RecordType::A | RecordType::AAAA);
        if !supported && config.fallthrough_unsupported && config.fallthrough.lets_through(name) {
            return Flow::Pass;
        }
        let Some(found) = table.find(name) else {
            if config.fallthrough.lets_through(name) {
                return Flow::Pass;
            }
            // There is no SOA to bound an NXDOMAIN with (RFC 2308 section 5); CoreDNS answers so,
            // too.
            return ex.answer(Rcode::SERVFAIL);
        };
        let reply = ex.start(Rcode::NOERROR);
        reply.authoritative = true;
        match rtype {
            RecordType::A => found.v4.iter().for_each(|v4| {
                reply.push(
                    Section::Answer,
                    Owner::Question,
                    rtype,
                    config.ttl,
                    |rdata| rdata.octets(&v4.octets()),
                );
            }),
            RecordType::AAAA => found.v6.iter().for_each(|v6| {
                reply.push(
                    Section::Answer,
                    Owner::Question,
                    rtype,
                    config.ttl,
                    |rdata| rdata.octets(&v6.octets()),
                );
            }),
            _ => (),
        }
        Flow::Respond
    }

    async fn start(&self, _: &Context) -> Result<(), BoxError> {
        if !self.data.config.reload.is_zero() {
            self.tasks.spawn(Arc::clone(&self.data).watch());
        }
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.tasks.stop();
    }
}

fn pointers(ex: &mut Exchange, table: &Table, address: IpAddr, ttl: u32) -> Flow {
    let reply = ex.start(Rcode::NOERROR);
    reply.authoritative = true;
    for name in table.names_of(address) {
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::PTR,
            ttl,
            |rdata| rdata.octets(name),
        );
    }
    Flow::Respond
}

/// The address that a name under `in-addr.arpa` (RFC 1035 section 3.5) or `ip6.arpa` (RFC 3596
/// section 2.5) stands for.
fn reverse_address(name: &Name) -> Option<IpAddr> {
    match (name.label_count(), name.suffix(2)) {
        (6, b"\x07in-addr\x04arpa\0") => {
            let mut octets = [0; 4];
            for (index, octet) in octets.iter_mut().rev().enumerate() {
                *octet = std::str::from_utf8(name.label(index)?).ok()?.parse().ok()?;
            }
            Some(Ipv4Addr::from(octets).into())
        }
        (34, b"\x03ip6\x04arpa\0") => {
            let mut number = 0u128;
            for index in (0..32).rev() {
                let [digit] = name.label(index)? else {
                    return None;
                };
                number = number << 4 | u128::from(char::from(*digit).to_digit(16)?);
            }
            Some(Ipv6Addr::from(number).to_canonical())
        }
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reverse_names_are_read() {
        let long = "1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa";
        for (name, address) in [
            ("1.2.0.192.in-addr.arpa", Some("192.0.2.1")),
            (long, Some("2001:db8::1")),
            ("2.0.192.in-addr.arpa", None),
            ("256.2.0.192.in-addr.arpa", None),
            ("1.2.0.192.in-addr.example", None),
            (&long.replace("8.b.d", "8.x.d"), None),
        ] {
            let name: Name = name.parse().unwrap();
            assert_eq!(
                reverse_address(&name),
                address.map(|text| text.parse().unwrap()),
                "{name}"
            );
        }
    }
}
