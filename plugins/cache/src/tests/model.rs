//! The cache against a simple model: which questions have an entry, how old it is, what TTL it has.
use std::collections::HashMap;

use proptest::prelude::*;

use super::*;

#[derive(Clone, Debug)]
struct Step {
    name: u8,
    rtype: RecordType,
    flags: &'static str,
    upper: bool,
    /// Milliseconds before it.
    pause: u64,
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = (
        0..4u8,
        prop_oneof![Just(RecordType::A), Just(RecordType::AAAA)],
        prop_oneof![
            Just(""),
            Just("d"),
            Just("c"),
            Just("dc"),
            Just("a"),
            Just("e")
        ],
        any::<bool>(),
        prop_oneof![3 => 0..900u64, 1 => 900..9_000u64],
    );
    let step = step.prop_map(|(name, rtype, flags, upper, pause)| Step {
        name,
        rtype,
        flags,
        upper,
        pause,
    });
    proptest::collection::vec(step, 1..80)
}

/// TTL in the records of a name, and what it becomes between the limits 4 and 30.
const TTLS: [(u32, u32); 4] = [(0, 4), (7, 7), (30, 30), (90, 30)];

proptest! {
    #![proptest_config(ProptestConfig { cases: 48, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn the_cache_does_what_the_model_does(steps in steps()) {
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .start_paused(true)
            .build()
            .unwrap();
        runtime.block_on(check(steps))?;
    }
}

async fn check(steps: Vec<Step>) -> Result<(), TestCaseError> {
    let below = Below::new(|ex, count| {
        let number = usize::from(ex.query.question.name.label(0).unwrap()[0] - b'a');
        let (ttl, denied) = (TTLS[number].0, ex.query.question.rtype == RecordType::AAAA);
        match denied {
            true => kit::upstream(ex, Rcode::NXDOMAIN, |reply| kit::soa(reply, ttl, 1000)),
            false => kit::upstream(ex, Rcode::NOERROR, |reply| {
                kit::address(reply, ttl, count as u8)
            }),
        }
    });
    let chain = chain("cache {\n success 1024 30 4\n denial 1024 30 4\n}", &below);
    // When the entry of a question came, and the number of its answer.
    let mut model: HashMap<(u8, RecordType, bool, bool), (u64, u8)> = HashMap::new();
    let (mut now, mut asked) = (0u64, 0u8);
    for step in steps {
        advance(Duration::from_millis(step.pause)).await;
        now += step.pause;
        let letter = char::from(b'a' + step.name);
        let name = match step.upper {
            true => format!("{}.EXAMPLE", letter.to_ascii_uppercase()),
            false => format!("{letter}.example"),
        };
        let has = |flag| step.flags.contains(flag);
        let key = (step.name, step.rtype, has('d'), has('c'));
        let whole = u64::from(TTLS[usize::from(step.name)].1);
        let age = model.get(&key).map(|(came, _)| (now - came) / 1000);
        let (flag, left, number) = match age {
            Some(age) if age < whole => (" aa", whole - age, model[&key].1),
            _ => {
                model.insert(key, (now, asked));
                asked += 1;
                ("", whole, asked - 1)
            }
        };
        let expected = match step.rtype {
            RecordType::A => format!("NOERROR{flag} ra {left}:{number}"),
            _ => format!("NXDOMAIN{flag} ra {left}:SOA"),
        };
        let ex = serve(&chain, &query(&name, step.rtype, step.flags)).await;
        prop_assert_eq!(said(&ex), expected);
        prop_assert_eq!(below.asked(), usize::from(asked));
    }
    Ok(())
}
