//! CoreDNS's service over gRPC: `coredns.dns.DnsService/Query`, which takes and gives
//! `DnsPacket { bytes msg = 1 }`.
use std::io;

use bytes::Bytes;
use corten_wire::{MESSAGE_OCTETS_MAX, question_octets};
use http::header::CONTENT_TYPE;
use http::{HeaderMap, Request};
use http_body_util::{BodyExt, Full, Limited};
use hyper::client::conn::http2::SendRequest;

use crate::https::closed;

/// Where the method is, behind the server's address.
pub(crate) const PATH: &str = "/coredns.dns.DnsService/Query";
/// Field 1, length-delimited.
const MSG: u8 = 0x0a;
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
    let mut body = vec![0; 5];
    body.push(MSG);
    push_varint(query.len(), &mut body);
    body.extend_from_slice(query);
    let length = (body.len() - 5) as u32;
    body[1..5].copy_from_slice(&length.to_be_bytes());
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
    let message = unframe(&octets).filter(|message| message.len() >= 12);
    message
        .map(<[u8]>::to_vec)
        .ok_or_else(|| invalid("the reply is no DnsPacket".to_owned()))
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

/// The DNS message in a response's body.
fn unframe(body: &[u8]) -> Option<&[u8]> {
    let ([0, length @ ..], packet) = body.split_first_chunk::<5>()? else {
        return None;
    };
    if u32::from_be_bytes(*length) as usize != packet.len() {
        return None;
    }
    let (mut rest, mut found) = (packet, None);
    while !rest.is_empty() {
        let tag = varint(&mut rest)?;
        let length = match tag & 7 {
            0 => varint(&mut rest).map(|_| 0)?,
            1 => 8,
            2 => varint(&mut rest)?,
            5 => 4,
            _ => return None,
        };
        let (value, behind) = rest.split_at_checked(length)?;
        rest = behind;
        if tag == usize::from(MSG) {
            found = Some(value);
        }
    }
    found
}

/// Numbers of more than 35 bits are none of ours.
fn varint(rest: &mut &[u8]) -> Option<usize> {
    let mut number = 0;
    for shift in 0..5 {
        let (&octet, behind) = rest.split_first()?;
        *rest = behind;
        number |= usize::from(octet & 0x7f) << (7 * shift);
        if octet & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}

fn push_varint(number: usize, out: &mut Vec<u8>) {
    let mut rest = number;
    while rest >= 0x80 {
        out.push(rest as u8 | 0x80);
        rest >>= 7;
    }
    out.push(rest as u8);
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

    #[test]
    fn messages_are_found_among_other_fields() {
        let framed = |packet: &[u8]| {
            let mut body = vec![0];
            body.extend_from_slice(&(packet.len() as u32).to_be_bytes());
            body.extend_from_slice(packet);
            body
        };
        assert_eq!(unframe(&framed(b"\x10\x05\x0a\x02hi")), Some(&b"hi"[..]));
        for bad in [
            framed(b""),
            framed(b"\x0a\x05hi"),
            framed(&[0xff; 9]),
            vec![1; 9],
            vec![],
        ] {
            assert_eq!(unframe(&bad), None, "{bad:?}");
        }
        let mut long = vec![MSG];
        push_varint(300, &mut long);
        long.extend_from_slice(&[7; 300]);
        assert_eq!(unframe(&framed(&long)), Some(&[7; 300][..]));
    }
}
