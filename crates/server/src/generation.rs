//! Everything that was made from one Corefile.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::{Arc, OnceLock};

use corten_corefile::Transport;
use corten_plugin::{
    Chain, Context, Exchange, MetadataCollector, Peers, Plugin, Refusals, Roster, Running, Site,
    TlsIdentity, View,
};
use corten_wire::{Class, Name, RecordType, Updates};

use tokio::sync::{Semaphore, oneshot};

use crate::doh::status::{Metric, Tally};
use crate::http::Hosts;
use crate::limits;
use crate::panics::Policy;
use crate::tuning::Tuning;

/// Where a generation listens: one entry per transport, address and port.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(crate) struct Listener {
    pub(crate) transport: Transport,
    pub(crate) address: SocketAddr,
}

/// Everything that was made from one Corefile. Immutable; replaced as a whole.
pub(crate) struct Generation {
    pub(crate) running: Running,
    pub(crate) blocks: Vec<BuiltBlock>,
    /// Links that every block has, after those of the blocks.
    pub(crate) everywhere: Vec<Arc<dyn Plugin>>,
    pub(crate) tables: HashMap<Listener, Arc<Table>>,
    /// What its blocks are to those who report on them, in their order.
    pub(crate) rosters: Arc<[Roster]>,
    /// HTTP endpoints.
    pub(crate) hosts: Hosts,
    /// Lines for the start-up message.
    pub(crate) banner: Vec<String>,
    pub(crate) debug: bool,
    pub(crate) warnings: Vec<String>,
    /// Tells by its end that nobody has this generation any more.
    pub(crate) alive: Option<oneshot::Sender<()>>,
}

/// One server block with its plugins.
pub(crate) struct BuiltBlock {
    /// What its keys are, to find the same block in the next generation.
    pub(crate) identity: String,
    /// Its own links, in list order.
    pub(crate) links: Vec<Arc<dyn Plugin>>,
    pub(crate) peers: Arc<Peers>,
}

/// What one listener serves.
pub(crate) struct Table {
    /// What the listener is called in logs and metrics, such as `dns://:53`.
    pub(crate) name: String,
    /// The same for metrics of queries that no block takes.
    pub(crate) site: Site,
    /// Blocks of each zone, in file order; all but the last have a view.
    zones: HashMap<Box<[u8]>, Vec<Served>, foldhash::fast::RandomState>,
    /// Most labels of any zone; longer suffixes need no look.
    labels_max: usize,
    /// What answers for names of no zone.
    pub(crate) elsewhere: Option<Arc<Chain>>,
    /// Classes other than IN reach plugins.
    pub(crate) any_class: bool,
    /// Whether some block serves dynamic updates.
    pub(crate) updates: Updates,
    pub(crate) panics: Policy,
    pub(crate) tls: Vec<Arc<dyn TlsIdentity>>,
    /// Who is told of queries that no chain answers.
    pub(crate) refusals: Option<Arc<dyn Refusals>>,
    pub(crate) tuning: Tuning,
    /// How many DoQ queries may wait for the network.
    waiting: OnceLock<Semaphore>,
    /// Counts responses of HTTP.
    pub(crate) statuses: Tally,
}

/// What a zone of a listener is served by.
#[derive(Clone)]
pub(crate) struct Served {
    /// The block's chain; nothing for a block without plugins.
    pub(crate) chain: Option<Arc<Chain>>,
    pub(crate) site: Site,
    /// The zone's place among those of the block.
    pub(crate) zone: u16,
    pub(crate) metadata: Option<Arc<dyn MetadataCollector>>,
    pub(crate) view: Option<Arc<dyn View>>,
}

impl Served {
    /// Whether this block takes the query; tells the exchange where it is.
    fn takes(&self, ex: &mut Exchange) -> bool {
        (ex.site, ex.zone) = (self.site, self.zone);
        if let Some(metadata) = &self.metadata {
            metadata.collect(ex);
        }
        self.view.as_ref().is_none_or(|view| view.admits(ex))
    }
}

impl Table {
    /// Whether a chain is the one for names of no zone.
    pub(crate) fn is_elsewhere(&self, chain: &Arc<Chain>) -> bool {
        let elsewhere = self.elsewhere.as_ref();
        elsewhere.is_some_and(|elsewhere| Arc::ptr_eq(elsewhere, chain))
    }

    pub(crate) fn new(name: String) -> Self {
        let site = Site::new(&name, "");
        let metric = match name.starts_with("https3://") {
            true => Metric::Https3,
            false => Metric::Https,
        };
        Self {
            site,
            name,
            zones: HashMap::default(),
            labels_max: 0,
            elsewhere: None,
            any_class: false,
            updates: Updates::NotServed,
            panics: Policy::default(),
            tls: Vec::new(),
            refusals: None,
            tuning: Tuning::default(),
            waiting: OnceLock::new(),
            statuses: Tally::new(site, metric),
        }
    }

    pub(crate) fn add(&mut self, zone: &Name, served: Served) {
        if served
            .chain
            .as_ref()
            .is_some_and(|chain| chain.serves_updates())
        {
            self.updates = Updates::Served;
        }
        self.labels_max = self.labels_max.max(zone.label_count());
        self.zones
            .entry(zone.wire().into())
            .or_default()
            .push(served);
    }

    /// The block that a query belongs to: of the longest zone that its name is in, the first whose
    /// view admits it; when none does, of the next shorter zone.
    ///
    /// DS of a zone's own name is data of its parent (RFC 4035 section 3.1.4.1): it goes to the
    /// next shorter zone here, unless that is the root, whose block usually forwards (CoreDNS does
    /// the same).
    pub(crate) fn find(&self, ex: &mut Exchange) -> Option<&Served> {
        let labels_asked = ex.query.question.name.label_count();
        let for_parent = ex.query.question.rtype == RecordType::DS;
        let mut own = None;
        for labels in (0..=self.labels_max.min(labels_asked)).rev() {
            let Some(blocks) = self.zones.get(ex.query.question.name.suffix(labels)) else {
                continue;
            };
            if own.is_some() && labels == 0 {
                break;
            }
            let Some(served) = blocks.iter().find(|served| served.takes(ex)) else {
                ex.forget_metadata();
                continue;
            };
            if !for_parent || labels == 0 || labels != labels_asked {
                return Some(served);
            }
            own = Some(served);
        }
        // Asked again, because others have been asked since.
        own.filter(|served| served.takes(ex))
    }

    /// Whether it depends on more than the name which block a query for it belongs to.
    pub(crate) fn has_views(&self, name: &Name) -> bool {
        let labels = 0..=self.labels_max.min(name.label_count());
        let blocks = labels.filter_map(|labels| self.zones.get(name.suffix(labels)));
        blocks.flatten().any(|served| served.view.is_some())
    }

    /// Room for DoQ queries that wait for the network.
    pub(crate) fn waiting(&self) -> &Semaphore {
        let most = self.tuning.quic.waiting_max;
        let most = most.unwrap_or(limits::QUIC_WAITING_MAX);
        self.waiting
            .get_or_init(|| Semaphore::new(most.min(Semaphore::MAX_PERMITS)))
    }

    /// Makes the counters of dropped load visible before there is any.
    pub(crate) fn show_counters(&self) {
        if let Some(overload) = &self.tuning.overload {
            overload.queries_dropped(self.site, 0);
            overload.responses_dropped(self.site, 0);
        }
    }

    /// Whether queries of this class reach plugins.
    pub(crate) fn serves(&self, class: Class) -> bool {
        class == Class::IN || self.any_class
    }

    /// The identity for a handshake: the first that is made for the server name, else the first.
    pub(crate) fn identity(&self, server_name: Option<&str>) -> Option<&Arc<dyn TlsIdentity>> {
        server_name
            .and_then(|name| self.tls.iter().find(|identity| identity.covers(name)))
            .or_else(|| self.tls.first())
    }
}

impl Generation {
    /// One that serves nothing: sockets end with it.
    pub(crate) fn nothing() -> Self {
        Self {
            running: Running {
                fingerprint: "".into(),
            },
            blocks: Vec::new(),
            everywhere: Vec::new(),
            tables: HashMap::new(),
            rosters: Arc::default(),
            hosts: Hosts::default(),
            banner: Vec::new(),
            debug: false,
            warnings: Vec::new(),
            alive: None,
        }
    }

    /// Every plugin with its block's place, in the order in which they start.
    pub(crate) fn plugins(&self) -> impl Iterator<Item = (&Arc<dyn Plugin>, Option<usize>)> {
        let blocks = self.blocks.iter().enumerate();
        let own =
            blocks.flat_map(|(at, block)| block.links.iter().map(move |link| (link, Some(at))));
        own.chain(self.everywhere.iter().map(|link| (link, None)))
    }

    /// The block with these keys.
    pub(crate) fn block(&self, identity: &str) -> Option<&BuiltBlock> {
        self.blocks.iter().find(|block| block.identity == identity)
    }

    /// The table of a listener, if this generation has it.
    pub(crate) fn table(&self, listener: &Listener) -> Option<Arc<Table>> {
        self.tables.get(listener).map(Arc::clone)
    }

    /// What a plugin's start may know.
    pub(crate) fn context(
        &self,
        process: &Arc<corten_plugin::Process>,
        block: Option<usize>,
    ) -> Context {
        let peers = block
            .and_then(|at| self.blocks.get(at))
            .map(|block| Arc::clone(&block.peers))
            .unwrap_or_default();
        let mut listeners: Vec<_> = self
            .tables
            .keys()
            .map(|key| (key.transport, key.address))
            .collect();
        listeners.sort();
        Context {
            process: Arc::clone(process),
            running: self.running.clone(),
            peers,
            listeners: listeners.into(),
            blocks: Arc::clone(&self.rosters),
            block,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_longest_zone_is_found_and_ds_goes_to_the_parent() {
        let mut table = Table::new("dns://:53".into());
        let mut chains = HashMap::new();
        for zone in [".", "example", "b.example", "lonely.test", "a.b.example"] {
            let chain = Chain::new(Vec::new()).unwrap();
            let served = Served {
                chain: Some(Arc::clone(&chain)),
                site: Site::new("dns://:53", ""),
                zone: 0,
                metadata: None,
                view: None,
            };
            table.add(&zone.parse().unwrap(), served);
            chains.insert(zone, chain);
        }
        for (name, rtype, zone) in [
            ("www.example", RecordType::A, "example"),
            ("deep.a.b.example", RecordType::A, "a.b.example"),
            ("xb.example", RecordType::A, "example"),
            ("notexample", RecordType::A, "."),
            (".", RecordType::DS, "."),
            ("b.example", RecordType::DS, "example"),
            ("a.b.example", RecordType::DS, "b.example"),
            ("www.b.example", RecordType::DS, "b.example"),
            ("lonely.test", RecordType::DS, "lonely.test"),
            ("example", RecordType::DS, "example"),
        ] {
            let found = table.find(&mut asking(name, rtype)).unwrap();
            let found = found.chain.as_ref().unwrap();
            assert!(Arc::ptr_eq(found, &chains[zone]), "{name} {rtype}");
        }
        let empty = Table::new(String::new());
        assert!(empty.find(&mut asking(".", RecordType::A)).is_none());
    }

    fn asking(name: &str, rtype: RecordType) -> Exchange {
        let mut ex = Exchange::new();
        ex.query.question.name = name.parse().unwrap();
        ex.query.question.rtype = rtype;
        ex
    }

    struct Only(u16);

    impl View for Only {
        fn name(&self) -> &str {
            "only"
        }

        fn admits(&self, ex: &Exchange) -> bool {
            ex.client.port() == self.0
        }
    }

    #[test]
    fn views_are_asked_in_order_and_then_the_parent() {
        let mut table = Table::new("dns://:53".into());
        for (zone, place, port) in [
            ("example", 0, None),
            ("b.example", 1, Some(1)),
            ("b.example", 2, Some(2)),
        ] {
            let served = Served {
                chain: None,
                site: Site::new("dns://:53", ""),
                zone: place,
                metadata: None,
                view: port.map(|port| Arc::new(Only(port)) as _),
            };
            table.add(&zone.parse().unwrap(), served);
        }
        for (port, rtype, place) in [
            (1, RecordType::A, 1),
            (2, RecordType::A, 2),
            (3, RecordType::A, 0),
            (1, RecordType::DS, 0),
        ] {
            let mut ex = asking("b.example", rtype);
            ex.client.set_port(port);
            assert_eq!(table.find(&mut ex).unwrap().zone, place, "{port} {rtype}");
            assert_eq!(ex.zone, place);
        }
    }
}
