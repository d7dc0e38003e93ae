//! Queries behind PROXY protocol headers: what stands between a client and the server.
use std::io::Write;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, UdpSocket};
use std::time::Duration;

use crate::client::{self, NoAnswer, Options, Query};
use crate::message::Message;

/// The client's port in every header.
const SOURCE_PORT: u16 = 5353;

/// A header `VERSION:SOURCE`, such as `2:203.0.113.7`, for a client that talked to `port`.
pub(crate) fn header(text: &str, port: u16, stream: bool) -> Vec<u8> {
    let (version, source) = text.split_once(':').expect("+proxy=VERSION:SOURCE");
    let source: IpAddr = source.parse().expect("an address");
    let target: IpAddr = match source {
        IpAddr::V4(_) => Ipv4Addr::LOCALHOST.into(),
        IpAddr::V6(_) => Ipv6Addr::LOCALHOST.into(),
    };
    if version == "1" {
        let family = if source.is_ipv4() { 4 } else { 6 };
        return format!("PROXY TCP{family} {source} {target} {SOURCE_PORT} {port}\r\n")
            .into_bytes();
    }
    let octets = |ip| match ip {
        IpAddr::V4(v4) => v4.octets().to_vec(),
        IpAddr::V6(v6) => v6.octets().to_vec(),
    };
    let ports = [SOURCE_PORT.to_be_bytes(), port.to_be_bytes()].concat();
    let addresses = [octets(source), octets(target), ports].concat();
    let family = if source.is_ipv4() { 0x10 } else { 0x20 };
    let mut header = b"\r\n\r\n\0\r\nQUIT\n\x21".to_vec();
    header.push(family | if stream { 1 } else { 2 });
    header.extend((addresses.len() as u16).to_be_bytes());
    header.extend(addresses);
    header
}

/// Sends a query behind the header that `+proxy` asks for; with `+alone` the header is a datagram of
/// its own, before the query.
pub(crate) fn send(query: &Query, opts: &Options, port: u16) -> Result<Message, NoAnswer> {
    let stream = opts.contains_key("tcp");
    let header = header(&opts["proxy"], port, stream);
    let (address, patience) = (SocketAddr::from(([127, 0, 0, 1], port)), patience(opts));
    if stream {
        let mut stream = client::tcp(address, patience)?;
        stream.write_all(&header)?;
        return Ok(client::converse(&mut stream, query)?);
    }
    let socket = UdpSocket::bind("127.0.0.1:0")?;
    socket.set_read_timeout(Some(patience))?;
    let datagrams = match opts.contains_key("alone") {
        true => vec![header, query.wire.clone()],
        false => vec![[header, query.wire.clone()].concat()],
    };
    for datagram in datagrams {
        socket.send_to(&datagram, address)?;
        // The header must not be overtaken.
        std::thread::sleep(Duration::from_millis(50));
    }
    let mut buffer = vec![0; 65_535];
    // The recorder has another word for this timeout.
    let length = socket
        .recv(&mut buffer)
        .map_err(|_| NoAnswer("error TimeoutError"))?;
    Message::read(&buffer[..length]).ok_or(NoAnswer("error OSError"))
}

fn patience(opts: &Options) -> Duration {
    let seconds = opts.get("timeout").map_or("1", String::as_str);
    Duration::from_secs_f64(seconds.parse().expect("+timeout=SECONDS"))
}
