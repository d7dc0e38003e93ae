//! A file in pieces of whole lines.
use std::io::{self, Read};

/// Octets that are read at once.
const CHUNK_OCTETS: usize = 256 * 1024;

/// Octets of the longest entry. RDATA of 65,535 octets, each written as an escape, has a quarter of that.
pub(super) const ENTRY_OCTETS_MAX: usize = 1024 * 1024;

/// Reads ahead, and hands out what is there up to the last line's end.
pub(super) struct Chunks<R> {
    from: R,
    /// What was read; its length is its capacity.
    buffer: Vec<u8>,
    /// The part of the buffer that is read and not yet used.
    held: std::ops::Range<usize>,
    ended: bool,
    /// Octets read.
    pub(super) total: u64,
}

/// What there is to read.
pub(super) struct Piece<'b> {
    /// Whole lines, but for the last one of all.
    pub(super) octets: &'b [u8],
    /// Nothing comes behind it.
    pub(super) last: bool,
}

impl<R: Read> Chunks<R> {
    pub(super) fn new(from: R) -> Self {
        Self {
            from,
            buffer: vec![0; CHUNK_OCTETS],
            held: 0..0,
            ended: false,
            total: 0,
        }
    }

    /// Reads as much as there is room for. Nothing if an entry would have to be longer than is allowed.
    pub(super) fn piece(&mut self) -> io::Result<Option<Piece<'_>>> {
        self.buffer.copy_within(self.held.clone(), 0);
        self.held = 0..self.held.len();
        // Much that is held is an entry that does not end yet.
        if self.held.len() * 2 > self.buffer.len() {
            if self.buffer.len() >= ENTRY_OCTETS_MAX * 2 {
                return Ok(None);
            }
            self.buffer.resize(self.buffer.len() * 2, 0);
        }
        while !self.ended && self.held.end < self.buffer.len() {
            match self.from.read(&mut self.buffer[self.held.end..]) {
                Ok(0) => self.ended = true,
                Ok(count) => {
                    self.held.end += count;
                    self.total += count as u64;
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => (),
                Err(error) => return Err(error),
            }
        }
        let held = &self.buffer[..self.held.end];
        let whole = match self.ended {
            true => held.len(),
            false => held
                .iter()
                .rposition(|octet| *octet == b'\n')
                .map_or(0, |newline| newline + 1),
        };
        Ok(Some(Piece {
            octets: &held[..whole],
            last: self.ended,
        }))
    }

    /// So much of the piece is used.
    pub(super) fn consume(&mut self, octets: usize) {
        self.held.start = octets.min(self.held.end);
    }
}
