//! What tests and benches of the cache share: a chain with a scripted plugin below.
#![allow(dead_code, reason = "each user needs a part")]
#![allow(clippy::unwrap_used, reason = "a test ends at the first surprise")]
use std::sync::Arc;
use std::sync::atomic::AtomicUsize;
use std::sync::atomic::Ordering::Relaxed;

use corten_plugin::corefile::{Corefile, Source, parse};
use corten_plugin::wire::{Gate, Name, Owner, Query, Question, Rcode, RecordType, Reply, Section};
use corten_plugin::{
    Block, Chain, Directive, Exchange, Flow, Next, Parts, Peers, Phase, Plugin, Process, Progress,
    ServerOptions, Setup, SetupError, async_trait,
};

/// Sets the first block's *cache* up; `before` are the links of the running generation.
pub(crate) fn set_up(
    directive: &'static Directive,
    text: &str,
    before: &[Arc<dyn Plugin>],
) -> Result<Vec<Arc<dyn Plugin>>, SetupError> {
    let source = Source {
        name: "Corefile",
        text,
        path: None,
    };
    let corefile: Corefile = parse(&source, &["cache", "other"], &|_| None)?;
    let block = Block {
        zones: corefile.blocks[0]
            .keys
            .iter()
            .map(|key| key.zone.parse().unwrap())
            .collect(),
        transports: Vec::new(),
    };
    let lines: Vec<_> = corefile.blocks[0]
        .directives
        .iter()
        .filter(|line| line.name.text == directive.name)
        .cloned()
        .collect();
    let (mut made, mut everywhere) = (Vec::new(), Vec::new());
    let mut setup = Setup {
        directive: directive.name,
        block: &block,
        options: &mut ServerOptions {
            fingerprint: text.into(),
            ..ServerOptions::default()
        },
        process: &Arc::new(Process::default()),
        parts: Parts {
            lines: &lines,
            before,
            made: &mut made,
            everywhere: &mut everywhere,
            offers: &mut Peers::default(),
        },
    };
    (directive.setup)(&mut setup)?;
    Ok(made)
}

/// A query of class IN with RD; `flags` are among `d` (DO), `c` (CD), `a` (AD), `e` (EDNS), `s` (a
/// client subnet).
pub(crate) fn query(name: &str, rtype: RecordType, flags: &str) -> Vec<u8> {
    let name: Vec<u8> = name
        .split('.')
        .filter(|label| !label.is_empty())
        .flat_map(|label| [&[label.len() as u8], label.as_bytes()].concat())
        .chain([0])
        .collect();
    let has = |flag| flags.contains(flag);
    let edns = has('d') || has('e') || has('s');
    let header = if has('a') { 0x20 } else { 0 } | if has('c') { 0x10 } else { 0 };
    let mut octets = vec![0x12, 0x34, 1, header, 0, 1, 0, 0, 0, 0, 0, u8::from(edns)];
    octets.extend(name);
    octets.extend(rtype.0.to_be_bytes());
    octets.extend([0, 1]);
    if edns {
        let subnet: &[u8] = match has('s') {
            true => &[0, 8, 0, 7, 0, 1, 24, 0, 192, 0, 2],
            false => &[],
        };
        let dnssec = if has('d') { 0x80 } else { 0 };
        octets.extend([0, 0, 41, 4, 208, 0, 0, dnssec, 0, 0, subnet.len() as u8]);
        octets.extend(subnet);
    }
    octets
}

/// A query of our own.
pub(crate) fn asked(name: &str, rtype: RecordType, flags: &str) -> Query {
    let mut asked = Query::new();
    assert_eq!(asked.read(&query(name, rtype, flags)), Gate::Pass);
    asked
}

/// Adds an address record.
pub(crate) fn address(reply: &mut Reply, ttl: u32, last: u8) {
    reply.push(
        Section::Answer,
        Owner::Question,
        RecordType::A,
        ttl,
        |rdata| rdata.octets(&[192, 0, 2, last]),
    );
}

/// Adds an SOA record of `example`.
pub(crate) fn soa(reply: &mut Reply, ttl: u32, minimum: u32) {
    let zone = wire("example");
    reply.push(
        Section::Authority,
        Owner::Wire(&zone),
        RecordType::SOA,
        ttl,
        |rdata| {
            rdata.octets(&zone);
            rdata.octets(&zone);
            for number in [1, 2, 3, 4, minimum] {
                rdata.u32(number);
            }
        },
    );
}

pub(crate) fn wire(name: &str) -> Vec<u8> {
    name.parse::<Name>().unwrap().wire().to_vec()
}

type Script = dyn Fn(&mut Exchange, usize) -> Flow + Send + Sync;

/// A plugin that answers from a script and counts what it is asked.
pub(crate) struct Below {
    script: Box<Script>,
    asked: AtomicUsize,
    /// Answers come behind this time, in a task.
    delay: Option<std::time::Duration>,
}

impl Below {
    /// The script gets the number of the query, from 0 on.
    pub(crate) fn new(
        script: impl Fn(&mut Exchange, usize) -> Flow + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            asked: AtomicUsize::new(0),
            delay: None,
        })
    }

    /// The same, slowly.
    pub(crate) fn slow(
        milliseconds: u64,
        script: impl Fn(&mut Exchange, usize) -> Flow + Send + Sync + 'static,
    ) -> Arc<Self> {
        Arc::new(Self {
            script: Box::new(script),
            asked: AtomicUsize::new(0),
            delay: Some(std::time::Duration::from_millis(milliseconds)),
        })
    }

    /// How often it was asked.
    pub(crate) fn asked(&self) -> usize {
        self.asked.load(Relaxed)
    }
}

#[async_trait]
impl Plugin for Below {
    fn name(&self) -> &'static str {
        "below"
    }

    fn on_query(&self, ex: &mut Exchange) -> Flow {
        if self.delay.is_some() {
            return Flow::Wait;
        }
        (self.script)(ex, self.asked.fetch_add(1, Relaxed))
    }

    async fn wait(&self, ex: &mut Exchange, _: Next<'_>, _: Phase) -> Flow {
        let count = self.asked.fetch_add(1, Relaxed);
        if let Some(delay) = self.delay {
            tokio::time::sleep(delay).await;
        }
        (self.script)(ex, count)
    }
}

/// A reply to a client as it would have come from an upstream.
pub(crate) fn upstream(ex: &mut Exchange, rcode: Rcode, fill: impl FnOnce(&mut Reply)) -> Flow {
    let mut reply = Reply::new();
    reply.start(&ex.query, rcode);
    fill(&mut reply);
    let mut octets = Vec::new();
    reply.finish(
        &ex.query,
        corten_plugin::wire::finish::Carrier::Stream,
        &mut octets,
    );
    ex.reply.load(&ex.query, &octets).unwrap();
    ex.reply.recursion_available = true;
    Flow::Respond
}

/// The chain of a Corefile's first block, with `below` at its end.
pub(crate) fn chain(
    directive: &'static Directive,
    text: &str,
    below: &Arc<Below>,
) -> (Arc<Chain>, Arc<dyn Plugin>) {
    let links = set_up(directive, text, &[]).unwrap();
    let cache = Arc::clone(&links[0]);
    (chain_of(&cache, below), cache)
}

pub(crate) fn chain_of(cache: &Arc<dyn Plugin>, below: &Arc<Below>) -> Arc<Chain> {
    let below: Arc<dyn Plugin> = Arc::clone(below) as _;
    Chain::new(vec![Arc::clone(cache), below]).unwrap()
}

/// An exchange with a query, received now.
pub(crate) fn exchange(octets: &[u8]) -> Exchange {
    let mut ex = Exchange::new();
    ex.received = tokio::time::Instant::now().into_std();
    assert_eq!(ex.query.read(octets), Gate::Pass);
    ex
}

/// The server's part: inline first, the rest in this task; what is wanted behind the reply, too.
pub(crate) async fn serve(chain: &Arc<Chain>, octets: &[u8]) -> Exchange {
    let mut ex = exchange(octets);
    if let Progress::Waits(at, phase) = chain.run(&mut ex) {
        let _ = chain.resume(&mut ex, at, phase).await;
    }
    if ex.has_afterwards() {
        let said = (ex.reply.clone(), ex.is_dropped());
        chain.afterwards(&mut ex).await;
        ex.reply = said.0;
    }
    ex
}

/// What a reply says: RCODE, flags, TTL and last octet of each address.
pub(crate) fn said(ex: &Exchange) -> String {
    let reply = &ex.reply;
    if !reply.is_started() || ex.is_dropped() {
        return "nothing".into();
    }
    let mut text = reply.rcode.to_string();
    for (set, flag) in [
        (reply.authoritative, " aa"),
        (reply.authentic_data, " ad"),
        (reply.recursion_available, " ra"),
    ] {
        text += if set { flag } else { "" };
    }
    for record in reply.records() {
        text += &match record.rtype {
            RecordType::A => format!(
                " {}:{}",
                reply.ttl(record),
                reply.octets()[usize::from(record.end) - 1]
            ),
            other => format!(" {}:{other}", reply.ttl(record)),
        };
    }
    if let Some(error) = reply.option(15) {
        text += &format!(" ede{}", error[1]);
    }
    text
}

/// A question of class IN.
pub(crate) fn question(name: &str, rtype: RecordType) -> Question {
    Question {
        name: name.parse().unwrap(),
        rtype,
        class: corten_plugin::wire::Class::IN,
    }
}
