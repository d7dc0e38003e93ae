//! What the client says of itself: settings and windows.
use super::*;

impl Session {
    pub(super) fn settings(
        &mut self,
        head: Head,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        if head.has(flag::ACK) {
            return match payload {
                [] => Ok(Event::Nothing),
                _ => Err(Reason::FrameSizeError.into()),
            };
        }
        let (settings, rest) = payload.as_chunks::<6>();
        if !rest.is_empty() {
            return Err(Reason::FrameSizeError.into());
        }
        for [s0, s1, value @ ..] in settings {
            let value = u32::from_be_bytes(*value);
            match u16::from_be_bytes([*s0, *s1]) {
                setting::ENABLE_PUSH if value > 1 => return Err(Reason::ProtocolError.into()),
                setting::INITIAL_WINDOW_SIZE => {
                    if i64::from(value) > WINDOW_MAX {
                        return Err(Reason::FlowControlError.into());
                    }
                    let more = i64::from(value) - self.peer_window;
                    self.peer_window = i64::from(value);
                    for stream in &mut self.streams {
                        stream.window += more;
                        if stream.window > WINDOW_MAX {
                            return Err(Reason::FlowControlError.into());
                        }
                    }
                }
                setting::MAX_FRAME_SIZE => {
                    if !(16_384..=16_777_215).contains(&value) {
                        return Err(Reason::ProtocolError.into());
                    }
                    self.peer_frame = value as usize;
                }
                _ => (),
            }
        }
        frame::head(out, 0, kind::SETTINGS, flag::ACK, 0);
        self.send_on(out);
        Ok(Event::Nothing)
    }

    pub(super) fn window_update(
        &mut self,
        id: u32,
        payload: &[u8],
        out: &mut Vec<u8>,
    ) -> Result<Event, Fault> {
        let Some(octets) = payload.first_chunk::<4>().filter(|_| payload.len() == 4) else {
            return Err(Reason::FrameSizeError.into());
        };
        let more = i64::from(u32::from_be_bytes(*octets) & 0x7fff_ffff);
        if id == 0 {
            self.window += more;
            if more == 0 {
                return Err(Reason::ProtocolError.into());
            }
            if self.window > WINDOW_MAX {
                return Err(Reason::FlowControlError.into());
            }
        } else {
            self.must_have_been(id)?;
            let Some(at) = self.position(id) else {
                return Ok(Event::Nothing);
            };
            let stream = &mut self.streams[at];
            stream.window += more;
            if more == 0 {
                return Err(Fault::Stream(id, Reason::ProtocolError));
            }
            if stream.window > WINDOW_MAX {
                return Err(Fault::Stream(id, Reason::FlowControlError));
            }
        }
        self.send_on(out);
        Ok(Event::Nothing)
    }
}
