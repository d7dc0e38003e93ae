//! Aliases of challenges' names: where they lead, and who is judged then.
use super::*;
use crate::challenges::Answer;
use crate::storage::{Folder, Storage};
use crate::tests::Scratch;

fn cname(owner: &str, target: &str) -> Record {
    Record::from_rdata(name(owner), 60, RData::CNAME(CNAME(name(target))))
}

/// A resolver that knows aliases: to a zone of others, over several names, in a circle, and without
/// end.
fn alias(asked: &str, rtype: Type, message: &mut Message) {
    let target = match asked {
        "_acme-challenge.ns1.example.org." => "X.org.",
        "_acme-challenge.two.example.org." => "_acme-challenge.ns1.example.org.",
        "_acme-challenge.round.example.org." => "a.round.example.org.",
        "a.round.example.org." => "b.round.example.org.",
        "b.round.example.org." => "a.round.example.org.",
        "own.example.org." => "own.example.org.",
        _ => "",
    };
    let long = asked.strip_suffix(".long.example.org.");
    let long = long.and_then(|number| number.parse::<u8>().ok());
    match (long, rtype) {
        (Some(number), Type::CNAME) if number < 20 => {
            let target = format!("{}.long.example.org.", number + 1);
            message.add_answer(cname(asked, &target));
        }
        (_, Type::CNAME) if !target.is_empty() => drop(message.add_answer(cname(asked, target))),
        (_, Type::CNAME) => denies(asked, rtype, message),
        (_, Type::A) if asked == "ns.org." => drop(message.add_answer(a("ns.org.", 4))),
        _ => resolver(asked, rtype, message),
    }
}

#[tokio::test]
async fn aliases_are_followed_to_their_end_and_no_further() {
    let net = Net::start(&[(1, true, alias)]).await;
    let follow = |record: &str| {
        let (resolvers, record) = (net.resolvers(), record.parse().unwrap());
        async move { alias::follow(&resolvers, &record).await }
    };
    let to = |end: &str| Ok(Alias::To(Box::new(end.parse().unwrap())));
    assert_eq!(follow("_acme-challenge.ns1.example.org").await, to("x.org"));
    assert_eq!(follow("_acme-challenge.two.example.org").await, to("x.org"));
    assert_eq!(follow("www.example.org").await, Ok(Alias::None));
    // Eight are followed, and nine are not.
    assert_eq!(
        follow("12.long.example.org").await,
        to("20.long.example.org")
    );
    let too_long = follow("11.long.example.org").await.unwrap_err();
    let NotFound::Missing(words) = too_long else {
        panic!("{too_long:?}");
    };
    assert!(
        words.contains("its aliases (CNAME records) are more than 8: 11.long.example.org. -> 12."),
        "{words}"
    );
    for (record, names) in [
        (
            "_acme-challenge.round.example.org",
            "_acme-challenge.round.example.org. -> a.round.example.org. -> b.round.example.org. -> a.round.example.org.",
        ),
        ("own.example.org", "own.example.org. -> own.example.org."),
    ] {
        let expected = format!("its aliases (CNAME records) lead in a circle: {names}");
        assert_eq!(follow(record).await, Err(NotFound::Missing(expected)));
    }
    // Without an answer nothing is known.
    let dumb = Net::start(&[(1, true, |_, _, message| {
        message.metadata.response_code = ResponseCode::ServFail;
    })])
    .await;
    let record = RECORD.parse().unwrap();
    let unknown = alias::follow(&dumb.resolvers(), &record).await;
    assert_eq!(unknown, Ok(Alias::Unknown));
}

#[tokio::test]
async fn the_servers_of_the_end_are_judged() {
    let net = Net::start(&[(1, true, alias), (4, true, denies)]).await;
    let verdict = net.look(Duration::ZERO).await;
    assert!(
        matches!(&verdict, Verdict::Bad(words) if words.contains("it answers over UDP with NXDOMAIN")
            && words.contains("(_acme-challenge.ns1.example.org. is an alias of x.org., where the CA looks then; the nearest zone is org.)")),
        "{verdict:?}"
    );
    let net = Net::start(&[(1, true, alias), (4, true, knows)]).await;
    assert_eq!(net.look(Duration::ZERO).await, Verdict::Good);
    let places = net.places(Duration::ZERO);
    let round = "_acme-challenge.round.example.org";
    let verdict = places.look(round, "value", Duration::ZERO).await;
    assert!(
        matches!(&verdict, Verdict::Bad(words) if words.contains("in a circle")),
        "{verdict:?}"
    );
    assert_eq!(places.alias(round).await, Alias::Unknown);
}

fn spec(folder: &std::path::Path, names: &[&str]) -> Spec {
    let issuer = crate::spec::Issuer::Acme {
        directory: "ca.example/dir".into(),
        roots: None,
        email: None,
    };
    Spec::new(names, issuer, folder.to_owned(), Duration::from_secs(900)).unwrap()
}

#[tokio::test]
async fn what_was_looked_at_is_told_by_the_name_at_the_end() {
    let net = Net::start(&[(1, true, alias), (4, true, knows)]).await;
    let scratch = Scratch::new();
    let spec = spec(scratch.path(), &["ns1.example.org", "round.example.org"]);
    let challenges = Arc::new(Challenges::default());
    let places = net.places(Duration::ZERO);
    let about = Directory::default();
    let findings = look(&places, &spec, &challenges, &about, Duration::ZERO).await;
    let told: Vec<_> = findings.iter().map(ToString::to_string).collect();
    let of_alias = "a record of x.org., of which _acme-challenge.ns1.example.org is an alias, as the CA will look for it: ns.org (127.0.0.4): it answers over UDP with other values";
    assert!(told[2].starts_with(of_alias), "{told:#?}");
    let of_circle = "a record of _acme-challenge.round.example.org, as the CA will look for it: its aliases (CNAME records) lead in a circle";
    assert!(told[3].starts_with(of_circle), "{told:#?}");
    assert!(!challenges.any(), "nothing is served any more");
}

#[tokio::test]
async fn servers_of_one_folder_answer_at_the_end() {
    let scratch = Scratch::new();
    let spec = spec(scratch.path(), &["a.example", "*.a.example"]);
    let server = || {
        let storage: Arc<dyn Storage> = Arc::new(Folder::new(scratch.path().to_owned()));
        let challenges = Arc::new(Challenges::default());
        let managed = challenges.manage(&spec, &storage);
        (challenges, managed)
    };
    let ((one, _one), (other, managed)) = (server(), server());
    let record = "_acme-challenge.a.example";
    let wire = |text: &str| text.parse::<Name>().unwrap().wire().to_vec();
    let (end, own) = (wire("end.net"), wire(record));
    let to_end = Alias::To(Box::new("end.net".parse().unwrap()));
    let beside =
        |values: &[&str]| Answer::Beside(values.iter().map(|value| (*value).to_owned()).collect());
    assert_eq!(other.lookup(&end), Answer::NotOurs);
    let published = one.publish(record, &to_end, "token").await;
    assert!(published.is_news && published.served.len() == 2);
    assert_eq!(
        one.find(&end, crate::Asker::Client).await,
        beside(&["token"])
    );
    assert!(matches!(one.lookup(&own), Answer::Values(_)), "as before");
    assert!(one.is_end(&end) && one.exists(&wire("net")) && !one.is_managed(&end));
    assert_eq!(one.lookup(&wire("dne.net")), Answer::NotOurs);
    // The other server learns of it by looking.
    assert_eq!(other.lookup(&end), Answer::NotOurs, "not known yet");
    managed.follow_aliases().await.unwrap();
    assert_eq!(other.lookup(&end), Answer::Elsewhere);
    assert_eq!(
        other.find(&end, crate::Asker::Client).await,
        beside(&["token"])
    );
    // It is no news the next time, and what is remembered counts while nobody can be asked.
    let again = other.publish(record, &Alias::Unknown, "second").await;
    assert!(!again.is_news && again.served.len() == 2);
    assert_eq!(other.lookup(&end), beside(&["second", "token"]));
    drop((again, published));
    let until = std::time::Instant::now() + Duration::from_secs(5);
    while other.find(&end, crate::Asker::Client).await != Answer::NotOurs {
        assert!(std::time::Instant::now() < until);
        tokio::time::sleep(Duration::from_millis(20)).await;
    }
    // The alias is gone.
    assert!(!one.note(record, &Alias::None).await);
    assert!(!one.is_end(&end));
    managed.follow_aliases().await.unwrap();
    assert!(!other.is_end(&end) && !other.exists(&wire("net")));
    drop(managed);
    assert!(!other.any());
}

#[test]
fn a_challenges_name_may_be_the_end_of_another_ones_alias() {
    let challenges = Arc::new(Challenges::default());
    let _own = challenges.publish_name("_acme-challenge.b.example", "own".into());
    let runtime = tokio::runtime::Builder::new_current_thread()
        .build()
        .unwrap();
    let to_it = Alias::To(Box::new("_acme-challenge.b.example".parse().unwrap()));
    let publish = challenges.publish("_acme-challenge.a.example", &to_it, "other");
    let published = runtime.block_on(publish);
    let name: Name = "_acme-challenge.b.example".parse().unwrap();
    let both = Answer::Values(["own".to_owned(), "other".to_owned()].into());
    assert_eq!(challenges.lookup(name.wire()), both);
    drop(published);
    assert_eq!(
        challenges.lookup(name.wire()),
        Answer::Values(["own".to_owned()].into())
    );
}
