//! A request's block of header fields, line by line, as HTTP/2 and HTTP/3 want it (RFC 9113 section 8.2
//! and 8.3, RFC 9114 section 4.2 and 4.3).
use crate::http2::hpack::Line;
use crate::request::{Field, Request};

/// What is known of a block that is being read.
pub(crate) struct Block {
    /// Nothing is malformed so far.
    pub(crate) good: bool,
    /// There is more than may be kept.
    pub(crate) too_large: bool,
    fields_begun: bool,
    octets_left: usize,
}

impl Block {
    /// Of a list of so many octets, at most.
    pub(crate) const fn new(octets_max: u32) -> Self {
        Self {
            good: true,
            too_large: false,
            fields_begun: false,
            octets_left: octets_max as usize,
        }
    }

    /// Takes a line of a request's head, whose fields `request` keeps; of trailers nothing is kept, and
    /// they have no pseudo-header fields. What is too much is not kept, but has to be read on for the
    /// sake of the decoder's table.
    pub(crate) fn take(&mut self, line: &Line<'_>, request: Option<&mut Request>) {
        if line.field.is_pseudo() {
            self.good &= !self.fields_begun && request.is_some();
        } else {
            self.fields_begun = true;
        }
        match line.field {
            Field::OtherPseudo | Field::Forbidden => self.good = false,
            Field::Te if !line.value.eq_ignore_ascii_case(b"trailers") => self.good = false,
            _ => (),
        }
        match self.octets_left.checked_sub(line.size) {
            Some(rest) if !self.too_large => {
                self.octets_left = rest;
                self.good &= request.is_none_or(|request| request.keep(line.field, line.value));
            }
            _ => self.too_large = true,
        }
    }
}
