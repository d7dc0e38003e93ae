use std::net::{IpAddr, Ipv4Addr};

use corten_wire::typed::op::{Message, MessageType, OpCode, ResponseCode};
use corten_wire::typed::rr::rdata::{A, CAA, CNAME, NS, TXT};
use corten_wire::typed::rr::{Name as TypedName, RData, Record, RecordType as Type};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, UdpSocket};

use super::*;
use crate::spec::Options;

mod aliases;

/// What a scripted name server says.
type Script = fn(&str, Type, &mut Message);

/// Name servers at several loopback addresses and one port.
struct Net {
    port: u16,
    _tasks: JoinSet<()>,
}

impl Net {
    /// The last octet of the address, whether it answers over TCP, and what it says.
    async fn start(servers: &[(u8, bool, Script)]) -> Self {
        let mut tasks = JoinSet::new();
        let mut port = 0;
        for (octet, over_tcp, script) in servers.iter().copied() {
            let address = (Ipv4Addr::new(127, 0, 0, octet), port);
            let udp = loop {
                let udp = UdpSocket::bind(address).await.unwrap();
                let bound = udp.local_addr().unwrap();
                if !over_tcp {
                    port = bound.port();
                    break udp;
                }
                let Ok(tcp) = TcpListener::bind(bound).await else {
                    continue;
                };
                port = bound.port();
                tasks.spawn(async move {
                    while let Ok((mut stream, _)) = tcp.accept().await {
                        let length = stream.read_u16().await.unwrap();
                        let mut query = vec![0; usize::from(length)];
                        stream.read_exact(&mut query).await.unwrap();
                        let answer = answer(&query, script);
                        stream.write_u16(answer.len() as u16).await.unwrap();
                        stream.write_all(&answer).await.unwrap();
                    }
                });
                break udp;
            };
            tasks.spawn(async move {
                let mut buffer = [0; 512];
                while let Ok((length, client)) = udp.recv_from(&mut buffer).await {
                    let answer = answer(&buffer[..length], script);
                    let _ = udp.send_to(&answer, client).await;
                }
            });
        }
        Self {
            port,
            _tasks: tasks,
        }
    }

    fn resolvers(&self) -> [SocketAddr; 1] {
        [SocketAddr::new(Ipv4Addr::LOCALHOST.into(), self.port)]
    }

    fn places(&self, patience: Duration) -> Places {
        Places {
            resolvers: self.resolvers().into(),
            peers: Vec::new(),
            port: self.port,
            patience,
            found: Mutex::default(),
            aliases: Mutex::default(),
        }
    }

    async fn look(&self, patience: Duration) -> Verdict {
        let places = self.places(patience);
        places.look(RECORD, "value", patience).await
    }
}

const RECORD: &str = "_acme-challenge.ns1.example.org";

fn answer(query: &[u8], script: Script) -> Vec<u8> {
    let query = Message::from_vec(query).unwrap();
    let mut message = Message::new(query.metadata.id, MessageType::Response, OpCode::Query);
    let question = query.queries[0].clone();
    let name = question.name().to_ascii().to_ascii_lowercase();
    let rtype = question.query_type();
    message.add_query(question);
    message.metadata.authoritative = true;
    script(&name, rtype, &mut message);
    message.to_vec().unwrap()
}

fn name(text: &str) -> TypedName {
    TypedName::from_ascii(text).unwrap()
}

fn ns(owner: &str, host: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::NS(NS(name(host))))
}

fn a(owner: &str, octet: u8) -> Record {
    Record::from_rdata(
        name(owner),
        60,
        RData::A(A(Ipv4Addr::new(127, 0, 0, octet))),
    )
}

/// A resolver that the servers of `example.org` do not answer about themselves.
fn resolver(asked: &str, rtype: Type, message: &mut Message) {
    match (asked, rtype) {
        ("org.", Type::NS) => drop(message.add_answer(ns("org.", "ns.org."))),
        ("ns.org.", Type::A) => drop(message.add_answer(a("ns.org.", 2))),
        ("ns.org." | "org.", _) => (),
        _ => message.metadata.response_code = ResponseCode::ServFail,
    }
}

/// The zone above, which delegates.
fn parent(_: &str, _: Type, message: &mut Message) {
    message.metadata.authoritative = false;
    for (host, octet) in [("ns1.example.org.", 3), ("ns2.example.org.", 4)] {
        message.add_authority(ns("example.org.", host));
        message.add_additional(a(host, octet));
    }
}

/// Knows the challenge.
fn knows(asked: &str, rtype: Type, message: &mut Message) {
    if rtype == Type::TXT {
        let txt = RData::TXT(TXT::new(vec!["value".to_owned()]));
        message.add_answer(Record::from_rdata(name(asked), 0, txt));
    }
}

fn denies(_: &str, _: Type, message: &mut Message) {
    message.metadata.response_code = ResponseCode::NXDomain;
}

#[tokio::test]
async fn servers_are_found_from_the_zone_above() {
    let net = Net::start(&[
        (1, true, resolver),
        (2, true, parent),
        (3, true, knows),
        (4, true, knows),
    ])
    .await;
    let record = RECORD.parse().unwrap();
    let found = delegation::find(&net.resolvers(), &record, net.port).await;
    let found = found.unwrap();
    assert_eq!(found.zone, "example.org".parse().unwrap());
    let addresses: Vec<_> = found.servers.iter().map(|s| s.address.ip()).collect();
    let third = |octet| IpAddr::from(Ipv4Addr::new(127, 0, 0, octet));
    assert_eq!(addresses, [third(3), third(4)]);
    assert_eq!(net.look(Duration::from_secs(5)).await, Verdict::Good);
}

#[tokio::test]
async fn who_says_something_else_is_named() {
    let net = Net::start(&[
        (1, true, resolver),
        (2, true, parent),
        (3, false, knows),
        (4, true, denies),
    ])
    .await;
    let Verdict::Bad(words) = net.look(Duration::ZERO).await else {
        panic!("it is not visible");
    };
    for part in [
        "ns1.example.org (127.0.0.3): it answers over UDP, but not over TCP",
        "ns2.example.org (127.0.0.4): it answers over UDP with NXDOMAIN",
        "(the nearest zone is example.org.)",
    ] {
        assert!(words.contains(part), "{part} in {words}");
    }
}

#[tokio::test]
async fn who_cannot_be_asked_is_told_and_not_held_against_it() {
    let net = Net::start(&[(1, true, resolver), (2, true, parent), (3, true, knows)]).await;
    let verdict = net.look(Duration::from_secs(1)).await;
    assert!(
        matches!(&verdict, Verdict::Unknown(words) if words.contains("ns2.example.org (127.0.0.4)")),
        "{verdict:?}"
    );
    // Without anybody to ask nothing is known.
    let nobody = Net::start(&[(1, true, |_, _, message| {
        message.metadata.response_code = ResponseCode::Refused;
    })])
    .await;
    let verdict = nobody.look(Duration::from_secs(1)).await;
    assert!(
        matches!(&verdict, Verdict::Unknown(words) if words.contains("REFUSED")),
        "{verdict:?}"
    );
}

/// A router that answers in the place of who is behind it.
fn router(_: &str, _: Type, message: &mut Message) {
    message.metadata.authoritative = false;
    message.metadata.recursion_available = true;
    message.metadata.response_code = ResponseCode::NXDomain;
}

#[tokio::test]
async fn who_answers_in_a_servers_place_is_told_and_not_held_against_it() {
    let net = Net::start(&[
        (1, true, resolver),
        (2, true, parent),
        (3, true, knows),
        (4, true, router),
    ])
    .await;
    let verdict = net.look(Duration::ZERO).await;
    assert!(
        matches!(&verdict, Verdict::Unknown(words) if words.contains("ns2.example.org (127.0.0.4): what answers over UDP resolves names for clients")),
        "{verdict:?}"
    );
}

/// Answers with a record that persists, and says more than it must.
fn persists(asked: &str, rtype: Type, message: &mut Message) {
    if rtype == Type::TXT {
        let text = "ca.example; accounturi=https://ca.example/1; policy=wildcard".to_owned();
        let txt = RData::TXT(TXT::new(vec![text]));
        message.add_answer(Record::from_rdata(name(asked), 0, txt));
    }
}

#[tokio::test]
async fn a_record_that_persists_may_say_more() {
    let net = Net::start(&[(1, true, persists)]).await;
    let [server] = net.resolvers();
    let asked = "_validation-persist.example.org".parse().unwrap();
    for (wanted, is_shown) in [
        ("ca.example; accounturi=https://ca.example/1", true),
        ("ca.example; accounturi=https://ca.example/2", false),
        ("ca.example", false),
    ] {
        let saw = delegation::look(server, &asked, wanted).await;
        assert_eq!(saw == Saw::Value, is_shown, "{wanted}: {saw:?}");
    }
}

/// CAA records of `example.org`, for one CA; of `closed.example.org`, for none.
fn caa_records(asked: &str, rtype: Type, message: &mut Message) {
    let permitted = match (asked, rtype) {
        ("example.org.", Type::CAA) => Some(name("ca.example")),
        ("closed.example.org.", Type::CAA) => None,
        _ => return,
    };
    let caa = RData::CAA(CAA::new_issue(false, permitted, Vec::new()));
    message.add_answer(Record::from_rdata(name(asked), 60, caa));
}

#[tokio::test]
async fn records_that_bar_the_ca_are_seen() {
    let net = Net::start(&[(1, true, caa_records)]).await;
    let ask = |identity: &'static str, domain: &'static str| {
        let resolvers = net.resolvers();
        async move { caa(&resolvers, &[identity.to_owned()], domain).await }
    };
    assert_eq!(ask("CA.example", "a.example.org").await, Verdict::Good);
    assert_eq!(ask("ca.example", "*.example.org").await, Verdict::Good);
    assert_eq!(ask("other.example", "a.example.net").await, Verdict::Good);
    for (domain, words) in [
        (
            "a.b.example.org",
            "CAA records of example.org. let ca.example sign, and this CA is other.example",
        ),
        ("*.closed.example.org", "let nobody sign"),
    ] {
        let verdict = ask("other.example", domain).await;
        assert!(
            matches!(&verdict, Verdict::Bad(told) if told.contains(words)),
            "{verdict:?}"
        );
    }
}

#[test]
fn clocks_are_compared() {
    let at = |seconds| SystemTime::UNIX_EPOCH + Duration::from_secs(seconds);
    let of = |date| Directory {
        date,
        ..Directory::default()
    };
    let now = at(1_000_000);
    assert!(clock(&of(None), now).is_ok());
    assert!(clock(&of(Some(at(1_000_299))), now).is_ok());
    for (date, words) in [
        (at(1_000_301), "5 minutes behind"),
        (at(900_000), "27 hours ahead of"),
    ] {
        let error = clock(&of(Some(date)), now).unwrap_err();
        assert_eq!(error.failure, Failure::Clock);
        assert!(error.what.contains(words), "{}", error.what);
    }
}

#[test]
fn a_directory_tells_what_an_order_lacks() {
    let spec = |profile: Option<&str>| {
        let issuer = crate::spec::Issuer::Acme {
            directory: "ca.example/dir".into(),
            roots: None,
            email: None,
        };
        let options = Options {
            profile: profile.map(str::to_owned),
            ..Options::default()
        };
        let folder = std::path::PathBuf::from("certs");
        Spec::new(&["a.example"], issuer, folder, Duration::from_secs(900))
            .and_then(|spec| spec.with(options))
            .unwrap()
    };
    let ca = |profiles: &[&str], wants_binding| Directory {
        profiles: profiles.iter().map(|name| (*name).to_owned()).collect(),
        wants_binding,
        ..Directory::default()
    };
    let told = |about: &Directory, spec: &Spec, first| {
        directory(about, spec, first).err().map(|error| error.what)
    };
    assert_eq!(
        told(&ca(&["short"], false), &spec(Some("short")), true),
        None
    );
    assert_eq!(
        told(&ca(&["classic", "short"], false), &spec(Some("tiny")), true).unwrap(),
        "the CA has no profile 'tiny'; it has classic, short"
    );
    // A CA further down the list gets no profile of another.
    assert_eq!(told(&ca(&[], false), &spec(Some("tiny")), false), None);
    let binding = told(&ca(&[], true), &spec(None), true).unwrap();
    assert!(binding.contains("eab KID HMAC"), "{binding}");
}

#[test]
fn probes_look_like_answers() {
    let (one, other) = (probe_value(), probe_value());
    assert_eq!(one.len(), PROBE_CHARACTERS);
    assert_ne!(one, other);
}
