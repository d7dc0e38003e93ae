//! Header blocks: requests begin, trailers end them.
use std::time::Instant;

use super::bodies::unpadded;
use super::*;
use crate::block::Block;
use crate::request::length;

impl Session {
    pub(super) fn headers(
        &mut self,
        head: Head,
        payload: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        let mut block = unpadded(head, payload)?;
        if head.has(flag::PRIORITY) {
            let (priority, rest) = block
                .split_first_chunk::<5>()
                .ok_or(Reason::FrameSizeError)?;
            let [dependency @ .., _] = *priority;
            if u32::from_be_bytes(dependency) & 0x7fff_ffff == head.stream {
                // The block counts for the table, whatever becomes of the stream.
                self.skim(rest)?;
                self.last = self.last.max(head.stream);
                return Err(Fault::Stream(head.stream, Reason::ProtocolError));
            }
            block = rest;
        }
        let ends = head.has(flag::END_STREAM);
        if head.has(flag::END_HEADERS) {
            return self.begin(head.stream, ends, block, now, out);
        }
        self.block_of = Some((head.stream, ends, 1));
        self.block.clear();
        self.block.extend_from_slice(block);
        Ok(Event::Nothing)
    }

    pub(super) fn continuation(
        &mut self,
        head: Head,
        payload: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        let Some((stream, ends, frames)) = self.block_of.filter(|block| block.0 == head.stream)
        else {
            return Err(Reason::ProtocolError.into());
        };
        if frames >= BLOCK_FRAMES_MAX || self.block.len() + payload.len() > BLOCK_OCTETS_MAX {
            return Err(Reason::EnhanceYourCalm.into());
        }
        self.block.extend_from_slice(payload);
        self.block_of = Some((stream, ends, frames + 1));
        if !head.has(flag::END_HEADERS) {
            return Ok(Event::Nothing);
        }
        self.block_of = None;
        let block = std::mem::take(&mut self.block);
        let result = self.begin(stream, ends, &block, now, out);
        self.block = block;
        result
    }

    /// A whole block has come.
    fn begin(
        &mut self,
        id: u32,
        ends: bool,
        block: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        if id.is_multiple_of(2) {
            return Err(Reason::ProtocolError.into());
        }
        if id <= self.last {
            return self.trailers(id, ends, block, now, out);
        }
        self.last = id;
        let mut request = self.spare.pop().unwrap_or_default();
        request.clear();
        if !self.read(block, &mut request)? {
            self.recycle(request);
            return Err(Fault::Stream(id, Reason::ProtocolError));
        }
        if self.leaving {
            // The client learns from GOAWAY that this one has not been looked at.
            self.recycle(request);
            self.note_reset(id);
            return self.nuisance(1, now);
        }
        if self.streams.len() >= self.config.streams_max as usize || self.pending() > PENDING_MAX {
            self.recycle(request);
            return Err(Fault::Stream(id, Reason::RefusedStream));
        }
        let left = match request.field(Field::ContentLength) {
            None => None,
            Some(text) => match length(text) {
                Some(length) if !ends || length == 0 => Some(length),
                _ => {
                    self.recycle(request);
                    return Err(Fault::Stream(id, Reason::ProtocolError));
                }
            },
        };
        if left.is_some_and(|left| left > u64::from(self.config.body_octets_max)) {
            request.problem = Some(Problem::BodyTooLarge);
        }
        let complete = ends || request.problem.is_some();
        if complete && !ends {
            self.note_reset(id);
        }
        self.streams.push(Stream {
            id,
            window: self.peer_window,
            since: now,
            state: State::Receiving { request, left },
        });
        match complete {
            true => Ok(self.hand_out(self.streams.len() - 1, out)),
            false => Ok(Event::Nothing),
        }
    }

    /// A block on a stream that is there already ends its request; what the fields say does not
    /// matter.
    fn trailers(
        &mut self,
        id: u32,
        ends: bool,
        block: &[u8],
        now: Instant,
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        let mut good = true;
        self.decoder
            .decode(block, |line| {
                good &= !line.field.is_pseudo() && line.field != Field::Forbidden;
            })
            .map_err(|_| Reason::CompressionError)?;
        let Some(at) = self.position(id) else {
            return match self.was_reset(id) {
                true => self.nuisance(1, now),
                false => Err(Reason::StreamClosed.into()),
            };
        };
        match &self.streams[at].state {
            State::Receiving { left, .. } => {
                if !good || !ends || left.is_some_and(|left| left > 0) {
                    return Err(Fault::Stream(id, Reason::ProtocolError));
                }
                Ok(self.hand_out(at, out))
            }
            _ => Err(Fault::Stream(id, Reason::StreamClosed)),
        }
    }

    /// Reads a block into a request; false when it is malformed (RFC 9113 section 8.1.1).
    fn read(&mut self, block: &[u8], request: &mut Request) -> Result<bool, Fault> {
        let mut fields = Block::new(self.config.header_octets_max);
        self.decoder
            .decode(block, |line| fields.take(&line, Some(&mut *request)))
            .map_err(|_| Reason::CompressionError)?;
        if fields.too_large {
            request.problem = Some(Problem::HeadersTooLarge);
            return Ok(fields.good);
        }
        Ok(fields.good && request.has_target())
    }

    /// Reads a block that counts for the table alone.
    fn skim(&mut self, block: &[u8]) -> Result<(), Fault> {
        self.decoder
            .decode(block, |_| ())
            .map_err(|_| Reason::CompressionError.into())
    }
}
