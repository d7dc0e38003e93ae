//! CoreDNS's service over gRPC: `coredns.dns.DnsService/Query`, which takes and gives
//! `DnsPacket { bytes msg = 1 }`.
use std::io;

use bytes::Bytes;
use corten_wire::{HEADER_OCTETS, MESSAGE_OCTETS_MAX, question_octets};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::SendRequest;

use crate::https::closed;

/// Where the method is, behind the server's address.
pub(crate) const PATH: &str = "/coredns.dns.DnsService/Query";
/// A DNS message, and what protobuf and gRPC have around it.
const BODY_MAX: usize = MESSAGE_OCTETS_MAX + 64;
/// Status codes of gRPC that mean something here.
const OK: &str = "0";
const NOT_FOUND: &str = "5";
const RCODE_NXDOMAIN: u8 = 3;

/// Asks one query.
pub(crate) async fn request(
    mut requests: SendRequest<Full<Bytes>>,
    uri: &str,
    query: &[u8],
) -> io::Result<Vec<u8>> {
    let mut body = Vec::with_capacity(query.len() + 16);
    corten_web::grpc::write_message(query, &mut body);
    let request = Request::builder()
        .method("POST")
        .uri(uri)
        .header(CONTENT_TYPE, "application/grpc")
        .header("te", "trailers")
        .body(Full::new(Bytes::from(body)))
        .map_err(io::Error::other)?;
    requests.ready().await.map_err(closed)?;
    let response = requests.send_request(request).await.map_err(closed)?;
    let status = response.status();
    if status != http::StatusCode::OK {
        return Err(invalid(format!("HTTP status {status}")));
    }
    let (head, body) = response.into_parts();
    if let Some(failed) = failure(&head.headers, query) {
        return failed;
    }
    let collected = Limited::new(body, BODY_MAX)
        .collect()
        .await
        .map_err(io::Error::other)?;
    if let Some(failed) = collected
        .trailers()
        .and_then(|trailers| failure(trailers, query))
    {
        return failed;
    }
    let octets = collected.to_bytes();
    match corten_web::grpc::message(&octets) {
        Ok(message) if message.len() >= HEADER_OCTETS => Ok(message.to_vec()),
        _ => Err(invalid("the reply is no DnsPacket".to_owned())),
    }
}

/// What a status says that is none of success; a name that is not found is an answer.
fn failure(fields: &HeaderMap, query: &[u8]) -> Option<io::Result<Vec<u8>>> {
    let text = |name| {
        let value = fields.get(name)?;
        value.to_str().ok()
    };
    match text("grpc-status")? {
        OK => None,
        NOT_FOUND => Some(not_found(query).ok_or_else(|| invalid("no question".to_owned()))),
        code => {
            let what = text("grpc-message").unwrap_or_default();
            // The server chose the text: a line of the log has room for so much of it.
            let what: String = what.chars().filter(|c| !c.is_control()).take(200).collect();
            Some(Err(invalid(format!(
                "rpc error: code = {code} desc = {what}"
            ))))
        }
    }
}

/// NXDOMAIN without records.
fn not_found(query: &[u8]) -> Option<Vec<u8>> {
    let question = question_octets(query)?;
    let mut reply = query.get(..4)?.to_vec();
    reply[2] |= 0x80;
    reply[3] = RCODE_NXDOMAIN;
    reply.extend_from_slice(&[0, 1, 0, 0, 0, 0, 0, 0]);
    reply.extend_from_slice(question);
    Some(reply)
}

fn invalid(what: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, what)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_that_is_not_found_is_an_answer() {
        let query = b"\x12\x34\x01\x20\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let mut fields = HeaderMap::new();
        assert!(failure(&fields, query).is_none());
        fields.insert("grpc-status", "5".parse().unwrap());
        let reply = failure(&fields, query).unwrap().unwrap();
        assert_eq!(
            reply,
            b"\x12\x34\x81\x03\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01"
        );
        fields.insert("grpc-status", "14".parse().unwrap());
        fields.insert("grpc-message", "away".parse().unwrap());
        let error = failure(&fields, query).unwrap().unwrap_err();
        assert_eq!(error.to_string(), "rpc error: code = 14 desc = away");
    }
}
