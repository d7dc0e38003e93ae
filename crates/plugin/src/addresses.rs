//! Addresses as directives have them.
use std::fs;
use std::net::{IpAddr, SocketAddr};
use std::path::Path;

/// The port of plain DNS.
const PORT: u16 = 53;
/// Octets of the largest file that is read.
const FILE_OCTETS_MAX: u64 = 1 << 20;

/// `IP`, `IP:PORT`, `[IP]` or `[IP]:PORT`; without a port it is `port`.
pub fn socket_address(text: &str, port: u16) -> Option<SocketAddr> {
    let bare = text
        .strip_prefix('[')
        .and_then(|text| text.strip_suffix(']'));
    match bare.unwrap_or(text).parse::<IpAddr>() {
        Ok(ip) => Some(SocketAddr::new(ip, port)),
        Err(_) => text.parse().ok(),
    }
}

/// The servers of the `nameserver` lines of a file such as `resolv.conf`.
///
/// # Errors
/// The file cannot be read, is larger than 1 MiB, or names no server; the text has its path.
pub fn nameservers(path: &Path) -> Result<Vec<SocketAddr>, String> {
    let shown = path.display();
    let explain = |error: std::io::Error| format!("{shown}: {error}");
    if fs::metadata(path).map_err(explain)?.len() > FILE_OCTETS_MAX {
        return Err(format!("{shown}: the file is too large"));
    }
    let text = fs::read_to_string(path).map_err(explain)?;
    let server = |line: &str| {
        let mut words = line.split_ascii_whitespace();
        let ip = words.next().filter(|first| *first == "nameserver");
        let ip = ip.and_then(|_| words.next())?;
        // A zone of a link-local address means an interface of the machine that wrote the file.
        let ip = ip.split('%').next()?;
        Some(SocketAddr::new(ip.parse().ok()?, PORT))
    };
    let servers: Vec<_> = text.lines().filter_map(server).collect();
    if servers.is_empty() {
        return Err(format!("no nameservers found in {shown}"));
    }
    Ok(servers)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses_may_have_a_port() {
        for (text, port, expected) in [
            ("192.0.2.1", 53, Some("192.0.2.1:53")),
            ("192.0.2.1:54", 53, Some("192.0.2.1:54")),
            ("2001:db8::1", 443, Some("[2001:db8::1]:443")),
            ("[2001:db8::1]", 53, Some("[2001:db8::1]:53")),
            ("[2001:db8::1]:54", 53, Some("[2001:db8::1]:54")),
            ("dns.example", 53, None),
            ("192.0.2.256", 53, None),
            ("192.0.2.1:", 53, None),
        ] {
            let expected = expected.map(|text| text.parse().unwrap());
            assert_eq!(socket_address(text, port), expected, "{text}");
        }
    }
}
