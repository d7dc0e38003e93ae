use super::*;

const BOUNDS: Bounds = Bounds {
    records_max: 100,
    octets_max: 10_000,
};

fn wire(text: &str) -> Vec<u8> {
    text.parse::<Name>().unwrap().wire().to_vec()
}

/// `SOA 3`, or `NAME` of an A record.
pub(crate) fn found(text: &str) -> Found {
    let (owner, rtype, rdata) = match text.split_once(' ') {
        Some(("SOA", serial)) => {
            let mut rdata = vec![0, 0];
            rdata.extend(serial.parse::<u32>().unwrap().to_be_bytes());
            rdata.extend([0; 16]);
            ("example", RecordType::SOA, rdata)
        }
        _ => (text, RecordType::A, vec![192, 0, 2, 1]),
    };
    Found {
        owner: wire(owner),
        rtype,
        class: Class::IN,
        ttl: 60,
        rdata,
    }
}

fn fed(wanted: Wanted, records: &[&str]) -> Result<Option<Received>, Broken> {
    let mut incoming = Incoming::new(&"example".parse().unwrap(), wanted, BOUNDS);
    let mut last = None;
    for record in records {
        assert!(last.is_none(), "over before {record}");
        last = incoming.record(&found(record))?;
    }
    Ok(last.or_else(|| incoming.end_of_message()))
}

fn shown(result: &Result<Option<Received>, Broken>) -> String {
    match result {
        Ok(None) => "more".into(),
        Ok(Some(Received::Current(serial))) => format!("current {serial}"),
        Ok(Some(Received::Whole(_))) => "whole".into(),
        Ok(Some(Received::Changes(steps))) => steps
            .iter()
            .map(|step| format!("-{}+{}", step.removed.len(), step.added.len()))
            .collect(),
        Err(error) => error.to_string(),
    }
}

#[test]
fn transfers_are_told_from_one_another() {
    use Wanted::{Since, Whole};
    for (wanted, records, result) in [
        (Whole, &["SOA 3", "a.example", "SOA 3"][..], "whole"),
        (Whole, &["SOA 3", "SOA 3"], "whole"),
        (Whole, &["SOA 3", "a.example"], "more"),
        (Whole, &["SOA 3"], "more"),
        // A whole zone for who asked for changes.
        (Since(2), &["SOA 3", "a.example", "SOA 3"], "whole"),
        (Since(2), &["SOA 3", "SOA 3"], "whole"),
        (Since(3), &["SOA 3"], "current 3"),
        (Since(4), &["SOA 3"], "current 3"),
        (Since(2), &["SOA 3"], "more"),
        (
            Since(2),
            &[
                "SOA 3",
                "SOA 2",
                "a.example",
                "SOA 3",
                "b.example",
                "c.example",
                "SOA 3",
            ],
            "-1+2",
        ),
        (
            Since(1),
            &[
                "SOA 3",
                "SOA 1",
                "SOA 2",
                "a.example",
                "SOA 2",
                "a.example",
                "SOA 3",
                "SOA 3",
            ],
            "-0+1-1+0",
        ),
        // Changes that nobody asked for.
        (
            Whole,
            &["SOA 3", "SOA 2"],
            "the zone changed while it was transferred: serial 3, then 2",
        ),
        (
            Since(1),
            &["SOA 3", "SOA 2"],
            "the zone changed while it was transferred: serial 3, then 2",
        ),
        (
            Since(1),
            &["SOA 4", "SOA 1", "SOA 2", "SOA 3"],
            "the changes do not hang together: after serial 2 comes 3",
        ),
        (
            Whole,
            &["a.example"],
            "the transfer does not begin with the zone's SOA record",
        ),
    ] {
        assert_eq!(shown(&fed(wanted, records)), result, "{records:?}");
    }
}

#[test]
fn what_is_too_much_or_no_record_is_refused() {
    let apex = "example".parse().unwrap();
    let mut incoming = Incoming::new(&apex, Wanted::Whole, BOUNDS);
    assert!(incoming.record(&found("SOA 1")).is_ok());
    let end = (0..1000)
        .map(|number| incoming.record(&found(&format!("h{number}.example"))))
        .position(|result| result.is_err());
    assert_eq!(end, Some(99));

    let mut incoming = Incoming::new(&apex, Wanted::Whole, BOUNDS);
    assert!(incoming.record(&found("SOA 1")).is_ok());
    let mut large = found("a.example");
    large.rdata = vec![0; 9_990];
    assert_eq!(incoming.record(&large).unwrap_err(), Broken::Octets(10_000));

    let mut other_class = found("a.example");
    other_class.class = Class::CH;
    let mut meta = found("a.example");
    meta.rtype = RecordType::ANY;
    for stray in [other_class, meta] {
        let mut incoming = Incoming::new(&apex, Wanted::Whole, BOUNDS);
        assert!(incoming.record(&found("SOA 1")).is_ok());
        assert!(matches!(incoming.record(&stray), Err(Broken::Stray(_))));
    }

    let mut incoming = Incoming::new(&apex, Wanted::Whole, BOUNDS);
    assert!(incoming.record(&found("SOA 1")).is_ok());
    assert!(incoming.record(&found("a.other")).is_ok());
    assert!(matches!(
        incoming.record(&found("SOA 1")),
        Ok(Some(Received::Whole(_)))
    ));
    assert_eq!(incoming.strays, 1);
    assert_eq!(
        incoming.record(&found("SOA 1")).unwrap_err(),
        Broken::Behind
    );
}
