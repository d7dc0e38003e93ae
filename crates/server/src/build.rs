//! A Corefile becomes a generation: set-up, checks between blocks, chains, tables.
use std::collections::{HashMap, HashSet};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::sync::Arc;

use corten_corefile::{Corefile, Key, ServerBlock, Transport, follows_preferred_syntax};
use corten_plugin::{
    Block, Chain, Directive, Interest, Parts, Peers, Plugin, Process, Roster, Running,
    ServerOptions, Setup, Site,
};
use corten_wire::Name;

use crate::generation::{BuiltBlock, Generation, Listener, Served, Table};
use crate::http;
use crate::listen::has_ipv6;
use crate::panics::Policy;
use crate::tuning::Tuning;

/// A configuration that cannot be served; the text is complete.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{0}")]
pub(crate) struct BuildError(pub(crate) String);

/// What is being made of one server block.
struct Draft<'c> {
    source: &'c ServerBlock,
    zones: Vec<Name>,
    block: Block,
    identity: String,
    options: ServerOptions,
    /// Links with their directive's place in the list.
    links: Vec<(usize, Arc<dyn Plugin>)>,
    offers: Peers,
}

/// Builds everything that needs no socket. Nothing of the running generation is touched.
pub(crate) fn build(
    corefile: &Corefile,
    directives: &[&'static Directive],
    dns_port: u16,
    process: &Arc<Process>,
    before: Option<&Generation>,
) -> Result<Generation, BuildError> {
    let mut drafts = corefile
        .blocks
        .iter()
        .map(draft)
        .collect::<Result<Vec<_>, _>>()?;
    let mut everywhere = Vec::new();
    // Directive by directive, and block by block inside that, as CoreDNS does it: `root` is set
    // everywhere before anything reads a file.
    for (place, directive) in directives.iter().enumerate() {
        for draft in &mut drafts {
            set_up(draft, place, directive, process, before, &mut everywhere)?;
        }
    }
    let fingerprint = corefile.fingerprint_input().into();
    let mut generation = Generation {
        running: Running { fingerprint },
        everywhere: everywhere
            .iter()
            .map(|(_, link)| Arc::clone(link))
            .collect(),
        debug: drafts.iter().any(|draft| draft.options.debug),
        warnings: corefile.warnings.clone(),
        ..Generation::nothing()
    };
    let mut tables = Tables {
        made: HashMap::new(),
        places: HashMap::new(),
        shown: HashSet::new(),
        dns_port,
    };
    let mut rosters = Vec::new();
    for draft in &drafts {
        let chain = chain(draft, &everywhere)?;
        let mut roster = roster(draft, chain.as_deref());
        for (key, zone) in draft.source.keys.iter().zip(&draft.zones) {
            let sites = tables.add(draft, key, zone, chain.as_ref(), &mut generation)?;
            let served = sites.into_iter().map(|site| (site, zone.clone()));
            roster.served.extend(served);
        }
        rosters.push(roster);
    }
    generation.rosters = rosters.into();
    generation.hosts = http::hosts(drafts.iter().map(|draft| &draft.offers)).map_err(BuildError)?;
    let refusals = drafts
        .iter()
        .find_map(|draft| draft.options.refusals.as_ref());
    let elsewhere = match everywhere.is_empty() {
        true => None,
        false => Chain::new(everywhere.into_iter().map(|(_, link)| link).collect()).ok(),
    };
    for (listener, mut table) in tables.made {
        table.elsewhere.clone_from(&elsewhere);
        table.refusals = refusals.cloned();
        table.check_identities(listener).map_err(BuildError)?;
        generation.tables.insert(listener, Arc::new(table));
    }
    generation.banner.sort();
    generation.blocks = drafts
        .into_iter()
        .map(|draft| BuiltBlock {
            identity: draft.identity,
            links: draft.links.into_iter().map(|(_, link)| link).collect(),
            peers: Arc::new(draft.offers),
        })
        .collect();
    Ok(generation)
}

/// What others may know of a block.
fn roster(draft: &Draft<'_>, chain: Option<&Chain>) -> Roster {
    let links = chain.map(Chain::links).unwrap_or_default();
    Roster {
        plugins: draft
            .links
            .iter()
            .map(|(_, link)| Arc::downgrade(link))
            .collect(),
        links: links.iter().map(|link| link.name()).collect(),
        served: Vec::new(),
    }
}

fn draft(source: &ServerBlock) -> Result<Draft<'_>, BuildError> {
    let mut zones = Vec::new();
    let mut block = Block {
        zones: Vec::new(),
        transports: Vec::new(),
    };
    let mut identity = String::new();
    for key in &source.keys {
        let zone: Name = key
            .zone
            .parse()
            .map_err(|error| at(key, &format!("zone '{}': {error}", key.zone)))?;
        if !block.zones.contains(&zone) {
            block.zones.push(zone.clone());
        }
        if !block.transports.contains(&key.transport) {
            block.transports.push(key.transport);
        }
        identity.push_str(&format!(
            "{}://{}:{:?} ",
            key.transport.scheme(),
            key.zone,
            key.port
        ));
        zones.push(zone);
    }
    let options = ServerOptions {
        fingerprint: fingerprint(source).into(),
        ..ServerOptions::default()
    };
    let (links, offers) = (Vec::new(), Peers::default());
    Ok(Draft {
        source,
        zones,
        block,
        identity,
        options,
        links,
        offers,
    })
}

/// The words of a block; where they stand does not count.
fn fingerprint(source: &ServerBlock) -> String {
    let directives = source.directives.iter();
    let tokens = directives.flat_map(|line| std::iter::once(&line.name).chain(&line.tokens));
    let keys = source.keys.iter().map(|key| &key.token);
    keys.chain(tokens)
        .map(|token| {
            format!(
                "{}{:?} ",
                if token.line_start { "\n" } else { "" },
                token.text
            )
        })
        .collect()
}

/// Calls a directive's set-up for a block that has it.
fn set_up(
    draft: &mut Draft<'_>,
    place: usize,
    directive: &'static Directive,
    process: &Arc<Process>,
    before: Option<&Generation>,
    everywhere: &mut Vec<(usize, Arc<dyn Plugin>)>,
) -> Result<(), BuildError> {
    let lines: Vec<_> = draft
        .source
        .directives
        .iter()
        .filter(|line| line.name.text == directive.name)
        .cloned()
        .collect();
    if lines.is_empty() {
        return Ok(());
    }
    let before = before
        .and_then(|before| before.block(&draft.identity))
        .map_or(&[][..], |block| &block.links);
    let (mut made, mut shared) = (Vec::new(), Vec::new());
    let mut setup = Setup {
        directive: directive.name,
        block: &draft.block,
        options: &mut draft.options,
        process,
        parts: Parts {
            lines: &lines,
            before,
            made: &mut made,
            everywhere: &mut shared,
            offers: &mut draft.offers,
        },
    };
    (directive.setup)(&mut setup)
        .map_err(|error| BuildError(format!("plugin/{}: {error}", directive.name)))?;
    draft.offers.note(directive.name);
    draft
        .links
        .extend(made.into_iter().map(|link| (place, link)));
    for link in shared {
        // A link for the whole process is pushed by every block that needs it.
        if !everywhere
            .iter()
            .any(|(_, other)| Arc::ptr_eq(other, &link))
        {
            everywhere.push((place, link));
        }
    }
    Ok(())
}

/// A block's chain: its own links and those of every block, in list order. Nothing for a block
/// without links.
fn chain(
    draft: &Draft<'_>,
    everywhere: &[(usize, Arc<dyn Plugin>)],
) -> Result<Option<Arc<Chain>>, BuildError> {
    let all = draft
        .links
        .iter()
        .chain(everywhere)
        .filter(|(_, link)| link.interest() != Interest::Nothing);
    let mut links: Vec<_> = all
        .map(|(place, link)| (*place, Arc::clone(link)))
        .collect();
    if links.is_empty() {
        return Ok(None);
    }
    links.sort_by_key(|(place, _)| *place);
    Chain::new(links.into_iter().map(|(_, link)| link).collect())
        .map(Some)
        .map_err(|error| {
            let at = &draft.source.at;
            BuildError(format!("{}:{} - {error}", at.file, at.line))
        })
}

/// Where a zone was defined: the address it is bound to, if any, and the place in the Corefile.
type Defined = (Option<IpAddr>, String);

struct Tables {
    made: HashMap<Listener, Table>,
    /// Every definition by transport, zone and port.
    places: HashMap<(Transport, String, u16), Vec<Defined>>,
    /// Lines of the banner that are there already.
    shown: HashSet<String>,
    dns_port: u16,
}

impl Tables {
    /// Adds a key of a block to the tables of every address that the block listens on; returns what
    /// metrics call them.
    fn add(
        &mut self,
        draft: &Draft<'_>,
        key: &Key,
        zone: &Name,
        chain: Option<&Arc<Chain>>,
        generation: &mut Generation,
    ) -> Result<Vec<Site>, BuildError> {
        if must_encrypt(key.transport) && draft.options.tls.is_none() {
            let text = format!(
                "'{}' serves TLS, but its block has no 'tls' directive; \
                a TLS or QUIC port never speaks in the clear: add 'tls CERT KEY', 'tls acme {{ … }}' or 'tls internal'",
                key.token.text
            );
            return Err(at(key, &text));
        }
        if matches!(key.transport, Transport::Https | Transport::Grpc)
            && draft.options.tls.is_none()
        {
            let warning = format!(
                "'{}' is served in the clear: its block has no 'tls' directive",
                key.token.text
            );
            if !generation.warnings.contains(&warning) {
                generation.warnings.push(warning);
            }
        }
        let place = draft.block.zones.iter().position(|other| other == zone);
        let place = place.unwrap_or(0) as u16;
        let port = key.port.unwrap_or_else(|| match key.transport {
            Transport::Dns => self.dns_port,
            other => other.default_port(),
        });
        self.check(draft, key, port)?;
        let name = zone.to_string();
        if !follows_preferred_syntax(&name) {
            let warning = format!("Domain \"{name}\" does not follow RFC1035 preferred syntax");
            if !generation.warnings.contains(&warning) {
                generation.warnings.push(warning);
            }
        }
        let scheme = match key.transport {
            Transport::Dns => String::new(),
            other => format!("{}://", other.scheme()),
        };
        let mut sites = Vec::new();
        for address in addresses(&draft.options, port) {
            let shown = if draft.options.bind.is_some() {
                format!(" on {}", address.ip())
            } else {
                String::new()
            };
            let line = format!("{scheme}{name}:{port}{shown}");
            let listener = Listener {
                transport: key.transport,
                address,
            };
            let table = self.made.entry(listener).or_insert_with(|| {
                let shown = match draft.options.bind {
                    Some(_) => address.to_string(),
                    None => format!(":{port}"),
                };
                let mut table = Table::new(format!("{}://{shown}", key.transport.scheme()));
                table.tuning = Tuning::first(&draft.options.listener);
                table
            });
            if self.shown.insert(line.clone()) {
                // CoreDNS shows a line for each socket that was asked for.
                let times = table.tuning.sockets.unwrap_or(1);
                generation.banner.extend(std::iter::repeat_n(line, times));
            }
            table
                .tuning
                .add(&draft.options.listener)
                .map_err(|text| at(key, text))?;
            let view = &draft.options.view;
            let site = Site::new(&table.name, view.as_ref().map_or("", |view| view.name()));
            sites.push(site);
            let served = Served {
                chain: chain.cloned(),
                site,
                zone: place,
                metadata: draft.options.metadata.clone(),
                view: view.clone(),
            };
            table.add(zone, served);
            table.any_class |= draft.options.any_class;
            table.panics = Policy {
                fatal: table.panics.fatal | draft.options.debug,
                stacktrace: table.panics.stacktrace | draft.options.stacktrace,
            };
            if let Some(tls) = draft
                .options
                .tls
                .as_ref()
                .filter(|_| key.transport != Transport::Dns)
                && !table.tls.iter().any(|other| Arc::ptr_eq(other, tls))
            {
                table.tls.push(Arc::clone(tls));
            }
        }
        Ok(sites)
    }

    /// The same zone twice on one address and port is a mistake, and so is one that is bound beside
    /// one that is not. A block with a view may stand beside others.
    fn check(&mut self, draft: &Draft<'_>, key: &Key, port: u16) -> Result<(), BuildError> {
        let named = format!("{}://{}:{port}", key.transport.scheme(), key.zone);
        let here = format!("{}:{}", key.token.at.file, key.token.at.line);
        let places = self
            .places
            .entry((key.transport, key.zone.clone(), port))
            .or_default();
        let bound: Vec<Option<IpAddr>> = match &draft.options.bind {
            None => vec![None],
            Some(bind) => bind.iter().map(|address| Some(address.ip())).collect(),
        };
        let has_view = draft.options.view.is_some();
        for (other, place) in places.iter() {
            for ip in &bound {
                let on = |ip: &Option<IpAddr>| ip.map(|ip| format!(" on {ip}")).unwrap_or_default();
                if ip == other && has_view {
                    continue;
                }
                if ip == other {
                    return Err(BuildError(format!(
                        "{here} - cannot serve {named}{} - it is already defined at {place}",
                        on(ip)
                    )));
                }
                if ip.is_none() || other.is_none() {
                    let (own, other) = (on(ip), on(other));
                    let text = format!(
                        "cannot serve {named}{own} - zone overlap listener capacity with {named}{other}, defined at {place}"
                    );
                    return Err(BuildError(format!("{here} - {text}")));
                }
            }
        }
        if !has_view {
            places.extend(bound.into_iter().map(|ip| (ip, here.clone())));
        }
        Ok(())
    }
}

/// Whether a transport always needs certificates.
const fn must_encrypt(transport: Transport) -> bool {
    matches!(
        transport,
        Transport::Tls | Transport::Quic | Transport::Https3
    )
}

/// The addresses of a block: those of *bind*, else every one of the machine.
fn addresses(options: &ServerOptions, port: u16) -> Vec<SocketAddr> {
    match &options.bind {
        Some(bind) => bind
            .iter()
            .map(|address| {
                let mut address = *address;
                address.set_port(port);
                address
            })
            .collect(),
        None => {
            let mut all = vec![SocketAddr::from((Ipv4Addr::UNSPECIFIED, port))];
            if has_ipv6() {
                all.push(SocketAddr::from((Ipv6Addr::UNSPECIFIED, port)));
            }
            all
        }
    }
}

fn at(key: &Key, text: &str) -> BuildError {
    BuildError(format!(
        "{}:{} - {text}",
        key.token.at.file, key.token.at.line
    ))
}
