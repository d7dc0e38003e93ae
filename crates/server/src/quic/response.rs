//! Responses of DNS over HTTP/3.
use corten_web::Request;
use corten_web::http3::{qpack, write_response};

use crate::doh::date::Date;
use crate::doh::freshness;
use crate::doh::status::Status;
use crate::generation::Table;
use crate::web::service::{Digits, PLAIN, Refusal};

/// Memory for what is composed.
#[derive(Default)]
pub(super) struct Scratch {
    pub(super) request: Request,
    pub(super) decoded: Vec<u8>,
    pub(super) reply: Vec<u8>,
    block: Vec<u8>,
    date: Date,
    pub(super) output: Vec<u8>,
}

impl Scratch {
    /// A response with the DNS message that stands in `reply`.
    pub(super) fn answer(&mut self, table: &Table) {
        table.statuses.count(Status::Ok);
        let block = &mut self.block;
        block.clear();
        qpack::begin(block);
        qpack::write_indexed(block, qpack::index::STATUS_200);
        qpack::write_indexed(block, qpack::index::DNS_MESSAGE);
        let mut digits = Digits::default();
        let age = digits.write("max-age=", freshness::seconds(&self.reply));
        qpack::write_value(block, qpack::index::CACHE_CONTROL, age.as_bytes());
        let mut digits = Digits::default();
        let length = digits.write("", self.reply.len() as u32);
        qpack::write_value(block, qpack::index::CONTENT_LENGTH, length.as_bytes());
        qpack::write_value(block, qpack::index::DATE, self.date.now().as_bytes());
        self.output.clear();
        write_response(&mut self.output, block, &self.reply);
    }

    /// A response without one.
    pub(super) fn refuse(&mut self, refusal: impl Into<Refusal>, table: &Table) {
        let (status, is_bare) = match refusal.into() {
            Refusal::Status(status) => (status, false),
            Refusal::Bare(status) => (status, true),
            // Only gRPC has failures of its own.
            Refusal::Failure(_) => (Status::NoResponse, false),
        };
        table.statuses.count(status);
        let (block, text) = (&mut self.block, status.text());
        block.clear();
        qpack::begin(block);
        qpack::write_value(block, qpack::index::STATUS, status.digits().as_bytes());
        qpack::write_value(block, qpack::index::CONTENT_TYPE, PLAIN.as_bytes());
        if status == Status::MethodNotAllowed {
            qpack::write_field(block, b"allow", b"GET, POST");
        }
        let mut digits = Digits::default();
        let length = digits.write("", text.len() as u32);
        qpack::write_value(block, qpack::index::CONTENT_LENGTH, length.as_bytes());
        qpack::write_value(block, qpack::index::DATE, self.date.now().as_bytes());
        self.output.clear();
        let body: &[u8] = if is_bare { b"" } else { text.as_bytes() };
        write_response(&mut self.output, block, body);
    }
}
