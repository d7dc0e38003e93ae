//! Primaries that mean no good.
use super::*;

/// Reads a query, and returns it.
async fn read(stream: &mut DuplexStream) -> Option<Query> {
    let mut octets = vec![0; usize::from(stream.read_u16().await.ok()?)];
    stream.read_exact(&mut octets).await.ok()?;
    let mut query = Query::new();
    let _ = query.read(&octets);
    Some(query)
}

/// A message that answers a query: SOA records by their serials, others by their names.
fn message(query: &Query, records: &[&str]) -> Vec<u8> {
    let mut packer = Packer::new(60_000, 60_000);
    packer.start(query);
    for record in records {
        let (owner, rtype, rdata) = match record.parse() {
            Ok(serial) => (name(), RecordType::SOA, soa(serial)),
            Err(_) => (record.parse().unwrap(), RecordType::A, vec![192, 0, 2, 1]),
        };
        assert!(packer.push(owner.wire(), rtype, 60, &rdata));
    }
    packer.finish().clone()
}

async fn write(stream: &mut DuplexStream, message: &[u8]) -> bool {
    let length = stream.write_u16(message.len() as u16).await;
    length.is_ok() && stream.write_all(message).await.is_ok()
}

fn request<'r>(name: &'r Name, have: Option<&'r Zone>) -> Request<'r> {
    Request {
        zone: name,
        have,
        key: None,
        source: None,
        bounds: BOUNDS,
        changes: true,
    }
}

/// What becomes of a transfer whose one message is changed like this.
async fn spoilt(spoil: impl Fn(&mut Vec<u8>)) -> Result<(), Failure> {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let primary = async {
        let query = read(&mut theirs).await.unwrap();
        let mut whole = message(&query, &["7", "a.example", "7"]);
        spoil(&mut whole);
        write(&mut theirs, &whole).await;
        drop(theirs);
    };
    let name = name();
    let request = request(&name, None);
    let (answered, ()) = tokio::join!(talk(ours, &request), primary);
    answered.map(|_| ())
}

#[tokio::test]
async fn what_is_no_answer_to_the_query_is_not_taken() {
    assert!(spoilt(|_| ()).await.is_ok());
    let not_this = "the response is not to this query";
    type Spoil = fn(&mut Vec<u8>);
    let cases: [(&str, Spoil, &str); 14] = [
        ("another ID", |m| m[1] ^= 1, not_this),
        ("a query", |m| m[2] &= 0x7f, not_this),
        ("an update", |m| m[2] |= 5 << 3, not_this),
        ("cut", |m| m[2] |= 2, not_this),
        ("another zone", |m| m[13] ^= 1, not_this),
        ("another type", |m| m[22] ^= 1, not_this),
        ("another class", |m| m[24] ^= 2, not_this),
        ("a refusal", |m| m[3] |= 5, "rcode was REFUSED"),
        ("nothing", Vec::clear, ""),
        ("half a header", |m| m.truncate(7), ""),
        ("half a record", |m| m.truncate(m.len() - 3), ""),
        ("fewer records than it says", |m| m[7] += 1, ""),
        // Pointers to themselves and forwards.
        ("a loop", |m| m[25..27].copy_from_slice(&[0xc0, 25]), ""),
        (
            "a way ahead",
            |m| m[25..27].copy_from_slice(&[0xc0, 60]),
            "",
        ),
    ];
    for (what, spoil, error) in cases {
        let found = spoilt(spoil).await.unwrap_err().to_string();
        assert!(found.contains(error), "{what}: {found}");
    }
    // More than the one that was asked for, or less.
    for (records, error) in [
        (&["7", "a.example", "7", "7"][..], "behind the end"),
        (&["7", "a.example", "8"], "the zone changed"),
        (&["a.example", "7"], "does not begin with"),
        (&["7", "a.example"], ""),
        (&[], ""),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let primary = async {
            let query = read(&mut theirs).await.unwrap();
            write(&mut theirs, &message(&query, records)).await;
            drop(theirs);
        };
        let name = name();
        let request = request(&name, None);
        let (answered, ()) = tokio::join!(talk(ours, &request), primary);
        let found = answered.map(|_| ()).unwrap_err().to_string();
        assert!(found.contains(error), "{records:?}: {found}");
    }
}

/// Octet by octet, or record by record: both end, however long the primary would go on.
#[tokio::test(start_paused = true)]
async fn what_drips_is_given_up() {
    for (octets_at_once, error) in [
        (1, "a message of the transfer took too long"),
        (usize::MAX, "the transfer took too long"),
    ] {
        let (ours, mut theirs) = tokio::io::duplex(1 << 16);
        let primary = async {
            let query = read(&mut theirs).await.unwrap();
            for number in 0.. {
                let records: &[&str] = if number == 0 { &["7"] } else { &["a.example"] };
                let message = message(&query, records);
                let framed = [&(message.len() as u16).to_be_bytes()[..], &message].concat();
                for piece in framed.chunks(octets_at_once) {
                    if theirs.write_all(piece).await.is_err() {
                        return;
                    }
                    tokio::time::sleep(Duration::from_secs(20)).await;
                }
            }
        };
        let name = name();
        let request = request(&name, None);
        let (answered, ()) = tokio::join!(talk(ours, &request), primary);
        assert_eq!(answered.map(|_| ()).unwrap_err().to_string(), error);
    }
}

/// From one version to another and back, without an end.
#[tokio::test]
async fn changes_in_a_circle_end() {
    let (ours, mut theirs) = tokio::io::duplex(1 << 16);
    let have = zone(1);
    let primary = async {
        let query = read(&mut theirs).await.unwrap();
        write(&mut theirs, &message(&query, &["9"])).await;
        let query = read(&mut theirs).await.unwrap();
        assert_eq!(query.ixfr_serial(), Some(1));
        write(&mut theirs, &message(&query, &["9", "1", "2"])).await;
        let mut sent = 0;
        while write(&mut theirs, &message(&query, &["2", "1", "1", "2"])).await {
            sent += 1;
        }
        sent
    };
    let name = name();
    let request = request(&name, Some(&have));
    let (answered, sent) = tokio::join!(talk(ours, &request), primary);
    let error = answered.map(|_| ()).unwrap_err();
    assert_eq!(error.to_string(), "the zone has more than 1000 records");
    assert!(sent < 10_000, "{sent}");
}
