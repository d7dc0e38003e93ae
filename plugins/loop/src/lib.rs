//! *loop*: finds forwarding loops.
//!
//! A query for a random name is sent to the server's own address. When it comes back more than
//! twice the server forwards to itself, directly or through others. The name has 128 random bits:
//! nobody can pretend a loop who has not been asked. A loop never ends the process; queries that
//! come round it are refused until it is gone.
mod probe;

use std::net::IpAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering::Relaxed};

use arc_swap::ArcSwapOption;
use corten_plugin::corefile::Transport;
use corten_plugin::wire::{Name, Rcode, RecordType};
use corten_plugin::{
    BoxError, Context, Directive, Exchange, Flow, Plugin, Setup, SetupError, Stop, Tasks,
    async_trait,
};

/// The directive.
pub static PLUGIN: Directive = Directive {
    name: "loop",
    setup,
    readme: include_str!("../README.md"),
};

/// How often a probe may come by (CoreDNS's number): once from us, and once more from a client or a
/// resolver that tries again.
const PASSES_MAX: u32 = 2;

/// INFO-CODE 0, "Other" (RFC 8914 section 4.1).
const OTHER: u16 = 0;

struct Loop {
    state: Arc<State>,
    tasks: Tasks,
}

/// What the link shares with the task that probes.
pub(crate) struct State {
    /// The block's first zone.
    pub(crate) zone: Name,
    /// Where the block listens; empty for everywhere.
    pub(crate) bind: Vec<IpAddr>,
    /// Whether there is anything to look at.
    active: AtomicBool,
    probe: ArcSwapOption<Probe>,
    /// Whose queries come round a loop.
    cut: ArcSwapOption<IpAddr>,
}

/// A probe under way.
pub(crate) struct Probe {
    pub(crate) name: Name,
    passes: AtomicU32,
}

impl Probe {
    pub(crate) fn new(name: Name) -> Self {
        Self {
            name,
            passes: AtomicU32::new(0),
        }
    }

    /// How often it has come by.
    pub(crate) fn passes(&self) -> u32 {
        self.passes.load(Relaxed)
    }

    /// Whether that is a loop.
    pub(crate) fn loops(&self) -> bool {
        self.passes() > PASSES_MAX
    }
}

fn setup(setup: &mut Setup<'_>) -> Result<(), SetupError> {
    let line = setup.only_occurrence()?;
    line.no_args()?;
    line.no_block()?;
    let Some(zone) = setup.block.zones.first().cloned() else {
        return Err(line.name.error("the server block has no zone").into());
    };
    let bind = setup.options.bind.iter().flatten();
    setup.push(Loop {
        state: Arc::new(State {
            zone,
            bind: bind.map(|address| address.ip()).collect(),
            active: AtomicBool::new(false),
            probe: ArcSwapOption::empty(),
            cut: ArcSwapOption::empty(),
        }),
        tasks: Tasks::default(),
    });
    Ok(())
}

impl State {
    /// Begins to look out for a probe; nothing ends it.
    pub(crate) fn expect(&self, probe: Option<Arc<Probe>>) {
        self.probe.store(probe);
        let active = self.probe.load().is_some() || self.cut.load().is_some();
        self.active.store(active, Relaxed);
    }

    /// Refuses queries of this client, or of nobody; returns whom it refused before.
    pub(crate) fn refuse(&self, client: Option<IpAddr>) -> Option<IpAddr> {
        self.cut.swap(client.map(Arc::new)).map(|before| *before)
    }

    /// Notes that a probe has come by; refuses it when it has gone round.
    fn pass(&self, ex: &mut Exchange, probe: &Probe) -> Flow {
        let passes = probe.passes.fetch_add(1, Relaxed) + 1;
        if passes <= PASSES_MAX {
            return Flow::Pass;
        }
        let client = ex.client.ip();
        if passes == PASSES_MAX + 1 && self.refuse(Some(client)) != Some(client) {
            tracing::error!(
                target: "plugin/loop",
                "Loop ({} -> {}) detected for zone \"{}\", see https://coredns.io/plugins/loop#troubleshooting. \
                Query: \"HINFO {}\". Queries from {client} are answered SERVFAIL until the loop is gone",
                ex.client, ex.local, self.zone, probe.name
            );
        }
        refusal(ex)
    }
}

fn refusal(ex: &mut Exchange) -> Flow {
    let flow = ex.fail(
        Rcode::SERVFAIL,
        format!("plugin/loop: forwarding loop through {}", ex.client.ip()),
    );
    ex.explain(OTHER, "forwarding loop");
    flow
}

#[async_trait]
impl Plugin for Loop {
    fn name(&self) -> &'static str {
        "loop"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        let state = &self.state;
        if !state.active.load(Relaxed) {
            return Flow::Pass;
        }
        let question = &ex.query.question;
        if let Some(probe) = &*state.probe.load()
            && question.rtype == RecordType::HINFO
            && question.name == probe.name
        {
            return state.pass(ex, probe);
        }
        match &*state.cut.load() {
            Some(client) if **client == ex.client.ip() => refusal(ex),
            _ => Flow::Pass,
        }
    }

    async fn start(&self, context: &Context) -> Result<(), BoxError> {
        let listeners = context.listeners.iter();
        let own = listeners
            .filter(|(transport, _)| *transport == Transport::Dns)
            .map(|(_, address)| *address)
            .collect();
        self.tasks.spawn(probe::run(Arc::clone(&self.state), own));
        Ok(())
    }

    async fn stop(&self, _: Stop) {
        self.tasks.stop();
    }
}

#[cfg(test)]
mod tests {
    use corten_plugin::Chain;
    use corten_plugin::wire::{Class, Query, Question};

    use super::*;

    /// Asks a chain of the plugin alone; SERVFAIL with this error when nobody answers.
    fn ask(chain: &Arc<Chain>, name: &Name, client: &str) -> String {
        let question = Question {
            name: name.clone(),
            rtype: RecordType::HINFO,
            class: Class::IN,
        };
        let mut ex = Exchange::new();
        let _ = ex.query.read(Query::ask(1, &question).octets());
        ex.client = client.parse().unwrap();
        let _ = chain.run(&mut ex);
        ex.failure().unwrap().to_string()
    }

    #[test]
    fn only_the_probe_counts_and_a_loop_cuts_its_source_off() {
        let state = Arc::new(State {
            zone: Name::root(),
            bind: Vec::new(),
            active: AtomicBool::new(false),
            probe: ArcSwapOption::empty(),
            cut: ArcSwapOption::empty(),
        });
        let link = Loop {
            state: Arc::clone(&state),
            tasks: Tasks::default(),
        };
        let chain = Chain::new(vec![Arc::new(link)]).unwrap();
        let name: Name = "1.2".parse().unwrap();
        let other: Name = "2.1".parse().unwrap();
        let (passed, refused) = (
            "plugin/loop: no next plugin found",
            "plugin/loop: forwarding loop through 192.0.2.1",
        );
        state.expect(Some(Arc::new(Probe::new(name.clone()))));
        for _ in 0..10 {
            assert_eq!(ask(&chain, &other, "192.0.2.1:53"), passed);
        }
        for expected in [passed, passed, refused, refused] {
            assert_eq!(ask(&chain, &name, "192.0.2.1:53"), expected);
        }
        assert_eq!(ask(&chain, &other, "192.0.2.1:54"), refused);
        assert_eq!(ask(&chain, &other, "192.0.2.2:54"), passed);
        assert_eq!(state.refuse(None), Some("192.0.2.1".parse().unwrap()));
        state.expect(None);
        assert_eq!(ask(&chain, &other, "192.0.2.1:54"), passed);
    }
}
