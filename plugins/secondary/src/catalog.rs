//! Catalog zones (RFC 9432): a zone whose records say which zones there are.
use std::collections::BTreeMap;

use corten_plugin::wire::{Name, RecordType};
use corten_zone::Zone;

/// Zones of one catalog.
const MEMBERS_MAX: usize = 100_000;

/// A member of a catalog.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Member {
    /// The label of its node; another one means that everything about it begins anew (section 5.4).
    pub(crate) id: Box<[u8]>,
    /// The zone.
    pub(crate) zone: Name,
    /// Property `coo`: the catalog that it moves to (section 4.4.1).
    pub(crate) moves_to: Option<Name>,
}

/// Why a zone is no catalog; it is not taken up then (section 5.1).
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum CatalogError {
    #[error("catalog zone {0} has no NS record")]
    NoNs(Box<Name>),
    #[error("catalog zone {0} must have exactly one version TXT record")]
    Version(Box<Name>),
    #[error("catalog zone {0} has unsupported version {1}")]
    OtherVersion(Box<Name>, String),
    #[error("catalog member {0} must have exactly one PTR record")]
    SeveralZones(String),
    #[error("catalog member zone {0} is listed twice")]
    Twice(Box<Name>),
    #[error("catalog member {0} has more than one coo PTR record")]
    SeveralCatalogs(String),
    #[error("catalog zone {0} has more than {MEMBERS_MAX} members")]
    TooMany(Box<Name>),
}

#[derive(Default)]
struct Draft {
    zones: Vec<Name>,
    moves_to: Vec<Name>,
}

/// Reads the members of a catalog. Properties that are not known are left alone (section 4.3).
pub(crate) fn members(zone: &Zone) -> Result<Vec<Member>, CatalogError> {
    // A zone's apex is a name.
    let apex = Name::from_wire(zone.apex()).unwrap_or_default();
    let depth = apex.label_count();
    let mut has_ns = false;
    let mut versions = Vec::new();
    let mut drafts: BTreeMap<Box<[u8]>, Draft> = BTreeMap::new();
    for record in zone.records() {
        let Ok(owner) = Name::from_wire(record.owner) else {
            continue;
        };
        // Labels in front of the apex, from the right.
        let front: Vec<_> = (0..owner.label_count().saturating_sub(depth))
            .rev()
            .filter_map(|index| owner.label(index))
            .collect();
        match (&front[..], record.rtype) {
            ([], RecordType::NS) => has_ns = true,
            ([b"version"], RecordType::TXT) => versions.push(text(record.rdata)),
            ([b"zones", id], RecordType::PTR) => {
                let draft = drafts.entry((*id).into()).or_default();
                draft.zones.extend(Name::from_wire(record.rdata));
            }
            ([b"zones", id, b"coo"], RecordType::PTR) => {
                let draft = drafts.entry((*id).into()).or_default();
                draft.moves_to.extend(Name::from_wire(record.rdata));
            }
            _ => (),
        }
        if drafts.len() > MEMBERS_MAX {
            return Err(CatalogError::TooMany(apex.into()));
        }
    }
    if !has_ns {
        return Err(CatalogError::NoNs(apex.into()));
    }
    match &versions[..] {
        [only] if only == "2" => (),
        [other] => {
            return Err(CatalogError::OtherVersion(
                apex.into(),
                format!("{other:?}"),
            ));
        }
        _ => return Err(CatalogError::Version(apex.into())),
    }
    let mut seen = std::collections::HashSet::new();
    let mut members = Vec::with_capacity(drafts.len());
    for (id, draft) in drafts {
        let shown = || String::from_utf8_lossy(&id).into_owned();
        let zone = match &draft.zones[..] {
            [zone] => zone.clone(),
            // Only properties: there is no such member.
            [] => continue,
            _ => return Err(CatalogError::SeveralZones(shown())),
        };
        if draft.moves_to.len() > 1 {
            return Err(CatalogError::SeveralCatalogs(shown()));
        }
        if !seen.insert(zone.clone()) {
            return Err(CatalogError::Twice(zone.into()));
        }
        members.push(Member {
            id,
            zone,
            moves_to: draft.moves_to.into_iter().next(),
        });
    }
    Ok(members)
}

/// The text of a TXT record, its strings put together.
fn text(mut rdata: &[u8]) -> String {
    let mut text = Vec::new();
    while let Some((length, behind)) = rdata.split_first() {
        let Some((own, rest)) = behind.split_at_checked(usize::from(*length)) else {
            break;
        };
        text.extend_from_slice(own);
        rdata = rest;
    }
    String::from_utf8_lossy(&text).into_owned()
}

#[cfg(test)]
mod tests {
    use super::*;
    use corten_zone::Builder;

    fn wire(text: &str) -> Vec<u8> {
        text.parse::<Name>().unwrap().wire().to_vec()
    }

    /// A catalog of these lines: owner in front of the apex, type, name or text.
    fn read(lines: &[&str]) -> Result<Vec<Member>, CatalogError> {
        let mut builder = Builder::new(&wire("cat.test"));
        let mut soa = vec![0, 0];
        soa.extend([0; 20]);
        builder
            .add(&wire("cat.test"), RecordType::SOA, 0, &soa)
            .unwrap();
        for line in lines {
            let [owner, rtype, value] = line.split(' ').collect::<Vec<_>>()[..] else {
                panic!("{line}");
            };
            let rtype: RecordType = rtype.parse().unwrap();
            let rdata = match rtype {
                RecordType::TXT => [&[value.len() as u8], value.as_bytes()].concat(),
                _ => wire(value),
            };
            let owner = match owner {
                "@" => wire("cat.test"),
                owner => wire(&format!("{owner}.cat.test")),
            };
            builder.add(&owner, rtype, 0, &rdata).unwrap();
        }
        members(&builder.build().unwrap())
    }

    #[test]
    fn members_are_read_with_their_properties() {
        let found = read(&[
            "@ NS invalid",
            "version TXT 2",
            "b.zones PTR Sub.Two.test",
            "coo.b.zones PTR other.test",
            "group.b.zones TXT red",
            "a.zones PTR one.test",
            "coo.gone.zones PTR other.test",
            "x.y.a.zones PTR no.test",
        ])
        .unwrap();
        let shown: Vec<_> = found
            .iter()
            .map(|member| {
                let id = String::from_utf8_lossy(&member.id).into_owned();
                (
                    id,
                    member.zone.to_string(),
                    member.moves_to.as_ref().map(Name::to_string),
                )
            })
            .collect();
        assert_eq!(
            shown,
            [
                ("a".to_owned(), "one.test.".to_owned(), None),
                (
                    "b".to_owned(),
                    "sub.two.test.".to_owned(),
                    Some("other.test.".to_owned())
                )
            ]
        );
    }

    #[test]
    fn what_is_no_catalog_is_refused() {
        for (lines, error) in [
            (
                &["version TXT 2"][..],
                "catalog zone cat.test. has no NS record",
            ),
            (
                &["@ NS invalid"],
                "catalog zone cat.test. must have exactly one version TXT record",
            ),
            (
                &["@ NS invalid", "version TXT 1"],
                "catalog zone cat.test. has unsupported version \"1\"",
            ),
            (
                &["@ NS invalid", "version TXT 2", "version TXT 3"],
                "catalog zone cat.test. must have exactly one version TXT record",
            ),
            (
                &[
                    "@ NS invalid",
                    "version TXT 2",
                    "a.zones PTR x.test",
                    "a.zones PTR y.test",
                ],
                "catalog member a must have exactly one PTR record",
            ),
            (
                &[
                    "@ NS invalid",
                    "version TXT 2",
                    "a.zones PTR x.test",
                    "b.zones PTR X.test",
                ],
                "catalog member zone x.test. is listed twice",
            ),
        ] {
            assert_eq!(read(lines).unwrap_err().to_string(), error);
        }
    }
}
