use std::sync::Mutex;

use corten_plugin::wire::message::{Found, Message};
use corten_plugin::wire::{Class, Gate, Query, Question};
use corten_plugin::{Chain, Gone, PartSink, Progress, Zones};
use corten_zone::Builder;

use super::*;

struct Only(Arc<Slot>);

impl Catalogue for Only {
    fn slots(&self) -> Vec<Arc<Slot>> {
        vec![Arc::clone(&self.0)]
    }
}

#[derive(Default)]
struct Sent(Mutex<Vec<Vec<u8>>>);

#[async_trait]
impl PartSink for Sent {
    async fn send(&self, message: Vec<u8>) -> Result<(), Gone> {
        self.0.lock().unwrap().push(message);
        Ok(())
    }
}

fn name(text: &str) -> Vec<u8> {
    text.parse::<Name>().unwrap().wire().to_vec()
}

fn zone(serial: u32, hosts: std::ops::Range<u32>) -> Arc<Zone> {
    let mut builder = Builder::new(&name("example"));
    let mut soa = [name("ns.example"), name("post.example")].concat();
    for number in [serial, 3600, 600, 86_400, 60] {
        soa.extend(number.to_be_bytes());
    }
    builder
        .add(&name("example"), RecordType::SOA, 60, &soa)
        .unwrap();
    builder
        .add(&name("example"), RecordType::NS, 60, &name("ns.example"))
        .unwrap();
    for host in hosts {
        let address = host.to_be_bytes();
        builder
            .add(
                &name(&format!("h{host}.example")),
                RecordType::A,
                60,
                &address,
            )
            .unwrap();
    }
    Arc::new(builder.build().unwrap())
}

fn transfer(slot: &Arc<Slot>) -> Transfer {
    let zones = Zones::new(vec!["example".parse().unwrap()]);
    let policies = Arc::new(Policies::everybody(zones, Vec::new()));
    let policies_for_catalogs = Arc::clone(&policies);
    Transfer {
        notifier: Notifier::new(Arc::clone(&policies)),
        policies,
        catalogs: Catalogs::new(&policies_for_catalogs, None),
        tasks: Tasks::default(),
        catalogues: OnceLock::from(vec![Arc::new(Only(Arc::clone(slot))) as Arc<dyn Catalogue>]),
        under_way: Semaphore::new(1),
    }
}

/// A request; IXFR where there is a serial.
fn request(serial: Option<u32>) -> Exchange {
    let question = Question {
        name: "example".parse().unwrap(),
        rtype: serial.map_or(RecordType::AXFR, |_| RecordType::IXFR),
        class: Class::IN,
    };
    let mut octets = Query::ask(7, &question).octets().to_vec();
    if let Some(serial) = serial {
        octets[9] = 1;
        octets.extend(b"\xc0\x0c\0\x06\0\x01\0\0\0\0\0\x16\0\0");
        octets.extend(serial.to_be_bytes());
        octets.extend([0; 16]);
    }
    let mut ex = Exchange::new();
    ex.transport = Transport::Tcp;
    assert_eq!(ex.query.read(&octets), Gate::Pass);
    ex
}

/// Serials of SOA records and addresses of the others, in their order.
fn told(messages: &[Vec<u8>]) -> Vec<String> {
    let mut all = Vec::new();
    for message in messages {
        let message = Message::read(message).unwrap();
        assert!(message.is_response() && message.authoritative() && message.id() == 7);
        let (mut records, mut found) = (message.records(), Found::default());
        while records.next_into(&mut found).unwrap().is_some() {
            all.push(match found.rtype {
                RecordType::SOA => {
                    let serial = found.rdata[found.rdata.len() - 20..].first_chunk().unwrap();
                    format!("SOA {}", u32::from_be_bytes(*serial))
                }
                RecordType::A => {
                    format!(
                        "A {}",
                        u32::from_be_bytes(found.rdata[..].try_into().unwrap())
                    )
                }
                other => other.to_string(),
            });
        }
    }
    all
}

/// What goes out before the reply, and the reply unless all has been sent.
async fn serve(transfer: Transfer, mut ex: Exchange) -> (Vec<Vec<u8>>, Exchange) {
    let chain = Chain::new(vec![Arc::new(transfer)]).unwrap();
    let sent = Arc::new(Sent::default());
    if let Progress::Waits(at, phase) = chain.run(&mut ex) {
        ex.set_parts(Arc::<Sent>::clone(&sent));
        let _ = chain.resume(&mut ex, at, phase).await;
    }
    let messages = std::mem::take(&mut *sent.0.lock().unwrap());
    (messages, ex)
}

#[tokio::test]
async fn a_zone_goes_out_whole_in_large_messages() {
    let slot = Arc::new(Slot::new(&name("example")));
    slot.set(zone(1, 0..5000));
    let (messages, ex) = serve(transfer(&slot), request(None)).await;
    assert!(ex.is_sent());
    let told = told(&messages);
    assert_eq!(told.len(), 5003);
    assert_eq!((&told[0][..], &told[5002][..]), ("SOA 1", "SOA 1"));
    // Some twenty octets a record, and no message that is not full but the last.
    assert!((6..=8).contains(&messages.len()), "{}", messages.len());
    for message in &messages[..messages.len() - 1] {
        assert!(
            (16_300..=16_384).contains(&message.len()),
            "{}",
            message.len()
        );
    }
}

#[tokio::test]
async fn changes_go_out_in_their_order() {
    let slot = Arc::new(Slot::new(&name("example")));
    slot.set(zone(1, 0..9));
    slot.set(zone(2, 0..10));
    slot.set(zone(3, 1..10));
    let (messages, ex) = serve(transfer(&slot), request(Some(1))).await;
    assert!(ex.is_sent());
    assert_eq!(
        told(&messages),
        [
            "SOA 3", "SOA 1", "SOA 2", "A 9", "SOA 2", "A 0", "SOA 3", "SOA 3"
        ]
    );
    // Nothing is known of that one.
    let (messages, _) = serve(transfer(&slot), request(Some(u32::MAX))).await;
    assert_eq!(told(&messages).len(), 12);
    // More changes than zone.
    slot.set(zone(4, 100..104));
    let (messages, _) = serve(transfer(&slot), request(Some(1))).await;
    assert_eq!(told(&messages).len(), 7);
}

#[tokio::test]
async fn who_has_it_all_gets_the_soa_record() {
    let slot = Arc::new(Slot::new(&name("example")));
    slot.set(zone(3, 0..9));
    for serial in [3, 4] {
        let (messages, ex) = serve(transfer(&slot), request(Some(serial))).await;
        assert!(messages.is_empty() && !ex.is_sent());
        assert_eq!(
            (ex.reply.count(Section::Answer), ex.reply.rcode),
            (1, Rcode::NOERROR)
        );
    }
    // Over UDP those, too, whose changes are not known or too many; others get them.
    slot.set(zone(4, 0..10));
    slot.set(zone(5, 0..40));
    for (serial, records) in [(1, 1), (4, 1), (5, 1)] {
        let mut ex = request(Some(serial));
        ex.transport = Transport::Udp;
        let (messages, ex) = serve(transfer(&slot), ex).await;
        assert!(messages.is_empty());
        assert_eq!(
            (ex.reply.count(Section::Answer), ex.reply.rcode),
            (records, Rcode::NOERROR),
            "{serial}"
        );
    }
    slot.set(zone(6, 1..41));
    let mut ex = request(Some(5));
    ex.transport = Transport::Udp;
    let (_, ex) = serve(transfer(&slot), ex).await;
    assert_eq!(ex.reply.count(Section::Answer), 6);
    assert!(ex.reply.authoritative && ex.reply.octets().len() <= 512 - OPT_OCTETS);
}

#[tokio::test]
async fn what_cannot_be_is_refused() {
    let slot = Arc::new(Slot::new(&name("example")));
    let (_, ex) = serve(transfer(&slot), request(None)).await;
    assert_eq!(ex.reply.rcode, Rcode::SERVFAIL);
    slot.set(zone(1, 0..9));
    let mut ex = request(None);
    ex.transport = Transport::Udp;
    assert_eq!(
        serve(transfer(&slot), ex).await.1.reply.rcode,
        Rcode::REFUSED
    );
    let mut no_serial = request(None);
    no_serial.query.question.rtype = RecordType::IXFR;
    assert_eq!(
        serve(transfer(&slot), no_serial).await.1.reply.rcode,
        Rcode::SERVFAIL
    );
    // A transport that carries one message.
    let chain = Chain::new(vec![Arc::new(transfer(&slot))]).unwrap();
    let mut ex = request(None);
    let Progress::Waits(at, phase) = chain.run(&mut ex) else {
        panic!("a transfer waits");
    };
    let _ = chain.resume(&mut ex, at, phase).await;
    assert_eq!(ex.reply.rcode, Rcode::REFUSED);
    // One is under way, and there is room for one.
    let busy = transfer(&slot);
    busy.under_way.try_acquire().unwrap().forget();
    assert_eq!(
        serve(busy, request(None)).await.1.reply.rcode,
        Rcode::SERVFAIL
    );
}

/// Takes nothing.
struct Stuck;

#[async_trait]
impl PartSink for Stuck {
    async fn send(&self, _: Vec<u8>) -> Result<(), Gone> {
        std::future::pending().await
    }
}

#[tokio::test(start_paused = true)]
async fn a_client_that_takes_nothing_is_given_up() {
    let slot = Arc::new(Slot::new(&name("example")));
    slot.set(zone(1, 0..3));
    let chain = Chain::new(vec![Arc::new(transfer(&slot))]).unwrap();
    let mut ex = request(None);
    let Progress::Waits(at, phase) = chain.run(&mut ex) else {
        panic!("nothing is sent");
    };
    ex.set_parts(Arc::new(Stuck));
    let _ = chain.resume(&mut ex, at, phase).await;
    assert_eq!(ex.reply.rcode, Rcode::SERVFAIL);
}
