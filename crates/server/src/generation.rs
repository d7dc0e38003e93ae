//! Everything that was made from one Corefile.
use std::collections::HashMap;
use std::net::SocketAddr;
use std::sync::Arc;

use corten_corefile::Transport;
use corten_plugin::{Chain, Context, Peers, Plugin, Running, TlsIdentity};
use corten_wire::{Class, Name, Question, RecordType};

use tokio::sync::oneshot;

use crate::panics::Policy;

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
    zones: HashMap<Box<[u8]>, Served, foldhash::fast::RandomState>,
    /// Most labels of any zone; longer suffixes need no look.
    labels_max: usize,
    /// What answers for names of no zone.
    pub(crate) elsewhere: Option<Arc<Chain>>,
    /// Classes other than IN reach plugins.
    pub(crate) any_class: bool,
    pub(crate) panics: Policy,
    pub(crate) tls: Vec<Arc<dyn TlsIdentity>>,
}

/// What a zone of a listener is served by.
pub(crate) struct Served {
    /// The block's chain; nothing for a block without plugins.
    pub(crate) chain: Option<Arc<Chain>>,
}

impl Table {
    pub(crate) fn new(name: String) -> Self {
        Self {
            name,
            zones: HashMap::default(),
            labels_max: 0,
            elsewhere: None,
            any_class: false,
            panics: Policy::default(),
            tls: Vec::new(),
        }
    }

    pub(crate) fn add(&mut self, zone: &Name, chain: Option<Arc<Chain>>) {
        self.labels_max = self.labels_max.max(zone.label_count());
        self.zones.insert(zone.wire().into(), Served { chain });
    }

    /// The zone that a question belongs to: the longest that its name is in.
    ///
    /// DS of a zone's own name is data of its parent (RFC 4035 section 3.1.4.1): it goes to the
    /// next shorter zone here, unless that is the root, whose block usually forwards (CoreDNS does
    /// the same).
    pub(crate) fn find(&self, question: &Question) -> Option<&Served> {
        let name = &question.name;
        let mut own = None;
        for labels in (0..=self.labels_max.min(name.label_count())).rev() {
            let Some(served) = self.zones.get(name.suffix(labels)) else {
                continue;
            };
            match own {
                None if question.rtype == RecordType::DS
                    && labels > 0
                    && labels == name.label_count() =>
                {
                    own = Some(served)
                }
                Some(own) if labels == 0 => return Some(own),
                _ => return Some(served),
            }
        }
        own
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
            banner: Vec::new(),
            debug: false,
            warnings: Vec::new(),
            alive: None,
        }
    }

    /// Every plugin with its block's services, in the order in which they start.
    pub(crate) fn plugins(
        &self,
    ) -> impl DoubleEndedIterator<Item = (&Arc<dyn Plugin>, Arc<Peers>)> {
        let nobody = Arc::new(Peers::default());
        let own = self.blocks.iter().flat_map(|block| {
            block
                .links
                .iter()
                .map(|link| (link, Arc::clone(&block.peers)))
        });
        own.chain(
            self.everywhere
                .iter()
                .map(move |link| (link, Arc::clone(&nobody))),
        )
    }

    /// The block with these keys.
    pub(crate) fn block(&self, identity: &str) -> Option<&BuiltBlock> {
        self.blocks.iter().find(|block| block.identity == identity)
    }

    /// What a plugin's start may know.
    pub(crate) fn context(
        &self,
        process: &Arc<corten_plugin::Process>,
        peers: Arc<Peers>,
    ) -> Context {
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
            table.add(&zone.parse().unwrap(), Some(Arc::clone(&chain)));
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
            let question = Question {
                name: name.parse().unwrap(),
                rtype,
                class: Class::IN,
            };
            let found = table.find(&question).unwrap().chain.as_ref().unwrap();
            assert!(Arc::ptr_eq(found, &chains[zone]), "{name} {rtype}");
        }
        let empty = Table::new(String::new());
        let question = Question {
            name: Name::root(),
            rtype: RecordType::A,
            class: Class::IN,
        };
        assert!(empty.find(&question).is_none());
    }
}
