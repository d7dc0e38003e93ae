//! Whatever else stands in a server block, in whatever order: a client that *acl* denies gets no data.
//!
//! Chains are built from the plugins themselves in the order of the standard list. Names that are
//! rewritten, names that are completed along a search path, and answers that another client has
//! brought into the cache are no way around.
#![expect(clippy::unwrap_used, reason = "a test ends at the first surprise")]

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use corten::plugins::STANDARD;
use corten_plugin::corefile::{Source, parse};
use corten_plugin::wire::finish::Carrier;
use corten_plugin::wire::{Gate, Name, Rcode, RecordType};
use corten_plugin::{
    Block, Chain, Context, Exchange, Flow, Interest, Parts, Peers, Plugin, Process, Progress,
    Running, ServerOptions, Setup, Stop,
};
use proptest::prelude::*;
use proptest::sample::{Index, subsequence};

/// What nobody may see who is denied: an address, and a text.
const SECRET: &[&[u8]] = &[&[203, 0, 113, 9], b"top-secret"];

/// Directives beside *acl*, which stands in each block. Those that answer in front of it whoever
/// asks (*local*, *any*, *chaos*) are left out: what they say is no secret.
const DIRECTIVES: &[&str] = &[
    "hosts {\n203.0.113.9 www.secret.test secret.test x.secret.test\n192.0.2.9 www.open.test\n}",
    "autopath SEARCH",
    "cache 60",
    r"rewrite name regex (.*)\.(open|alias)\.test {1}.secret.test answer auto",
    "template IN TXT secret.test {\nanswer \"{{ .Name }} 60 IN TXT top-secret\"\nfallthrough\n}",
    "dns64 64:ff9b::/96",
    "metadata",
    "view all {\nexpr true\n}",
    "nsid server",
    "bufsize 1232",
    "errors",
    "log",
    "loadbalance",
    "minimal",
    "header {\nresponse set ra\n}",
    "whoami",
];

/// Names of all ways to the data.
const NAMES: &[&str] = &[
    "www.secret.test",
    "secret.test",
    "www.open.test",
    "www.alias.test",
    "www.lan.test",
    "x.lan.test",
    "www.secret.test.lan.test",
    "none.test",
];

const TYPES: &[RecordType] = &[
    RecordType::A,
    RecordType::AAAA,
    RecordType::TXT,
    RecordType::MX,
    RecordType::ANY,
];

/// The links of a block with these directives, as the server builds them.
struct Built {
    chain: Arc<Chain>,
    links: Vec<Arc<dyn Plugin>>,
    context: Context,
}

fn build(directives: &[String]) -> Built {
    let text = format!(". {{\n{}\n}}\n", directives.join("\n"));
    let source = Source {
        name: "Corefile",
        text: &text,
        path: None,
    };
    let known: Vec<_> = STANDARD.iter().map(|directive| directive.name).collect();
    let corefile = parse(&source, &known, &|_| None).unwrap_or_else(|error| panic!("{error}"));
    let block = Block {
        zones: vec![Name::root()],
        transports: Vec::new(),
    };
    let (mut options, mut offers) = (ServerOptions::default(), Peers::default());
    let (mut links, mut everywhere) = (Vec::new(), Vec::new());
    let process = Arc::new(Process::default());
    for directive in STANDARD {
        let own = corefile.blocks[0].directives.iter();
        let lines: Vec<_> = own
            .filter(|line| line.name.text == directive.name)
            .cloned()
            .collect();
        if lines.is_empty() {
            continue;
        }
        let mut setup = Setup {
            directive: directive.name,
            block: &block,
            options: &mut options,
            process: &process,
            parts: Parts {
                lines: &lines,
                before: &[],
                made: &mut links,
                everywhere: &mut everywhere,
                offers: &mut offers,
            },
        };
        (directive.setup)(&mut setup).unwrap();
        offers.note(directive.name);
    }
    let on_the_way = links
        .iter()
        .filter(|link: &&Arc<dyn Plugin>| link.interest() != Interest::Nothing)
        .cloned();
    Built {
        chain: Chain::new(on_the_way.collect()).unwrap(),
        context: Context {
            process,
            running: Running {
                fingerprint: "".into(),
            },
            peers: Arc::new(offers),
            listeners: Arc::new([]),
            blocks: Arc::new([]),
            block: None,
        },
        links,
    }
}

/// Asks as the server would, and returns the message that leaves, if one does.
async fn ask(chain: &Arc<Chain>, name: &str, rtype: RecordType, client: SocketAddr) -> Answer {
    let mut octets = b"\0\x01\x01\0\0\x01\0\0\0\0\0\x01".to_vec();
    octets.extend_from_slice(name.parse::<Name>().unwrap().wire());
    octets.extend_from_slice(&rtype.0.to_be_bytes());
    octets.extend_from_slice(b"\0\x01\0\0\x29\x10\0\0\0\0\0\0\0");
    let mut ex = Exchange::new();
    assert_eq!(ex.query.read(&octets), Gate::Pass);
    ex.client = client;
    let flow = match chain.run(&mut ex) {
        Progress::Done(flow) => flow,
        Progress::Waits(at, phase) => chain.resume(&mut ex, at, phase).await,
    };
    if ex.has_afterwards() {
        chain.afterwards(&mut ex).await;
    }
    let mut message = Vec::new();
    if flow != Flow::Drop {
        ex.reply.finish(&ex.query, Carrier::Stream, &mut message);
    }
    Answer {
        rcode: ex.reply.rcode,
        records: ex.reply.records().len(),
        dropped: flow == Flow::Drop,
        message,
    }
}

#[derive(Debug)]
struct Answer {
    rcode: Rcode,
    records: usize,
    dropped: bool,
    message: Vec<u8>,
}

impl Answer {
    fn tells(&self) -> bool {
        SECRET.iter().any(|secret| {
            let mut places = self.message.windows(secret.len());
            places.any(|place| place == *secret)
        })
    }
}

fn search_file() -> PathBuf {
    let file = std::env::temp_dir().join(format!("corten-search-{}", std::process::id()));
    std::fs::write(&file, "search lan.test secret.test open.test\n").unwrap();
    file
}

/// Which names the denied client may not ask for.
#[derive(Clone, Copy, Debug)]
enum Denied {
    Everything,
    Secret,
}

/// A block: *acl* and some of the others, in any order.
fn block() -> impl Strategy<Value = (Vec<String>, Denied)> {
    let others = subsequence(DIRECTIVES, 0..=DIRECTIVES.len());
    let action = prop_oneof![Just("block"), Just("filter"), Just("drop")];
    let denied = prop_oneof![Just(Denied::Everything), Just(Denied::Secret)];
    (others, action, denied, any::<bool>())
        .prop_map(|(others, action, denied, listed)| {
            let zones = match denied {
                Denied::Everything => "",
                Denied::Secret => "secret.test",
            };
            let rules = match listed {
                true => format!("allow net 192.0.2.0/24\n{action}"),
                false => format!("{action} net 198.51.100.0/24 2001:db8::/32"),
            };
            let mut all = vec![format!("acl {zones} {{\n{rules}\n}}")];
            let search = search_file().display().to_string();
            all.extend(others.iter().map(|line| line.replace("SEARCH", &search)));
            (all, denied)
        })
        .prop_flat_map(|(all, denied)| (Just(all).prop_shuffle(), Just(denied)))
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    #[test]
    fn a_denied_client_gets_no_data(
        (directives, denied) in block(),
        allowed_asks in proptest::collection::vec((any::<Index>(), any::<Index>()), 0..12),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let built = build(&directives);
            for link in &built.links {
                link.start(&built.context).await.unwrap();
            }
            let friend: SocketAddr = "192.0.2.1:4000".parse().unwrap();
            for (name, rtype) in &allowed_asks {
                let (name, rtype): (&&str, &RecordType) = (name.get(NAMES), rtype.get(TYPES));
                let _ = ask(&built.chain, name, *rtype, friend).await;
            }
            for stranger in ["198.51.100.1:4000", "[2001:db8::1]:4000"] {
                let stranger = stranger.parse().unwrap();
                for name in NAMES {
                    for rtype in TYPES {
                        let answer = ask(&built.chain, name, *rtype, stranger).await;
                        prop_assert!(!answer.tells(), "{} {}: {:?}", name, rtype, answer);
                        if matches!(denied, Denied::Everything) {
                            let refused = matches!(answer.rcode, Rcode::REFUSED | Rcode::NOERROR);
                            prop_assert!(answer.dropped || refused, "{} {}: {:?}", name, rtype, answer);
                            prop_assert_eq!(answer.records, 0);
                        }
                    }
                }
            }
            for link in &built.links {
                link.stop(Stop::Exit).await;
            }
            Ok(())
        })?;
    }
}

/// The same ways do lead to the data for those who may see them: the test above would hold for a
/// chain that never answers.
#[tokio::test]
async fn an_allowed_client_gets_the_data() {
    let search = format!("autopath {}", search_file().display());
    let acl = "acl secret.test {\nblock net 198.51.100.0/24\n}".to_owned();
    let built = build(&[DIRECTIVES[0].to_owned(), search, acl]);
    let friend = "192.0.2.1:4000".parse().unwrap();
    for name in [
        "www.secret.test",
        "www.lan.test",
        "www.secret.test.lan.test",
    ] {
        let answer = ask(&built.chain, name, RecordType::A, friend).await;
        assert!(answer.tells(), "{name}: {answer:?}");
    }
}
