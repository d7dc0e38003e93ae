//! Heads of frames, and frames that are written (RFC 9113 section 4, 6).

/// Octets of a frame's head.
pub(crate) const HEAD: usize = 9;
/// Largest payload that is taken, which is the smallest that a peer may insist on.
pub(crate) const PAYLOAD_MAX: usize = 16_384;

/// Frame types.
pub(crate) mod kind {
    pub(crate) const DATA: u8 = 0;
    pub(crate) const HEADERS: u8 = 1;
    pub(crate) const PRIORITY: u8 = 2;
    pub(crate) const RST_STREAM: u8 = 3;
    pub(crate) const SETTINGS: u8 = 4;
    pub(crate) const PUSH_PROMISE: u8 = 5;
    pub(crate) const PING: u8 = 6;
    pub(crate) const GOAWAY: u8 = 7;
    pub(crate) const WINDOW_UPDATE: u8 = 8;
    pub(crate) const CONTINUATION: u8 = 9;
}

/// Flags.
pub(crate) mod flag {
    pub(crate) const ACK: u8 = 1;
    pub(crate) const END_STREAM: u8 = 1;
    pub(crate) const END_HEADERS: u8 = 4;
    pub(crate) const PADDED: u8 = 8;
    pub(crate) const PRIORITY: u8 = 0x20;
}

/// Settings.
pub(crate) mod setting {
    pub(crate) const ENABLE_PUSH: u16 = 2;
    pub(crate) const MAX_CONCURRENT_STREAMS: u16 = 3;
    pub(crate) const INITIAL_WINDOW_SIZE: u16 = 4;
    pub(crate) const MAX_FRAME_SIZE: u16 = 5;
    pub(crate) const MAX_HEADER_LIST_SIZE: u16 = 6;
}

/// Why a stream or a connection ends (RFC 9113 section 7).
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
#[allow(missing_docs, reason = "named by the RFC")]
pub enum Reason {
    NoError = 0,
    ProtocolError = 1,
    InternalError = 2,
    FlowControlError = 3,
    StreamClosed = 5,
    FrameSizeError = 6,
    RefusedStream = 7,
    Cancel = 8,
    CompressionError = 9,
    EnhanceYourCalm = 11,
}

/// The head of a frame.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Head {
    pub(crate) length: usize,
    pub(crate) kind: u8,
    pub(crate) flags: u8,
    pub(crate) stream: u32,
}

impl Head {
    pub(crate) fn read(input: &[u8]) -> Option<Self> {
        let [l0, l1, l2, kind, flags, stream @ ..] = *input.first_chunk::<HEAD>()?;
        Some(Self {
            length: u32::from_be_bytes([0, l0, l1, l2]) as usize,
            kind,
            flags,
            stream: u32::from_be_bytes(stream) & 0x7fff_ffff,
        })
    }

    pub(crate) fn has(self, flag: u8) -> bool {
        self.flags & flag != 0
    }
}

/// Writes the head of a frame; its payload follows.
pub(crate) fn head(out: &mut Vec<u8>, length: usize, kind: u8, flags: u8, stream: u32) {
    let [_, l0, l1, l2] = (length as u32).to_be_bytes();
    let [s0, s1, s2, s3] = stream.to_be_bytes();
    out.extend_from_slice(&[l0, l1, l2, kind, flags, s0, s1, s2, s3]);
}

/// Writes a header block, in as many frames as the peer's frame size asks for.
pub(crate) fn headers(out: &mut Vec<u8>, stream: u32, block: &[u8], end_stream: bool, max: usize) {
    let mut kind = kind::HEADERS;
    let mut flags = if end_stream { flag::END_STREAM } else { 0 };
    let mut rest = block;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(max));
        if behind.is_empty() {
            flags |= flag::END_HEADERS;
        }
        head(out, part.len(), kind, flags, stream);
        out.extend_from_slice(part);
        if behind.is_empty() {
            return;
        }
        (rest, kind, flags) = (behind, kind::CONTINUATION, 0);
    }
}

/// Writes what of a body the windows allow.
pub(crate) fn data(out: &mut Vec<u8>, stream: u32, body: &[u8], end_stream: bool, max: usize) {
    let mut rest = body;
    loop {
        let (part, behind) = rest.split_at(rest.len().min(max));
        let last = behind.is_empty();
        let flags = if last && end_stream {
            flag::END_STREAM
        } else {
            0
        };
        head(out, part.len(), kind::DATA, flags, stream);
        out.extend_from_slice(part);
        if last {
            return;
        }
        rest = behind;
    }
}

pub(crate) fn reset(out: &mut Vec<u8>, stream: u32, reason: Reason) {
    head(out, 4, kind::RST_STREAM, 0, stream);
    out.extend_from_slice(&[0, 0, 0, reason as u8]);
}

pub(crate) fn window_update(out: &mut Vec<u8>, stream: u32, octets: u32) {
    head(out, 4, kind::WINDOW_UPDATE, 0, stream);
    out.extend_from_slice(&octets.to_be_bytes());
}

pub(crate) fn go_away(out: &mut Vec<u8>, last: u32, reason: Reason) {
    head(out, 8, kind::GOAWAY, 0, 0);
    out.extend_from_slice(&last.to_be_bytes());
    out.extend_from_slice(&[0, 0, 0, reason as u8]);
}

pub(crate) fn settings(out: &mut Vec<u8>, values: &[(u16, u32)]) {
    head(out, 6 * values.len(), kind::SETTINGS, 0, 0);
    for (setting, value) in values {
        out.extend_from_slice(&setting.to_be_bytes());
        out.extend_from_slice(&value.to_be_bytes());
    }
}
