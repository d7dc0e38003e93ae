//! Bodies of requests, and how much of them is held.
use std::time::Instant;

use super::*;

impl Session {
    pub(super) fn data(
        &mut self,
        head: Head,
        payload: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        self.received += payload.len() as u32;
        if self.received > WINDOW {
            return Err(Reason::FlowControlError.into());
        }
        let octets = unpadded(head, payload)?;
        let (id, ends) = (head.stream, head.has(flag::END_STREAM));
        if octets.is_empty() && !ends {
            self.nuisance(1, now)?;
        }
        let Some(at) = self.position(id) else {
            self.make_room(out);
            return match self.was_reset(id) {
                true => self.nuisance(1, now),
                false if id > self.last => Err(Reason::ProtocolError.into()),
                false => Err(Reason::StreamClosed.into()),
            };
        };
        let stream = &mut self.streams[at];
        let State::Receiving { request, left } = &mut stream.state else {
            return Err(Fault::Stream(id, Reason::StreamClosed));
        };
        if request.body.len() + octets.len() > self.config.body_octets_max as usize {
            request.problem = Some(Problem::BodyTooLarge);
            request.body.clear();
            if !ends {
                self.note_reset(id);
            }
            return Ok(self.hand_out(at, out));
        }
        request.body.extend_from_slice(octets);
        if let Some(left) = left {
            match left.checked_sub(octets.len() as u64) {
                Some(rest) if rest == 0 || !ends => *left = rest,
                _ => return Err(Fault::Stream(id, Reason::ProtocolError)),
            }
        }
        match ends {
            true => Ok(self.hand_out(at, out)),
            false => Ok(Event::Nothing),
        }
    }

    /// A request is complete, or nothing more of it is of interest.
    pub(super) fn hand_out(&mut self, at: usize, out: &mut Vec<u8>) -> Event {
        let stream = &mut self.streams[at];
        let id = stream.id;
        let State::Receiving { request, .. } =
            std::mem::replace(&mut stream.state, State::Answering)
        else {
            return Event::Nothing;
        };
        self.calm.earn();
        self.make_room(out);
        Event::Request(id, request)
    }

    /// Makes room for more bodies once half of it is used up; what incomplete requests hold stays
    /// taken.
    pub(super) fn make_room(&mut self, out: &mut Vec<u8>) {
        if self.received < WINDOW / 2 {
            return;
        }
        let held = |stream: &Stream| match &stream.state {
            State::Receiving { request, .. } => request.body.len() as u32,
            _ => 0,
        };
        let held: u32 = self.streams.iter().map(held).sum();
        let room = self.received.saturating_sub(held);
        if room > 0 {
            frame::window_update(out, 0, room);
            self.received -= room;
        }
    }
}

/// A payload without its padding.
pub(super) fn unpadded(head: Head, payload: &[u8]) -> Result<&[u8], Fault> {
    if !head.has(flag::PADDED) {
        return Ok(payload);
    }
    let (&padding, rest) = payload.split_first().ok_or(Reason::FrameSizeError)?;
    let length = rest
        .len()
        .checked_sub(usize::from(padding))
        .ok_or(Reason::ProtocolError)?;
    Ok(&rest[..length])
}
