//! From a zone and what changed to the next version.
use std::collections::HashMap;

use corten_plugin::wire::RecordType;
use corten_zone::{Delta, Names, RecordBuf, Zone, ZoneError};

use crate::incoming::Step;

/// Why changes do not fit the zone that they are for; a whole transfer mends it.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Misfit {
    #[error("a record that is to go is not there")]
    NotThere,
    #[error("a record that is to come is there already")]
    There,
    #[error(transparent)]
    Zone(#[from] ZoneError),
}

/// A record but for its TTL.
type Key<'s> = (&'s [u8], RecordType, &'s [u8]);

/// What becomes of a record in the end.
enum Change<'s> {
    Removed,
    Added(&'s RecordBuf),
    /// It was there, and is there again, maybe with another TTL.
    Replaced(&'s RecordBuf),
}

/// The zone after all steps, and what changed altogether (RFC 1995 section 5 calls it condensed).
pub(crate) fn apply(zone: &Zone, steps: &[Step]) -> Result<(Zone, Delta), Misfit> {
    let changes = net(steps)?;
    let (Some(first), Some(last)) = (steps.first(), steps.last()) else {
        return Err(Misfit::NotThere);
    };
    let mut delta = Delta {
        before: first.before.clone(),
        after: last.after.clone(),
        removed: Vec::new(),
        added: Vec::new(),
    };
    let mut names = Names::new();
    let owners = changes.keys().map(|(owner, ..)| *owner);
    for owner in owners.chain([zone.apex()]) {
        names.entry(owner.to_vec()).or_default();
    }
    let mut met = 0;
    for (owner, records) in &mut names {
        let mut keep = |record: &RecordBuf| {
            records.push((record.rtype, record.ttl, record.rdata.clone()));
        };
        if **owner == *zone.apex() {
            keep(&last.after);
        }
        for record in zone.records_at(owner) {
            if record.rtype == RecordType::SOA && record.owner == zone.apex() {
                continue;
            }
            let old = record.to_owned();
            match changes.get(&(record.owner, record.rtype, record.rdata)) {
                None => keep(&old),
                Some(Change::Added(_)) => return Err(Misfit::There),
                Some(Change::Removed) => {
                    met += 1;
                    delta.removed.push(old);
                }
                Some(Change::Replaced(new)) => {
                    met += 1;
                    keep(new);
                    if new.ttl != old.ttl {
                        delta.removed.push(old);
                        delta.added.push((*new).clone());
                    }
                }
            }
        }
    }
    let mut expected = 0;
    for change in changes.values() {
        match change {
            Change::Added(new) => {
                let records = names.entry(new.owner.to_vec()).or_default();
                records.push((new.rtype, new.ttl, new.rdata.clone()));
                delta.added.push((*new).clone());
            }
            Change::Removed | Change::Replaced(_) => expected += 1,
        }
    }
    if met != expected {
        return Err(Misfit::NotThere);
    }
    delta.removed.sort();
    delta.added.sort();
    Ok((zone.with(&names)?, delta))
}

fn net(steps: &[Step]) -> Result<HashMap<Key<'_>, Change<'_>>, Misfit> {
    let mut changes: HashMap<Key<'_>, Change<'_>> = HashMap::new();
    fn key(record: &RecordBuf) -> Key<'_> {
        (&record.owner, record.rtype, &record.rdata)
    }
    for step in steps {
        for record in &step.removed {
            match changes.remove(&key(record)) {
                // It came and goes.
                Some(Change::Added(_)) => None,
                Some(Change::Removed) => return Err(Misfit::NotThere),
                Some(Change::Replaced(_)) | None => changes.insert(key(record), Change::Removed),
            };
        }
        for record in &step.added {
            let change = match changes.get(&key(record)) {
                None => Change::Added(record),
                Some(Change::Removed) => Change::Replaced(record),
                Some(_) => return Err(Misfit::There),
            };
            changes.insert(key(record), change);
        }
    }
    Ok(changes)
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_plugin::wire::Name;

    fn record(text: &str, ttl: u32) -> RecordBuf {
        RecordBuf {
            owner: text.parse::<Name>().unwrap().wire().into(),
            rtype: RecordType::A,
            ttl,
            rdata: [192, 0, 2, 1].into(),
        }
    }

    fn soa(serial: u32) -> RecordBuf {
        let mut rdata = vec![0, 0];
        rdata.extend(serial.to_be_bytes());
        rdata.extend([0; 16]);
        RecordBuf {
            owner: b"\x07example\0"[..].into(),
            rtype: RecordType::SOA,
            ttl: 60,
            rdata: rdata.into(),
        }
    }

    fn zone(serial: u32, names: &[&str]) -> Zone {
        let mut builder = corten_zone::Builder::new(b"\x07example\0");
        let records = names.iter().map(|name| record(name, 60));
        for record in records.chain([soa(serial)]) {
            builder
                .add(&record.owner, record.rtype, record.ttl, &record.rdata)
                .unwrap();
        }
        builder.build().unwrap()
    }

    fn step(serial: u32, removed: &[(&str, u32)], added: &[(&str, u32)]) -> Step {
        let records =
            |list: &[(&str, u32)]| list.iter().map(|(name, ttl)| record(name, *ttl)).collect();
        Step {
            before: soa(serial),
            after: soa(serial + 1),
            removed: records(removed),
            added: records(added),
        }
    }

    #[test]
    fn the_next_version_is_what_the_changes_make_of_this_one() {
        let old = zone(1, &["a.example", "b.example", "c.example"]);
        let (new, delta) = apply(
            &old,
            &[
                step(
                    1,
                    &[("a.example", 60)],
                    &[("d.example", 60), ("x.example", 60)],
                ),
                step(
                    2,
                    &[("b.example", 60), ("x.example", 60)],
                    &[("b.example", 30)],
                ),
                step(3, &[("c.example", 60)], &[]),
                step(4, &[], &[("c.example", 60)]),
            ],
        )
        .unwrap();
        let names: Vec<_> = new
            .records()
            .map(|record| {
                (
                    Name::from_wire(record.owner).unwrap().to_string(),
                    record.ttl,
                )
            })
            .collect();
        let expected = [
            ("example.", 60),
            ("b.example.", 30),
            ("c.example.", 60),
            ("d.example.", 60),
        ];
        assert_eq!(names, expected.map(|(name, ttl)| (name.to_owned(), ttl)));
        assert_eq!(new.soa().serial, 5);
        assert_eq!(delta, Delta::between(&old, &new));
    }

    #[test]
    fn changes_of_another_zone_do_not_fit() {
        let old = zone(1, &["a.example"]);
        for (steps, misfit) in [
            (vec![step(1, &[("b.example", 60)], &[])], Misfit::NotThere),
            (vec![step(1, &[], &[("a.example", 60)])], Misfit::There),
            (
                vec![
                    step(1, &[("a.example", 60)], &[]),
                    step(2, &[("a.example", 60)], &[]),
                ],
                Misfit::NotThere,
            ),
            (
                vec![
                    step(1, &[], &[("b.example", 60)]),
                    step(2, &[], &[("b.example", 60)]),
                ],
                Misfit::There,
            ),
            (vec![], Misfit::NotThere),
        ] {
            assert_eq!(apply(&old, &steps).unwrap_err(), misfit);
        }
        let outside = step(1, &[], &[("a.other", 60)]);
        assert!(matches!(apply(&old, &[outside]), Err(Misfit::Zone(_))));
    }
}
