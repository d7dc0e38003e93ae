//! An update message taken apart (RFC 2136 sections 2 and 3).
use corten_plugin::wire::message::{Found, Message};
use corten_plugin::wire::text::TTL_MAX;
use corten_plugin::wire::text::write::has_fields;
use corten_plugin::wire::{Class, Name, Rcode, RecordType, Section};
use corten_zone::is_in;

/// Prerequisites and changes of one message, at most.
const ITEMS_MAX: usize = 4_096;

/// What must hold, and what is to change.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Update {
    pub(crate) prerequisites: Vec<Prerequisite>,
    pub(crate) changes: Vec<Change>,
}

/// What must hold before anything changes (RFC 2136 section 2.4). Owners are lower-cased.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Prerequisite {
    NameInUse(Vec<u8>),
    NameNotInUse(Vec<u8>),
    SetExists(Vec<u8>, RecordType),
    SetDoesNotExist(Vec<u8>, RecordType),
    /// One record of a set that must be there with exactly its records.
    Has(Vec<u8>, RecordType, Vec<u8>),
}

/// One step (RFC 2136 section 2.5). Owners are lower-cased.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Change {
    Add {
        owner: Vec<u8>,
        rtype: RecordType,
        ttl: u32,
        rdata: Vec<u8>,
    },
    /// Everything of a name.
    DeleteName(Vec<u8>),
    DeleteSet(Vec<u8>, RecordType),
    DeleteRecord(Vec<u8>, RecordType, Vec<u8>),
}

impl Change {
    /// The name that changes.
    pub(crate) fn owner(&self) -> &[u8] {
        match self {
            Self::Add { owner, .. }
            | Self::DeleteName(owner)
            | Self::DeleteSet(owner, _)
            | Self::DeleteRecord(owner, ..) => owner,
        }
    }

    /// The type that changes; nothing where all of them do.
    pub(crate) fn rtype(&self) -> Option<RecordType> {
        match self {
            Self::Add { rtype, .. }
            | Self::DeleteSet(_, rtype)
            | Self::DeleteRecord(_, rtype, _) => Some(*rtype),
            Self::DeleteName(_) => None,
        }
    }
}

/// Reads a message of a zone.
///
/// # Errors
/// The RCODE of RFC 2136 sections 3.2 and 3.4.1.
pub(crate) fn read(octets: &[u8], apex: &Name) -> Result<Update, Rcode> {
    let message = Message::read(octets).map_err(|_| Rcode::FORMERR)?;
    let (mut records, mut found) = (message.update_records(), Found::default());
    let mut update = Update::default();
    while let Some(section) = records.next_into(&mut found).map_err(|_| Rcode::FORMERR)? {
        if section == Section::Additional {
            break;
        }
        if update.prerequisites.len() + update.changes.len() >= ITEMS_MAX {
            return Err(Rcode::REFUSED);
        }
        found.owner.make_ascii_lowercase();
        match section {
            Section::Answer => update.prerequisites.push(prerequisite(&found, apex)?),
            _ => update.changes.push(change(&found, apex)?),
        }
    }
    Ok(update)
}

/// Types that stand for others, or for a message (RFC 6895 section 3.1).
fn is_meta(rtype: RecordType) -> bool {
    matches!(rtype.0, 0 | 41 | 128..=255)
}

/// RFC 2136 section 3.2.
fn prerequisite(found: &Found, apex: &Name) -> Result<Prerequisite, Rcode> {
    if found.ttl != 0 {
        return Err(Rcode::FORMERR);
    }
    if !is_in(&found.owner, apex.wire()) {
        return Err(Rcode::NOTZONE);
    }
    let owner = found.owner.clone();
    let any = found.rtype == RecordType::ANY;
    if is_meta(found.rtype) && !any {
        return Err(Rcode::FORMERR);
    }
    Ok(match (found.class, found.rdata.is_empty(), any) {
        (Class::ANY, true, true) => Prerequisite::NameInUse(owner),
        (Class::ANY, true, false) => Prerequisite::SetExists(owner, found.rtype),
        (Class::NONE, true, true) => Prerequisite::NameNotInUse(owner),
        (Class::NONE, true, false) => Prerequisite::SetDoesNotExist(owner, found.rtype),
        (Class::IN, _, false) => Prerequisite::Has(owner, found.rtype, found.rdata.clone()),
        _ => return Err(Rcode::FORMERR),
    })
}

/// RFC 2136 section 3.4.1.
fn change(found: &Found, apex: &Name) -> Result<Change, Rcode> {
    if !is_in(&found.owner, apex.wire()) {
        return Err(Rcode::NOTZONE);
    }
    let (owner, rtype) = (found.owner.clone(), found.rtype);
    let any = rtype == RecordType::ANY;
    if is_meta(rtype) && !any {
        return Err(Rcode::FORMERR);
    }
    Ok(match found.class {
        // What others cannot read, secondaries for one, is nothing to serve.
        Class::IN if !any && has_fields(rtype, &found.rdata) => Change::Add {
            owner,
            rtype,
            // RFC 2181 section 8.
            ttl: if found.ttl > TTL_MAX { 0 } else { found.ttl },
            rdata: found.rdata.clone(),
        },
        Class::ANY if found.ttl == 0 && found.rdata.is_empty() => match any {
            true => Change::DeleteName(owner),
            false => Change::DeleteSet(owner, rtype),
        },
        Class::NONE if found.ttl == 0 && !any => {
            Change::DeleteRecord(owner, rtype, found.rdata.clone())
        }
        _ => return Err(Rcode::FORMERR),
    })
}
