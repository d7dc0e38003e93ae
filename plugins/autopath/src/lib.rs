//! *autopath*: completes names along the client's search path, so that the client need not ask for each.
//!
//! | module | what it is |
//! |---|---|
//! | `resolv_conf` | the search path of a file |
//! | here | the directive, and the walk along a search path |
//!
//! The first try is the query itself. Each further one is a round of [`Flow::Again`], so that tries
//! that are answered from memory cost no task.
mod resolv_conf;

use std::mem;
use std::sync::{Arc, OnceLock};

use corten_plugin::metrics::{Counter, registry};
use corten_plugin::wire::{Name, Question, Rcode, Reply};
use corten_plugin::{
    BoxError, BySite, Chain, Context, Directive, Exchange, Flow, Plugin, SearchPath, Setup,
    SetupError, Zones, async_trait,
};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "autopath",
    setup,
    readme: include_str!("../README.md"),
};

struct Autopath {
    zones: Zones,
    source: Source,
    successes: BySite<Counter>,
}

/// Where search paths come from.
enum Source {
    /// The same for all clients.
    File(Arc<[Name]>),
    /// A plugin of the block that knows the client.
    Plugin {
        name: String,
        found: OnceLock<Arc<dyn SearchPath>>,
    },
}

/// A walk that is past its first try.
struct Walk {
    path: Arc<[Name]>,
    /// The element that is being tried.
    at: usize,
    /// What the client asked.
    asked: Question,
    /// The answer to it.
    first: Reply,
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let lines = setup.occurrences()?;
    let [unused @ .., line] = &lines[..] else {
        return Ok(());
    };
    for line in unused {
        let at = &line.name.at;
        tracing::warn!(
            target: "plugin/autopath",
            "{}:{} - the last autopath of a server block counts; this one is ignored",
            at.file,
            at.line
        );
    }
    line.no_block()?;
    let Some((from, zones)) = line.args.split_last() else {
        return Err(line.name.error("no resolv-conf specified").into());
    };
    let source = match from.text.strip_prefix('@') {
        Some(name) => Source::Plugin {
            name: name.to_owned(),
            found: OnceLock::new(),
        },
        None => {
            let path = resolv_conf::read(&from.text)
                .map_err(|error| from.error(format!("failed to parse {:?}: {error}", from.text)))?;
            if path.len() > usize::from(Chain::ROUNDS_MAX) + 1 {
                let most = Chain::ROUNDS_MAX;
                tracing::warn!(
                    target: "plugin/autopath",
                    "{}: {} search domains; names are completed with the first {most}",
                    from.text,
                    path.len() - 1
                );
            }
            Source::File(path)
        }
    };
    let zones = setup.zones(zones)?;
    setup.push(Autopath {
        zones,
        source,
        successes: BySite::new(|site| {
            registry().counter(
                "coredns_autopath_success_total",
                "Counter of requests that did autopath.",
                &[("server", site.server())],
            )
        }),
    });
    Ok(())
}

impl Autopath {
    fn path(&self, ex: &Exchange) -> Option<Arc<[Name]>> {
        match &self.source {
            Source::File(path) => Some(Arc::clone(path)),
            Source::Plugin { found, .. } => found.get()?.search(ex),
        }
    }

    /// Whether the name is below the first element, and in the zones.
    fn completes(&self, ex: &Exchange) -> bool {
        let name = &ex.query.question.name;
        let below = |path: &[Name]| {
            // The first element itself is nothing that a search path made; the root is below none.
            path.first().is_some_and(|first| {
                !first.is_root() && name.label_count() > first.label_count() && name.is_in(first)
            })
        };
        self.zones.matches(name).is_some()
            && match &self.source {
                Source::File(path) => below(path),
                Source::Plugin { .. } => self.path(ex).is_some_and(|path| below(&path)),
            }
    }

    /// A walk whose first try, the query itself, has been answered.
    fn begin(&self, ex: &mut Exchange) -> Option<Walk> {
        Some(Walk {
            path: self.path(ex)?,
            at: 0,
            asked: ex.query.question.clone(),
            first: mem::take(&mut ex.reply),
        })
    }
}

impl Walk {
    /// Asks for the next name, if there is one.
    fn step(&mut self, ex: &mut Exchange) -> bool {
        let own = self.path.first().map_or(0, Name::label_count);
        let length = self.asked.name.wire().len() - self.asked.name.suffix(own).len();
        while ex.may_ask_again()
            && let Some(element) = self.path.get(self.at + 1)
        {
            self.at += 1;
            let mut name = self.asked.name.wire()[..length].to_vec();
            name.extend_from_slice(element.wire());
            // A name that would be too long is none.
            if let Ok(name) = Name::from_wire(&name) {
                ex.query.question.name = name;
                return true;
            }
        }
        false
    }
}

/// What an answer means for the walk.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Verdict {
    /// The client's answer.
    Found,
    /// There is no such name.
    Missing,
    /// Something failed, or nothing is to be sent: the walk is over.
    Over,
}

fn verdict(ex: &Exchange) -> Verdict {
    if ex.is_dropped() || ex.failure().is_some() {
        return Verdict::Over;
    }
    match ex.reply.rcode {
        Rcode::NXDOMAIN => Verdict::Missing,
        // A plugin here that knows no such name and has no SOA to say so, such as *hosts*; in CoreDNS
        // such a reply is not written. An upstream's SERVFAIL has RA.
        Rcode::SERVFAIL if !ex.reply.recursion_available && ex.reply.records().is_empty() => {
            Verdict::Missing
        }
        _ => Verdict::Found,
    }
}

#[async_trait]
impl Plugin for Autopath {
    fn name(&self) -> &'static str {
        "autopath"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        match self.completes(ex) {
            true => Flow::Watch,
            false => Flow::Pass,
        }
    }

    fn on_response(&self, ex: &mut Exchange) -> Flow {
        let walk = ex.kept::<Walk>();
        let verdict = verdict(ex);
        if verdict == Verdict::Found {
            self.successes.at(ex.site).increment();
        }
        let walk = match (walk, verdict) {
            (None, Verdict::Missing) => self.begin(ex),
            (None, _) => None,
            (Some(walk), Verdict::Missing) => Some(walk),
            (Some(walk), _) => {
                ex.query.question = walk.asked;
                ex.reply.requestion(&ex.query);
                return Flow::Respond;
            }
        };
        let Some(mut walk) = walk else {
            return Flow::Respond;
        };
        if walk.step(ex) {
            ex.keep(walk);
            return Flow::Again;
        }
        // The client goes on by itself.
        ex.query.question = walk.asked;
        ex.reply = walk.first;
        Flow::Respond
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let Source::Plugin { name, found } = &self.source else {
            return Ok(());
        };
        let mut offers = context.peers.all::<dyn SearchPath>();
        match offers.find(|offer| offer.plugin() == name) {
            Some(offer) => {
                // A generation starts once.
                let _ = found.set(Arc::clone(offer));
            }
            None if context.peers.has(name) => {
                let text = format!(
                    "{name} does not implement the AutoPather interface: it knows no search path"
                );
                return Err(text.into());
            }
            None => tracing::warn!(
                target: "plugin/autopath",
                "The server block has no plugin '{name}'; names are not completed"
            ),
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
