use super::*;
use corten_plugin::Transport;
use corten_plugin::wire::finish::Carrier;
use corten_plugin::wire::{Class, Gate, Owner, Query, Question, RecordType, Section};
use corten_plugin::{Zones, wire};
use corten_tsig::{Key, Query as Client, ResponseError, Secret};

fn key(secret: &str) -> Key {
    Key::new(
        "one.key".parse().unwrap(),
        None,
        Secret::from_base64(secret).unwrap(),
    )
}

fn tsig(types: config::Required<RecordType>) -> Tsig {
    let mut keys = Keyring::default();
    assert!(keys.add(key("MTIzNA==")));
    Tsig {
        config: Config {
            zones: Zones::new(vec!["example".parse().unwrap()]),
            keys: Arc::new(keys),
            types,
            opcodes: config::Required::default(),
        },
    }
}

fn asked(name: &str) -> Vec<u8> {
    let question = Question {
        name: name.parse().unwrap(),
        rtype: RecordType::A,
        class: Class::IN,
    };
    Query::ask(7, &question).octets().to_vec()
}

fn signed(name: &str, secret: &str) -> (Client, Exchange) {
    let mut message = asked(name);
    let client = Client::sign(&mut message, &Arc::new(key(secret)), unix_seconds());
    let mut ex = Exchange::new();
    assert_eq!(ex.query.read(&message), Gate::Pass);
    (client, ex)
}

fn sent(ex: &mut Exchange, carrier: Carrier) -> Vec<u8> {
    let mut out = Vec::new();
    ex.finish(carrier, &mut out);
    out
}

#[test]
fn the_answer_is_signed_whatever_it_is() {
    for rcode in [Rcode::NOERROR, Rcode::SERVFAIL, Rcode::REFUSED] {
        let (mut client, mut ex) = signed("www.example", "MTIzNA==");
        assert_eq!(
            tsig(config::Required::default()).on_query(&mut ex),
            Flow::Pass
        );
        assert_eq!(ex.query.tsig(), None);
        assert_eq!(ex.signer().unwrap().key, "one.key".parse().unwrap());
        let _ = ex.answer(rcode);
        let out = sent(&mut ex, Carrier::Datagram);
        assert!(client.verify(&out, unix_seconds()).is_ok(), "{rcode}");
        ex.recycle();
        assert!(ex.signer().is_none());
        let _ = ex.answer(rcode);
        assert!(sent(&mut ex, Carrier::Datagram).len() < out.len());
    }
}

#[test]
fn what_does_not_fit_with_its_signature_is_cut_to_the_question() {
    let (mut client, mut ex) = signed("www.example", "MTIzNA==");
    assert_eq!(
        tsig(config::Required::default()).on_query(&mut ex),
        Flow::Pass
    );
    let reply = ex.start(Rcode::NOERROR);
    for number in 0..28 {
        reply.push(
            Section::Answer,
            Owner::Question,
            RecordType::A,
            60,
            |rdata| rdata.octets(&[192, 0, 2, number]),
        );
    }
    let out = sent(&mut ex, Carrier::Datagram);
    assert!(out.len() <= 512);
    assert!(client.verify(&out, unix_seconds()).is_ok());
    let message = wire::message::Message::read(&out).unwrap();
    assert!(message.truncated());
    assert_eq!(&out[6..12], [0, 0, 0, 0, 0, 1]);
    assert!(sent(&mut ex, Carrier::Stream).len() > 512);
}

#[test]
fn what_is_not_signed_as_it_should_be_is_refused() {
    let all = || tsig(config::Required::All);
    let (mut client, mut ex) = signed("www.example", "b3RoZXI=");
    assert_eq!(all().on_query(&mut ex), Flow::Respond);
    assert_eq!((ex.reply.rcode, ex.signer()), (Rcode::NOTAUTH, None));
    let out = sent(&mut ex, Carrier::Stream);
    assert_eq!(
        client.verify(&out, unix_seconds()),
        Err(ResponseError::Refused(Rcode(16)))
    );

    let mut ex = Exchange::new();
    ex.transport = Transport::Tls;
    assert_eq!(ex.query.read(&asked("www.example")), Gate::Pass);
    assert_eq!(all().on_query(&mut ex), Flow::Respond);
    assert_eq!(ex.reply.rcode, Rcode::REFUSED);
    // Other zones are none of its business.
    assert_eq!(ex.query.read(&asked("www.test")), Gate::Pass);
    assert_eq!(all().on_query(&mut ex), Flow::Pass);
}

#[test]
fn a_question_in_a_signers_name_needs_no_signature() {
    let (_, mut ex) = signed("www.example", "MTIzNA==");
    let all = tsig(config::Required::All);
    assert_eq!(all.on_query(&mut ex), Flow::Pass);
    let mut inner = ex.twin();
    assert_eq!(all.on_query(&mut inner), Flow::Pass);
    // A key of that name with another secret is somebody else's.
    let mut keys = Keyring::default();
    keys.add(key("b3RoZXI="));
    let mut other = tsig(config::Required::All);
    other.config.keys = Arc::new(keys);
    assert_eq!(other.on_query(&mut ex.twin()), Flow::Respond);
    let _ = inner.answer(Rcode::NOERROR);
    // What answers it goes to no client, so nothing is signed.
    assert_eq!(
        sent(&mut inner, Carrier::Stream).len(),
        asked("www.example").len()
    );
}
