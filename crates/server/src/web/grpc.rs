//! What calls of one method over gRPC ask and get, `coredns.dns.DnsService/Query`; their bodies are read by
//! `corten_web::grpc`.
use corten_web::grpc::Unreadable;
use corten_web::http2::hpack::{self, index};

/// Where the method is.
pub(crate) const PATH: &[u8] = b"/coredns.dns.DnsService/Query";
const SERVICE: &[u8] = b"/coredns.dns.DnsService/";
const CONTENT_TYPE: &[u8] = b"application/grpc";

/// Why a call fails, in grpc-go's words.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Failure {
    UnknownService,
    UnknownMethod,
    /// The message is not one of protobuf's, or none.
    Undecodable,
    /// What it holds is no DNS query.
    NoQuery,
    TooLarge,
    Compressed,
    Late,
    NoResponse,
    Busy,
}

impl Failure {
    const fn status(self) -> (&'static str, &'static str) {
        match self {
            Self::UnknownService => ("12", "unknown service"),
            Self::UnknownMethod => ("12", "unknown method for service coredns.dns.DnsService"),
            Self::Undecodable => ("13", "grpc: error unmarshalling request"),
            Self::NoQuery => ("2", "dns: bad query"),
            Self::TooLarge => ("8", "grpc: received message larger than max"),
            Self::Compressed => ("12", "grpc: Decompressor is not installed"),
            Self::Late => ("4", "the request took too long"),
            Self::NoResponse => ("13", "no response"),
            Self::Busy => ("14", "too many queries wait"),
        }
    }
}

/// Whether a content type is gRPC's.
pub(crate) fn is_grpc(content_type: Option<&[u8]>) -> bool {
    let rest = content_type.and_then(|value| value.strip_prefix(CONTENT_TYPE));
    matches!(rest, Some([] | [b'+' | b';', ..]))
}

/// Why a path is not the method's.
pub(crate) fn unknown(path: &[u8]) -> Failure {
    match path.starts_with(SERVICE) {
        true => Failure::UnknownMethod,
        false => Failure::UnknownService,
    }
}

/// The DNS message in the body of a call.
pub(crate) fn message(body: &[u8]) -> Result<&[u8], Failure> {
    corten_web::grpc::message(body).map_err(|unreadable| match unreadable {
        Unreadable::Compressed => Failure::Compressed,
        Unreadable::Malformed => Failure::Undecodable,
    })
}

/// The head of a response that goes well.
pub(crate) fn write_head(block: &mut Vec<u8>) {
    hpack::write_indexed(block, index::STATUS_200);
    hpack::write_value(block, index::CONTENT_TYPE, CONTENT_TYPE);
}

/// The trailers behind it.
pub(crate) fn write_trailers(block: &mut Vec<u8>) {
    hpack::write_field(block, b"grpc-status", b"0");
}

/// A response that is a failure and nothing else.
pub(crate) fn write_failure(failure: Failure, block: &mut Vec<u8>) {
    let (status, text) = failure.status();
    write_head(block);
    hpack::write_field(block, b"grpc-status", status.as_bytes());
    hpack::write_field(block, b"grpc-message", text.as_bytes());
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn content_types_are_those_of_grpc() {
        for (text, good) in [
            ("application/grpc", true),
            ("application/grpc+proto", true),
            ("application/grpc;x=y", true),
            ("application/grpcs", false),
            ("application/dns-message", false),
        ] {
            assert_eq!(is_grpc(Some(text.as_bytes())), good, "{text}");
        }
        assert!(!is_grpc(None));
    }
}
