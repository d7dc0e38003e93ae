//! A DNS client over UDP, TCP and TLS.
use std::collections::BTreeMap;
use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpStream, UdpSocket};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName};
use rustls::{ClientConfig, ClientConnection, RootCertStore, StreamOwned};
use socket2::{Domain, Socket, Type};

use crate::message::{Message, class_number, type_number, wire_name};
use crate::tsig::Signature;

/// Options of a query step, `+key=value`.
pub(crate) type Options = BTreeMap<String, String>;

/// A query as octets, with what it asks.
pub(crate) struct Query {
    pub(crate) wire: Vec<u8>,
    pub(crate) asked: (String, u16, u16),
    /// With `+tsig=KEY:ALGORITHM:SECRET`.
    pub(crate) signature: Option<Signature>,
}

impl Query {
    pub(crate) fn new(name: &str, rtype: &str, opts: &Options) -> Self {
        let name = if name.ends_with('.') {
            name.to_owned()
        } else {
            format!("{name}.")
        };
        let class = class_number(opts.get("class").map_or("IN", String::as_str));
        let mut flags = 0x0100u16;
        for (opt, bit, on) in [
            ("nord", 0x0100, false),
            ("cd", 0x0010, true),
            ("ad", 0x0020, true),
        ] {
            if opts.contains_key(opt) {
                flags = if on { flags | bit } else { flags & !bit };
            }
        }
        let options = edns_options(opts);
        let edns = !options.is_empty()
            || ["do", "bufsize", "edns", "version"]
                .iter()
                .any(|opt| opts.contains_key(*opt));
        match opts.get("opcode").map(String::as_str) {
            None | Some("QUERY") => (),
            Some("NOTIFY") => flags = flags & !0x0100 | 4 << 11,
            Some("UPDATE") => flags = flags & !0x0100 | 5 << 11,
            Some(other) => panic!("opcode {other}"),
        }
        let mut wire = rand::random::<u16>().to_be_bytes().to_vec();
        wire.extend(flags.to_be_bytes());
        wire.extend([0, 1, 0, 0, 0, 0, 0, u8::from(edns)]);
        wire.extend(wire_name(&name));
        wire.extend(type_number(rtype).to_be_bytes());
        wire.extend(class.to_be_bytes());
        if edns {
            let number = |opt: &str, default: u16| {
                opts.get(opt)
                    .and_then(|value| value.parse().ok())
                    .unwrap_or(default)
            };
            wire.extend([0, 0, 41]);
            wire.extend(number("bufsize", 1232).to_be_bytes());
            wire.extend([
                0,
                number("version", 0) as u8,
                if opts.contains_key("do") { 0x80 } else { 0 },
                0,
            ]);
            wire.extend((options.len() as u16).to_be_bytes());
            wire.extend(options);
        }
        let signature = opts.get("tsig").map(|key| Signature::sign(&mut wire, key));
        Self {
            asked: (name, type_number(rtype), class),
            wire,
            signature,
        }
    }
}

impl Query {
    /// Reads the answer, and verifies it when the query was signed.
    fn read(&self, octets: &[u8]) -> io::Result<Message> {
        let octets = match &self.signature {
            Some(signature) => signature.verify(octets)?,
            None => octets.to_vec(),
        };
        Message::read(&octets).ok_or_else(|| io::ErrorKind::InvalidData.into())
    }
}

fn edns_options(opts: &Options) -> Vec<u8> {
    let mut all = Vec::new();
    let mut add = |code: u16, data: &[u8]| {
        all.extend(code.to_be_bytes());
        all.extend((data.len() as u16).to_be_bytes());
        all.extend(data);
    };
    if opts.contains_key("nsid") {
        add(3, &[]);
    }
    if opts.contains_key("cookie") {
        add(10, &[1, 2, 3, 4, 5, 6, 7, 8]);
    }
    if let Some(net) = opts.get("ecs") {
        let (address, bits) = net.split_once('/').unwrap();
        let bits: u8 = bits.parse().unwrap();
        let (family, octets) = match address.parse().unwrap() {
            std::net::IpAddr::V4(v4) => (1, v4.octets().to_vec()),
            std::net::IpAddr::V6(v6) => (2, v6.octets().to_vec()),
        };
        let prefix = &octets[..usize::from(bits.div_ceil(8))];
        add(8, &[&[0, family, bits, 0], prefix].concat());
    }
    if let Some((code, data)) = opts.get("option").and_then(|option| option.split_once(':')) {
        add(code.parse().unwrap(), &hex(data));
    }
    all
}

/// Octets from hexadecimal digits.
pub(crate) fn hex(text: &str) -> Vec<u8> {
    (0..text.len() / 2)
        .map(|at| u8::from_str_radix(&text[2 * at..2 * at + 2], 16).unwrap())
        .collect()
}

/// Why there is no answer, in the words of cases.
#[derive(Debug)]
pub(crate) struct NoAnswer(pub(crate) &'static str);

impl std::fmt::Display for NoAnswer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.0)
    }
}

impl std::error::Error for NoAnswer {}

impl From<io::Error> for NoAnswer {
    fn from(error: io::Error) -> Self {
        if let Some(wrong) = error
            .get_ref()
            .and_then(|inner| inner.downcast_ref::<Self>())
        {
            return Self(wrong.0);
        }
        Self(match error.kind() {
            io::ErrorKind::ConnectionRefused => "error ConnectionRefusedError",
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "error Timeout",
            io::ErrorKind::UnexpectedEof | io::ErrorKind::ConnectionReset => "error EOFError",
            _ => "error OSError",
        })
    }
}

/// Sends a query the way its options say, and reads the reply.
pub(crate) fn send(
    query: &Query,
    opts: &Options,
    port: u16,
    folder: &Path,
) -> Result<Message, NoAnswer> {
    if opts.contains_key("proxy") {
        return crate::proxied::send(query, opts, port);
    }
    let host = opts.get("to").map_or("127.0.0.1", String::as_str);
    let address = SocketAddr::new(host.parse().unwrap(), port);
    let timeout = Duration::from_secs_f64(
        opts.get("timeout")
            .map_or(5.0, |seconds| seconds.parse().unwrap()),
    );
    if opts.contains_key("tls") {
        // How a handshake is refused depends on timing.
        let reply =
            tls(address, timeout, opts, folder).and_then(|mut stream| converse(&mut stream, query));
        return reply.map_err(|error| match error.kind() {
            _ if error.get_ref().is_some_and(|inner| inner.is::<NoAnswer>()) => error.into(),
            io::ErrorKind::ConnectionRefused
            | io::ErrorKind::TimedOut
            | io::ErrorKind::WouldBlock => error.into(),
            _ => NoAnswer("error TLS"),
        });
    }
    let any = if address.is_ipv6() { "::" } else { "0.0.0.0" };
    let source = opts.get("from").map_or(any, String::as_str);
    if opts.contains_key("tcp") {
        let mut stream = tcp_from(source, address, timeout)?;
        return Ok(converse(&mut stream, query)?);
    }
    let reply = udp(query, address, timeout, source);
    let lost = |error: &io::Error| {
        matches!(
            error.kind(),
            io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock
        )
    };
    // A busy machine may lose a datagram. Clients ask again, and so does this one, unless the case
    // says how long it waits.
    if reply.as_ref().is_err_and(lost) && !opts.contains_key("timeout") {
        return Ok(udp(query, address, timeout, source)?);
    }
    Ok(reply?)
}

fn udp(query: &Query, address: SocketAddr, timeout: Duration, source: &str) -> io::Result<Message> {
    let socket = UdpSocket::bind((source, 0))?;
    socket.set_read_timeout(Some(timeout))?;
    // Not connected: a port that nobody listens on is a timeout, as it is for most clients.
    socket.send_to(&query.wire, address)?;
    let mut buffer = vec![0; 65_535];
    loop {
        let (length, from) = socket.recv_from(&mut buffer)?;
        if from == address && buffer[..2] == query.wire[..2] {
            return query.read(&buffer[..length]);
        }
    }
}

pub(crate) fn tcp(address: SocketAddr, timeout: Duration) -> io::Result<TcpStream> {
    let any = if address.is_ipv6() { "::" } else { "0.0.0.0" };
    tcp_from(any, address, timeout)
}

pub(crate) fn tcp_from(
    source: &str,
    address: SocketAddr,
    timeout: Duration,
) -> io::Result<TcpStream> {
    let socket = Socket::new(Domain::for_address(address), Type::STREAM, None)?;
    socket.bind(&SocketAddr::new(source.parse().unwrap(), 0).into())?;
    socket.connect_timeout(&address.into(), timeout)?;
    let stream = TcpStream::from(socket);
    stream.set_read_timeout(Some(timeout))?;
    stream.set_nodelay(true)?;
    Ok(stream)
}

/// Opens a TLS session; the certificate must be for `sni`, `dns.example.org` unless told otherwise.
pub(crate) fn tls(
    address: SocketAddr,
    timeout: Duration,
    opts: &Options,
    folder: &Path,
) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    if opts.get("tlsmax").is_some_and(|version| version == "1.1") {
        return old_tls(tcp(address, timeout)?);
    }
    let name = opts.get("sni").map_or("dns.example.org", String::as_str);
    let stream = tcp(address, timeout)?;
    let connection = ClientConnection::new(
        Arc::new(config(opts, folder)),
        ServerName::try_from(name.to_owned()).unwrap(),
    );
    let mut stream = StreamOwned::new(connection.map_err(io::Error::other)?, stream);
    while stream.conn.is_handshaking() {
        stream.conn.complete_io(&mut stream.sock)?;
    }
    Ok(stream)
}

/// The client's side of TLS: trusts `ca.pem` alone.
pub(crate) fn config(opts: &Options, folder: &Path) -> ClientConfig {
    let mut roots = RootCertStore::empty();
    for root in CertificateDer::pem_file_iter(folder.join("ca.pem")).unwrap() {
        roots.add(root.unwrap()).unwrap();
    }
    let versions = match opts.get("tlsmax").map(String::as_str) {
        Some("1.2") => &[&rustls::version::TLS12][..],
        _ => rustls::ALL_VERSIONS,
    };
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ClientConfig::builder_with_provider(provider)
        .with_protocol_versions(versions)
        .unwrap()
        .with_root_certificates(roots);
    let Some(base) = opts.get("client") else {
        return builder.with_no_client_auth();
    };
    let base = if base.is_empty() { "client" } else { base };
    let chain = CertificateDer::pem_file_iter(folder.join(format!("{base}-cert.pem")))
        .unwrap()
        .map(Result::unwrap)
        .collect();
    let key = PrivateKeyDer::from_pem_file(folder.join(format!("{base}-key.pem"))).unwrap();
    builder.with_client_auth_cert(chain, key).unwrap()
}

/// A ClientHello of TLS 1.1 with one cipher suite, by hand: no library of ours speaks that any
/// more.
fn old_tls(mut stream: TcpStream) -> io::Result<StreamOwned<ClientConnection, TcpStream>> {
    let mut hello = b"\x16\x03\x01\x00\x2d\x01\x00\x00\x29\x03\x02".to_vec();
    hello.extend([7; 32]);
    hello.extend(b"\x00\x00\x02\xc0\x09\x01\x00");
    stream.write_all(&hello)?;
    let mut answer = [0; 1];
    match stream.read(&mut answer)? {
        // 21 is an alert; a ServerHello would be a record of type 22.
        1 if answer[0] == 22 => panic!("the server speaks TLS 1.1"),
        _ => Err(io::ErrorKind::ConnectionAborted.into()),
    }
}

/// Sends a query over a stream and reads the reply.
pub(crate) fn converse(stream: &mut (impl Read + Write), query: &Query) -> io::Result<Message> {
    stream.write_all(&(query.wire.len() as u16).to_be_bytes())?;
    stream.write_all(&query.wire)?;
    stream.flush()?;
    query.read(&read_message(stream)?)
}

/// One message of a stream.
pub(crate) fn read_message(stream: &mut impl Read) -> io::Result<Vec<u8>> {
    let mut length = [0; 2];
    stream.read_exact(&mut length)?;
    let mut message = vec![0; usize::from(u16::from_be_bytes(length))];
    stream.read_exact(&mut message)?;
    Ok(message)
}

/// Asks over UDP, for tests that need no options.
pub(crate) fn ask(port: u16, name: &str, rtype: &str) -> Result<Message, NoAnswer> {
    let opts = Options::new();
    send(&Query::new(name, rtype, &opts), &opts, port, Path::new("."))
}

/// Sends groups of queries and counts answers; then looks whether the server closes the connection.
pub(crate) fn talk(
    stream: &mut (impl Read + Write),
    timer: &TcpStream,
    groups: Vec<(Vec<u8>, usize)>,
    gap: Duration,
    wait: Duration,
) -> (usize, &'static str) {
    let mut answered = 0;
    for (octets, count) in groups {
        std::thread::sleep(gap);
        if stream
            .write_all(&octets)
            .and_then(|()| stream.flush())
            .is_err()
        {
            return (answered, "closed");
        }
        for _ in 0..count {
            if read_message(stream).is_err() {
                return (answered, "closed");
            }
            answered += 1;
        }
    }
    timer.set_read_timeout(Some(wait)).unwrap();
    match stream.read(&mut [0]) {
        Ok(0) => (answered, "closed"),
        Ok(_) => (answered, "another answer"),
        Err(error)
            if matches!(
                error.kind(),
                io::ErrorKind::WouldBlock | io::ErrorKind::TimedOut
            ) =>
        {
            (answered, "open")
        }
        Err(_) => (answered, "closed"),
    }
}
