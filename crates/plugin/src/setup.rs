//! From a directive in the Corefile to plugins.
use std::any::{Any, TypeId};
use std::collections::HashMap;
use std::fmt;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use corten_corefile::{
    Directive as Lines, Location, Occurrence, ParseError, Token, Transport, parse_zone_or_cidr,
};
use corten_wire::Name;

use crate::{
    Announcement, Fallthrough, ListenerOptions, MetadataCollector, Plugin, Process, Refusals,
    Roster, Running, TlsIdentity, View, Zones,
};

/// One server block: what its keys say.
#[derive(Clone, Debug)]
pub struct Block {
    /// Its zones in file order, none twice.
    pub zones: Vec<Name>,
    /// Transports of its keys, none twice.
    pub transports: Vec<Transport>,
}

/// What directives of a block set for its listeners and for one another.
#[derive(Clone, Default)]
pub struct ServerOptions {
    /// Base of relative paths; empty for the working folder.
    pub root: PathBuf,
    /// Addresses to listen on, ports not counted; nothing for all addresses.
    pub bind: Option<Vec<SocketAddr>>,
    /// Debug lines are logged, and panics of plugins are not caught.
    pub debug: bool,
    /// Panic lines carry a backtrace.
    pub stacktrace: bool,
    /// Queries of classes other than IN reach the plugins of every block on the same listeners.
    pub any_class: bool,
    /// Certificates of the TLS listeners.
    pub tls: Option<Arc<dyn TlsIdentity>>,
    /// Turns metadata on for the block's queries.
    pub metadata: Option<Arc<dyn MetadataCollector>>,
    /// Which queries the block wants; nothing for all.
    pub view: Option<Arc<dyn View>>,
    /// Who is told of queries that no chain answers.
    pub refusals: Option<Arc<dyn Refusals>>,
    /// The block's sockets and connections.
    pub listener: ListenerOptions,
    /// The block's tokens, imports and environment included, in a form that is only good for
    /// comparing: what was kept for another text may be wrong for this one. Set by the server.
    pub fingerprint: Arc<str>,
}

/// What a directive's setup function works with.
///
/// Setup reads tokens and files. It must not bind, spawn or wait: [`Plugin::start`] may.
pub struct Setup<'a> {
    /// The directive's name.
    pub directive: &'static str,
    /// The block it stands in.
    pub block: &'a Block,
    /// Settings shared by the block's directives; those of directives further up in the list are
    /// complete.
    pub options: &'a mut ServerOptions,
    /// What outlives this configuration.
    pub process: &'a Arc<Process>,
    /// For the server: where the parts come from and go to.
    pub parts: Parts<'a>,
}

/// Where a setup's input comes from and its output goes to; made by the server and by tests.
pub struct Parts<'a> {
    /// Every occurrence of the directive in the block.
    pub lines: &'a [Lines],
    /// Plugins of the same block in the running generation.
    pub before: &'a [Arc<dyn Plugin>],
    /// Links for this block's chain.
    pub made: &'a mut Vec<Arc<dyn Plugin>>,
    /// Links for every block's chain.
    pub everywhere: &'a mut Vec<Arc<dyn Plugin>>,
    /// Services of this block.
    pub offers: &'a mut Peers,
}

impl<'a> Setup<'a> {
    /// Every occurrence of the directive in this block, in file order.
    pub fn occurrences(&self) -> Result<Vec<Occurrence<'a>>, SetupError> {
        Ok(self
            .parts
            .lines
            .iter()
            .map(Lines::occurrence)
            .collect::<Result<_, ParseError>>()?)
    }

    /// The occurrence of a directive that may stand in a block only once.
    pub fn only_occurrence(&self) -> Result<Occurrence<'a>, SetupError> {
        match self.parts.lines {
            [only] => Ok(only.occurrence()?),
            [] => Err(SetupError::new("the directive is not there")),
            [_, second, ..] => Err(SetupError::new(
                "this plugin can only be used once per Server Block",
            )
            .at(&second.name.at)),
        }
    }

    /// Adds a link to this block's chain, at the directive's place.
    pub fn push(&mut self, plugin: impl Plugin) {
        self.parts.made.push(Arc::new(plugin));
    }

    /// The same for a plugin that is also offered as a service.
    pub fn push_shared(&mut self, plugin: Arc<dyn Plugin>) {
        self.parts.made.push(plugin);
    }

    /// Adds a link to the chain of **every** block, and to what answers where no block does, at the
    /// directive's place. For answers that the whole process owes, such as ACME challenges. The
    /// same link counts once.
    pub fn push_everywhere(&mut self, plugin: Arc<dyn Plugin>) {
        self.parts.everywhere.push(plugin);
    }

    /// The same directive's plugin in the running generation of this block, to take state over on
    /// reload.
    pub fn predecessor<P: Plugin>(&self) -> Option<&P> {
        self.parts
            .before
            .iter()
            .find_map(|plugin| (&**plugin as &dyn Any).downcast_ref())
    }

    /// Offers a service to the other plugins of the block, by type.
    pub fn provide<S: ?Sized + Send + Sync + 'static>(&mut self, service: Arc<S>) {
        self.parts.offers.add(service);
    }

    /// Wants an HTTP endpoint; the server binds its address and calls it while this generation
    /// serves.
    pub fn announce(&mut self, announcement: Announcement) {
        self.provide(Arc::new(announcement));
    }

    /// A path as written, relative to the block's *root*.
    pub fn path(&self, text: &str) -> PathBuf {
        match self.options.root.as_os_str().is_empty() {
            true => Path::new(text).to_owned(),
            false => self.options.root.join(text),
        }
    }

    /// Zones from arguments; the block's own when there are none. A CIDR stands for its reverse
    /// zones.
    pub fn zones(&self, arguments: &[&Token]) -> Result<Zones, SetupError> {
        if arguments.is_empty() {
            return Ok(Zones::new(self.block.zones.clone()));
        }
        Ok(Zones::new(zone_names(arguments)?))
    }

    /// The option `fallthrough [ZONES…]` from its arguments.
    pub fn fallthrough(&self, arguments: &[&Token]) -> Result<Fallthrough, SetupError> {
        match arguments {
            [] => Ok(Fallthrough::All),
            zones => Ok(Fallthrough::Zones(Zones::new(zone_names(zones)?))),
        }
    }
}

impl fmt::Debug for Setup<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Setup")
            .field("directive", &self.directive)
            .field("block", &self.block)
            .finish_non_exhaustive()
    }
}

fn zone_names(arguments: &[&Token]) -> Result<Vec<Name>, SetupError> {
    let mut names = Vec::new();
    for token in arguments {
        for zone in
            parse_zone_or_cidr(&token.text).map_err(|error| token.error(error.to_string()))?
        {
            names.push(
                zone.parse()
                    .map_err(|error| token.error(format!("zone '{zone}': {error}")))?,
            );
        }
    }
    Ok(names)
}

/// What [`Plugin::start`] may know about the generation it belongs to.
#[derive(Debug)]
pub struct Context {
    /// What outlives every generation.
    pub process: Arc<Process>,
    /// The configuration that the generation was made from.
    pub running: Running,
    /// Services of the plugin's own block.
    pub peers: Arc<Peers>,
    /// Every address that this generation listens on, with the ports as bound.
    pub listeners: Arc<[(Transport, SocketAddr)]>,
    /// Every server block of the generation.
    pub blocks: Arc<[Roster]>,
    /// Which of them the plugin belongs to; nothing for a link of every block.
    pub block: Option<usize>,
}

impl Context {
    /// The plugin's own block.
    pub fn roster(&self) -> Option<&Roster> {
        self.blocks.get(self.block?)
    }
}

/// Services offered inside one server block; complete once every setup has run.
#[derive(Default)]
pub struct Peers {
    offers: HashMap<TypeId, Vec<Box<dyn Any + Send + Sync>>>,
    directives: Vec<&'static str>,
}

impl Peers {
    fn add<S: ?Sized + Send + Sync + 'static>(&mut self, service: Arc<S>) {
        self.offers
            .entry(TypeId::of::<S>())
            .or_default()
            .push(Box::new(service));
    }

    /// For the server: notes that the block has this directive.
    pub fn note(&mut self, directive: &'static str) {
        self.directives.push(directive);
    }

    /// Whether the block has this directive.
    pub fn has(&self, directive: &str) -> bool {
        self.directives.contains(&directive)
    }

    /// Every offer of type `S`, in chain order.
    pub fn all<S: ?Sized + Send + Sync + 'static>(&self) -> impl Iterator<Item = &Arc<S>> {
        self.offers
            .get(&TypeId::of::<S>())
            .into_iter()
            .flatten()
            .filter_map(|offer| offer.downcast_ref())
    }
}

impl fmt::Debug for Peers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "Peers({} of {:?})",
            self.offers.values().map(Vec::len).sum::<usize>(),
            self.directives
        )
    }
}

/// A mistake in the configuration; the server puts `plugin/NAME: ` in front.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum SetupError {
    /// Found while reading tokens.
    #[error(transparent)]
    Parse(#[from] ParseError),
    /// Found in a value or a file.
    #[error("{}{what}", place(at))]
    Value {
        /// What is wrong and what would be right, lower case, without a final full stop.
        what: String,
        /// Where, if one place is to blame.
        at: Option<Box<Location>>,
    },
}

impl SetupError {
    /// A mistake without a place.
    pub fn new(what: impl Into<String>) -> Self {
        Self::Value {
            what: what.into(),
            at: None,
        }
    }

    /// The same mistake with its place.
    pub fn at(self, location: &Location) -> Self {
        match self {
            Self::Value { what, .. } => Self::Value {
                what,
                at: Some(Box::new(location.clone())),
            },
            parse => parse,
        }
    }
}

fn place(at: &Option<Box<Location>>) -> String {
    at.as_ref()
        .map(|at| format!("{}:{} - ", at.file, at.line))
        .unwrap_or_default()
}
