//! The steps `http` and `metric`: a client of HTTP/1.1 that closes its connection after each request.
use std::collections::{BTreeMap, BTreeSet};
use std::io::{self, Read, Write};
use std::net::ToSocketAddrs;
use std::path::Path;
use std::time::Duration;

use regex::Regex;

use crate::client::{self, Options, hex};

const TIMEOUT: Duration = Duration::from_secs(10);

/// What came back.
pub(crate) struct Response {
    pub(crate) status: u16,
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Response {
    /// The value of a header.
    pub(crate) fn header(&self, name: &str) -> Option<&str> {
        self.headers
            .iter()
            .find(|(other, _)| other.eq_ignore_ascii_case(name))
            .map(|(_, value)| value.as_str())
    }

    /// The body as text.
    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }
}

/// `http [METHOD] [Header:value…] [+body=HEX] [+client[=stray]] [+show=HEADER] [+status] URL`.
pub(crate) fn step(words: &[&str], folder: &Path) -> Vec<String> {
    let (mut opts, mut rest) = (Options::new(), Vec::new());
    for word in words {
        match word.strip_prefix('+') {
            Some(option) => {
                let (key, value) = option.split_once('=').unwrap_or((option, ""));
                opts.insert(key.to_owned(), value.to_owned());
            }
            None => rest.push(*word),
        }
    }
    let mut method = "GET";
    if let [first, ..] = rest[..]
        && first.bytes().all(|octet| octet.is_ascii_uppercase())
    {
        method = first;
        rest.remove(0);
    }
    let Some(url) = rest.pop() else {
        return vec!["no URL".to_owned()];
    };
    let headers: Vec<_> = rest
        .iter()
        .filter_map(|header| header.split_once(':'))
        .collect();
    let response = match request(method, url, &headers, &opts, folder) {
        Ok(response) => response,
        Err(error) if error.kind() == io::ErrorKind::ConnectionRefused => {
            return vec!["error ConnectionRefusedError".to_owned()];
        }
        Err(_) if url.starts_with("https") => return vec!["error TLS".to_owned()],
        Err(_) => return vec!["error closed".to_owned()],
    };
    let shown = opts
        .get("show")
        .map(|name| format!("header {name}: {}", response.header(name).unwrap_or("-")));
    let status = format!("status {}", response.status);
    if opts.contains_key("status") {
        return std::iter::once(status).chain(shown).collect();
    }
    let kind = response.header("content-type").unwrap_or("-");
    let body = match kind.contains("dns-message") {
        true => vec![format!("{} octets", response.body.len())],
        false => response.text().lines().take(5).map(str::to_owned).collect(),
    };
    std::iter::once(format!("{status} {kind}"))
        .chain(shown)
        .chain(body.iter().map(|line| format!("body {line}")))
        .collect()
}

/// One request; `http://` or `https://`, the latter trusts `ca.pem` in `folder` alone.
pub(crate) fn request(
    method: &str,
    url: &str,
    headers: &[(&str, &str)],
    opts: &Options,
    folder: &Path,
) -> io::Result<Response> {
    let (scheme, rest) = url.split_once("://").ok_or(io::ErrorKind::InvalidInput)?;
    let (authority, path) = rest.find('/').map_or((rest, "/"), |at| rest.split_at(at));
    let (user, authority) = authority
        .rsplit_once('@')
        .map_or((None, authority), |(user, host)| (Some(user), host));
    // Servers under test listen on the IPv4 loopback unless they are told otherwise.
    let address = authority
        .to_socket_addrs()?
        .min_by_key(|address| !address.is_ipv4())
        .ok_or(io::ErrorKind::NotFound)?;
    let mut head =
        format!("{method} {path} HTTP/1.1\r\nHost: {authority}\r\nConnection: close\r\n");
    if let Some(user) = user {
        head.push_str(&format!("Authorization: Basic {}\r\n", base64(user)));
    }
    for (name, value) in headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let body = opts.get("body").map(|body| hex(body)).unwrap_or_default();
    if !body.is_empty() || !matches!(method, "GET" | "HEAD") {
        head.push_str(&format!("Content-Length: {}\r\n", body.len()));
    }
    let octets = [head.as_bytes(), b"\r\n", &body].concat();
    let mut answer = Vec::new();
    if scheme == "https" {
        let mut opts = opts.clone();
        let host = authority
            .rsplit_once(':')
            .map_or(authority, |(host, _)| host);
        opts.insert("sni".to_owned(), host.to_owned());
        let mut stream = client::tls(address, TIMEOUT, &opts, folder)?;
        stream.write_all(&octets)?;
        // Many servers close without a close_notify.
        match stream.read_to_end(&mut answer) {
            Err(error) if error.kind() != io::ErrorKind::UnexpectedEof => return Err(error),
            _ => (),
        }
    } else {
        let mut stream = client::tcp(address, TIMEOUT)?;
        stream.write_all(&octets)?;
        stream.read_to_end(&mut answer)?;
    }
    read(&answer).ok_or_else(|| io::ErrorKind::InvalidData.into())
}

fn read(answer: &[u8]) -> Option<Response> {
    let end = answer.windows(4).position(|octets| octets == b"\r\n\r\n")?;
    let head = std::str::from_utf8(&answer[..end]).ok()?;
    let mut lines = head.split("\r\n");
    let status = lines.next()?.split(' ').nth(1)?.parse().ok()?;
    let headers: Vec<_> = lines
        .filter_map(|line| line.split_once(':'))
        .map(|(name, value)| (name.to_owned(), value.trim().to_owned()))
        .collect();
    let mut response = Response {
        status,
        headers,
        body: answer[end + 4..].to_vec(),
    };
    if response
        .header("transfer-encoding")
        .is_some_and(|coding| coding.eq_ignore_ascii_case("chunked"))
    {
        response.body = unchunk(&response.body)?;
    }
    Some(response)
}

/// The body of chunks (RFC 9112 section 7.1).
fn unchunk(mut chunks: &[u8]) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|octets| octets == b"\r\n")?;
        let length = std::str::from_utf8(&chunks[..end]).ok()?;
        let length = usize::from_str_radix(length.split(';').next()?.trim(), 16).ok()?;
        chunks = &chunks[end + 2..];
        if length == 0 {
            return Some(body);
        }
        body.extend_from_slice(chunks.get(..length)?);
        chunks = chunks.get(length + 2..)?;
    }
}

fn base64(text: &str) -> String {
    const LETTERS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let encode = |group: &[u8]| {
        let bits = (0..3).fold(0u32, |bits, at| {
            bits << 8 | u32::from(group.get(at).copied().unwrap_or(0))
        });
        let letter = |at: usize| LETTERS[(bits >> (18 - 6 * at)) as usize & 63] as char;
        (0..4)
            .map(|at| if at > group.len() { '=' } else { letter(at) })
            .collect::<String>()
    };
    text.as_bytes().chunks(3).map(encode).collect()
}

/// `metric [+names] [-LABEL…] NAME[{label="value",…}] [URL]`: the samples whose labels include those
/// given, added up over the labels left out. `mask` hides ports and the like.
pub(crate) fn metric(
    words: &[&str],
    env: &BTreeMap<String, String>,
    folder: &Path,
    mask: impl Fn(&str) -> String,
) -> Vec<String> {
    // The last answer may not be counted yet.
    std::thread::sleep(Duration::from_millis(100));
    let hidden: BTreeSet<_> = words
        .iter()
        .filter_map(|word| word.strip_prefix('-'))
        .collect();
    let rest: Vec<_> = words
        .iter()
        .filter(|word| !word.starts_with(['-', '+']))
        .collect();
    let port = env.get("METRICS_PORT").map_or("0", String::as_str);
    let default = format!("http://127.0.0.1:{port}/metrics");
    let url = rest.get(1).map_or(default.as_str(), |url| **url);
    let (name, wanted) = rest[0].split_once('{').unwrap_or((rest[0], ""));
    let wanted = labels(wanted);
    let text = match request("GET", url, &[], &Options::new(), folder) {
        Ok(response) => response.text(),
        Err(error) => return vec![format!("error {:?}", error.kind())],
    };
    let mut samples: BTreeMap<String, Vec<String>> = BTreeMap::new();
    let sample = Regex::new(r"^(\w+)(?:\{(.*)\})? (\S+)$").unwrap();
    for found in text.lines().filter_map(|line| sample.captures(line)) {
        let all = labels(found.get(2).map_or("", |labels| labels.as_str()));
        if &found[1] != name
            || wanted
                .iter()
                .any(|(label, value)| all.get(label) != Some(value))
        {
            continue;
        }
        let shown: Vec<_> = all
            .iter()
            .filter(|(label, _)| !hidden.contains(label.as_str()))
            .map(|(label, value)| format!("{label}=\"{value}\""))
            .collect();
        samples
            .entry(mask(&format!("{name}{{{}}}", shown.join(","))))
            .or_default()
            .push(found[3].to_owned());
    }
    let names = words.contains(&"+names");
    let line = |(text, values): (String, Vec<String>)| match &values[..] {
        _ if names => text,
        [only] => format!("{text} {only}"),
        several => {
            let sum: f64 = several
                .iter()
                .filter_map(|value| value.parse::<f64>().ok())
                .sum();
            format!("{text} {sum}")
        }
    };
    let mut lines: Vec<_> = samples.into_iter().map(line).collect();
    lines.sort();
    match lines.is_empty() {
        true => vec!["absent".to_owned()],
        false => lines,
    }
}

fn labels(text: &str) -> BTreeMap<String, String> {
    Regex::new(r#"(\w+)="([^"]*)""#)
        .unwrap()
        .captures_iter(text)
        .map(|found| (found[1].to_owned(), found[2].to_owned()))
        .collect()
}

pub(crate) fn trials() -> Vec<libtest_mimic::Trial> {
    vec![libtest_mimic::Trial::test("http::client", || {
        assert_eq!(
            ["a", "ab", "abc", "user:pass"].map(base64),
            ["YQ==", "YWI=", "YWJj", "dXNlcjpwYXNz"]
        );
        let response = read(b"HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nA: b\r\n\r\n3\r\nabc\r\n2;x\r\nde\r\n0\r\n\r\n").unwrap();
        assert_eq!(
            (response.status, response.header("a"), response.text()),
            (200, Some("b"), "abcde".to_owned())
        );
        Ok(())
    })]
}
