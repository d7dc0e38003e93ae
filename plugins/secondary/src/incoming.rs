//! What a primary sends, record by record: a whole zone (RFC 5936) or what changed (RFC 1995).
//!
//! No sockets here: records go in, a zone or changes come out. Everything is bounded, because a
//! primary may be anybody who has broken into it.
use corten_plugin::wire::message::Found;
use corten_plugin::wire::{Class, HEADER_OCTETS, Name, RecordType};
use corten_zone::{Builder, RecordBuf, Soa, ZoneError, serial_newer};

/// How much a zone may be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Bounds {
    /// Records of the zone, or of the changes.
    pub(crate) records_max: u64,
    /// Octets of their names and data.
    pub(crate) octets_max: u64,
}

/// What was asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Wanted {
    /// AXFR.
    Whole,
    /// IXFR from this serial on.
    Since(u32),
}

/// What came.
#[derive(Debug)]
pub(crate) enum Received {
    /// Nothing is newer; the primary's serial.
    Current(u32),
    /// The zone.
    Whole(Box<Builder>),
    /// Changes from one version to the next, oldest first; at least one.
    Changes(Vec<Step>),
}

/// What changed from one version to the next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Step {
    pub(crate) before: RecordBuf,
    pub(crate) after: RecordBuf,
    pub(crate) removed: Vec<RecordBuf>,
    pub(crate) added: Vec<RecordBuf>,
}

/// Why what came is no transfer.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub(crate) enum Broken {
    #[error("the transfer does not begin with the zone's SOA record")]
    NoSoa,
    #[error("a SOA record is malformed")]
    MalformedSoa,
    #[error("a record of class {0}, or of a type that is in no zone")]
    Stray(Class),
    #[error("an owner is no name")]
    Owner,
    #[error("the zone changed while it was transferred: serial {0}, then {1}")]
    Changed(u32, u32),
    #[error("the changes do not hang together: after serial {0} comes {1}")]
    Gap(u32, u32),
    #[error("there are records behind the end of the transfer")]
    Behind,
    #[error("the zone has more than {0} records")]
    Records(u64),
    #[error("the zone has more than {0} octets")]
    Octets(u64),
}

/// A transfer under way.
pub(crate) struct Incoming {
    apex: Name,
    wanted: Wanted,
    bounds: Bounds,
    records: u64,
    octets: u64,
    /// Records that are not the zone's; they are left out.
    pub(crate) strays: u64,
    newest: Option<(RecordBuf, u32)>,
    state: State,
}

enum State {
    Begin,
    /// The newest SOA record has come.
    First,
    Whole(Box<Builder>),
    Removing(Vec<Step>),
    Adding(Vec<Step>),
    Over,
}

impl Incoming {
    pub(crate) fn new(apex: &Name, wanted: Wanted, bounds: Bounds) -> Self {
        Self {
            apex: apex.clone(),
            wanted,
            bounds,
            records: 0,
            octets: 0,
            strays: 0,
            newest: None,
            state: State::Begin,
        }
    }

    fn count(&mut self, octets: usize) -> Result<(), Broken> {
        self.records += 1;
        self.octets += octets as u64;
        if self.records > self.bounds.records_max {
            return Err(Broken::Records(self.bounds.records_max));
        }
        if self.octets > self.bounds.octets_max {
            return Err(Broken::Octets(self.bounds.octets_max));
        }
        Ok(())
    }

    /// To be called for a message without records: it counts as one, so that they end as well.
    pub(crate) fn nothing(&mut self) -> Result<(), Broken> {
        self.count(HEADER_OCTETS)
    }

    /// Takes the next record of an answer section; something when it was the last.
    pub(crate) fn record(&mut self, found: &Found) -> Result<Option<Received>, Broken> {
        self.count(found.owner.len() + found.rdata.len() + 10)?;
        // RFC 6895 section 3.1: 128 to 255 are questions, 41 and 0 stand for themselves.
        let meta = matches!(found.rtype.0, 0 | 128..=255) || found.rtype == RecordType::OPT;
        if found.class != Class::IN || meta {
            return Err(Broken::Stray(found.class));
        }
        let owner = Name::from_wire(&found.owner).map_err(|_| Broken::Owner)?;
        let record = RecordBuf {
            owner: owner.wire().into(),
            rtype: found.rtype,
            ttl: found.ttl,
            rdata: found.rdata[..].into(),
        };
        let soa = match found.rtype == RecordType::SOA && owner == self.apex {
            true => Some(
                Soa::read(record.as_record())
                    .ok_or(Broken::MalformedSoa)?
                    .serial,
            ),
            false => None,
        };
        match std::mem::replace(&mut self.state, State::Over) {
            State::Begin => {
                let serial = soa.ok_or(Broken::NoSoa)?;
                self.newest = Some((record, serial));
                self.state = State::First;
                Ok(None)
            }
            State::First => self.second(record, soa),
            State::Whole(builder) => self.whole(builder, record, soa),
            State::Removing(steps) => self.removing(steps, record, soa),
            State::Adding(steps) => self.adding(steps, record, soa),
            State::Over => Err(Broken::Behind),
        }
    }

    /// To be called behind each message: something when nothing more is to come.
    pub(crate) fn end_of_message(&mut self) -> Option<Received> {
        // RFC 1995 section 4: one SOA record that is not newer. A newer one alone may be a primary
        // that sends one record a message.
        let (State::First, Wanted::Since(own), Some((_, serial))) =
            (&self.state, self.wanted, &self.newest)
        else {
            return None;
        };
        let serial = *serial;
        (!serial_newer(serial, own)).then(|| {
            self.state = State::Over;
            Received::Current(serial)
        })
    }

    fn newest(&self) -> Result<&(RecordBuf, u32), Broken> {
        self.newest.as_ref().ok_or(Broken::NoSoa)
    }

    /// The second record decides what comes (RFC 1995 section 4).
    fn second(&mut self, record: RecordBuf, soa: Option<u32>) -> Result<Option<Received>, Broken> {
        if let (Wanted::Since(own), Some(serial)) = (self.wanted, soa)
            && own == serial
            && self.newest()?.1 != serial
        {
            self.state = State::Removing(vec![Step::new(record)]);
            return Ok(None);
        }
        let mut builder = Box::new(Builder::new(self.apex.wire()));
        let first = self.newest()?.0.clone();
        self.add(&mut builder, &first)?;
        self.whole(builder, record, soa)
    }

    fn whole(
        &mut self,
        mut builder: Box<Builder>,
        record: RecordBuf,
        soa: Option<u32>,
    ) -> Result<Option<Received>, Broken> {
        if let Some(serial) = soa {
            let newest = self.newest()?.1;
            return match serial == newest {
                true => Ok(Some(Received::Whole(builder))),
                false => Err(Broken::Changed(newest, serial)),
            };
        }
        self.add(&mut builder, &record)?;
        self.state = State::Whole(builder);
        Ok(None)
    }

    fn removing(
        &mut self,
        mut steps: Vec<Step>,
        record: RecordBuf,
        soa: Option<u32>,
    ) -> Result<Option<Received>, Broken> {
        let Some(step) = steps.last_mut() else {
            return Err(Broken::NoSoa);
        };
        if soa.is_some() {
            step.after = record;
            self.state = State::Adding(steps);
        } else {
            step.removed.push(record);
            self.state = State::Removing(steps);
        }
        Ok(None)
    }

    fn adding(
        &mut self,
        mut steps: Vec<Step>,
        record: RecordBuf,
        soa: Option<u32>,
    ) -> Result<Option<Received>, Broken> {
        let Some(step) = steps.last_mut() else {
            return Err(Broken::NoSoa);
        };
        let Some(serial) = soa else {
            step.added.push(record);
            self.state = State::Adding(steps);
            return Ok(None);
        };
        let reached = step.serial_after()?;
        if serial != reached {
            return Err(Broken::Gap(reached, serial));
        }
        if serial == self.newest()?.1 {
            return Ok(Some(Received::Changes(steps)));
        }
        steps.push(Step::new(record));
        self.state = State::Removing(steps);
        Ok(None)
    }

    fn add(&mut self, builder: &mut Builder, record: &RecordBuf) -> Result<(), Broken> {
        match builder.add(&record.owner, record.rtype, record.ttl, &record.rdata) {
            Ok(()) => Ok(()),
            // Not the primary's to say.
            Err(ZoneError::OutOfZone(_)) => {
                self.strays += 1;
                Ok(())
            }
            Err(_) => Err(Broken::Owner),
        }
    }
}

impl Step {
    fn new(before: RecordBuf) -> Self {
        Self {
            after: before.clone(),
            before,
            removed: Vec::new(),
            added: Vec::new(),
        }
    }

    fn serial_after(&self) -> Result<u32, Broken> {
        let soa = Soa::read(self.after.as_record()).ok_or(Broken::MalformedSoa)?;
        Ok(soa.serial)
    }
}

#[cfg(test)]
#[path = "incoming_tests.rs"]
mod tests;
