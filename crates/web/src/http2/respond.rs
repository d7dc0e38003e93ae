//! Responses, as far as the client has room for them.
use std::time::Instant;

use super::*;

impl Session {
    /// Answers a request: a header block (see [`hpack`]), a body, and a block of trailers where
    /// there are any. Does nothing when the stream is gone.
    pub fn respond(
        &mut self,
        id: u32,
        block: &[u8],
        body: &[u8],
        trailers: Option<&[u8]>,
        now: Instant,
        out: &mut Vec<u8>,
    ) {
        let Some(at) = self.position(id) else {
            return;
        };
        let max = self.peer_frame;
        let bare = body.is_empty() && trailers.is_none();
        frame::headers(out, id, block, bare, max);
        let stream = &mut self.streams[at];
        let length = body.len() as i64;
        if !bare && (length > stream.window || length > self.window) {
            stream.since = now;
            stream.state = State::Sending {
                body: body.to_vec(),
                at: 0,
                trailers: trailers.map(<[u8]>::to_vec),
            };
            return self.send_on(out);
        }
        self.window -= length;
        if !bare {
            finish(out, id, body, trailers, max);
        }
        self.close(at, out);
    }

    /// Gives up a request without a response.
    pub fn refuse(&mut self, id: u32, reason: Reason, out: &mut Vec<u8>) {
        if self.position(id).is_some() {
            self.abandon(id, reason, out);
        }
    }

    /// Sends of the responses that wait what there is room for now.
    pub(super) fn send_on(&mut self, out: &mut Vec<u8>) {
        let max = self.peer_frame;
        let mut at = 0;
        while let Some(stream) = self.streams.get_mut(at) {
            let id = stream.id;
            let State::Sending {
                body,
                at: sent,
                trailers,
            } = &mut stream.state
            else {
                at += 1;
                continue;
            };
            let rest = &body[*sent..];
            let room = self.window.min(stream.window).max(0) as usize;
            if rest.len() > room {
                if room > 0 {
                    frame::data(out, id, &rest[..room], false, max);
                    *sent += room;
                    stream.window -= room as i64;
                    self.window -= room as i64;
                }
                at += 1;
                continue;
            }
            self.window -= rest.len() as i64;
            finish(out, id, rest, trailers.as_deref(), max);
            // The last one takes its place.
            self.close(at, out);
        }
    }

    /// Octets of responses that wait for room.
    pub(super) fn pending(&self) -> usize {
        let waiting = |stream: &Stream| match &stream.state {
            State::Sending { body, at, .. } => body.len() - at,
            _ => 0,
        };
        self.streams.iter().map(waiting).sum()
    }

    /// The response has gone. When the request had not ended, the client is told that nobody wants
    /// the rest (RFC 9113 section 8.1).
    fn close(&mut self, at: usize, out: &mut Vec<u8>) {
        let stream = self.streams.swap_remove(at);
        if self.was_reset(stream.id) {
            frame::reset(out, stream.id, Reason::NoError);
        }
    }
}

/// The last of a response.
fn finish(out: &mut Vec<u8>, id: u32, body: &[u8], trailers: Option<&[u8]>, max: usize) {
    match trailers {
        None => frame::data(out, id, body, true, max),
        Some(trailers) => {
            if !body.is_empty() {
                frame::data(out, id, body, false, max);
            }
            frame::headers(out, id, trailers, true, max);
        }
    }
}
