//! Which addresses the machine has, and who listens where.
use std::fs;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Processes that are looked through for a socket.
const PROCESSES_MAX: usize = 100_000;

/// The machine's addresses of one family, those of single links left out.
pub(crate) fn interface_addresses(ipv4: bool) -> Vec<IpAddr> {
    let Ok(interfaces) = nix::ifaddrs::getifaddrs() else {
        return Vec::new();
    };
    let address = |interface: nix::ifaddrs::InterfaceAddress| {
        let address = interface.address?;
        match ipv4 {
            true => Some(IpAddr::from(address.as_sockaddr_in()?.ip())),
            false => Some(IpAddr::from(address.as_sockaddr_in6()?.ip()))
                .filter(|ip| !matches!(ip, IpAddr::V6(v6) if v6.is_unicast_link_local())),
        }
    };
    interfaces.filter_map(address).collect()
}

/// What is in the way of listening on an address, with the name of who listens there already.
pub(crate) async fn explain(address: SocketAddr, error: &io::Error) -> String {
    let reason = match error.kind() {
        io::ErrorKind::AddrInUse => {
            let who = tokio::task::spawn_blocking(move || listener(address)).await;
            match who.ok().flatten() {
                Some(who) => format!("address already in use by {who}"),
                None => "address already in use".to_owned(),
            }
        }
        io::ErrorKind::PermissionDenied => {
            "permission denied (ports below 1024 need root or CAP_NET_BIND_SERVICE)".to_owned()
        }
        _ => error.to_string(),
    };
    format!("{address}: {reason}")
}

/// Who listens on an address, as far as we may know: other users' processes are seen by root only.
fn listener(address: SocketAddr) -> Option<String> {
    let socket = format!("socket:[{}]", inode(address)?);
    for entry in fs::read_dir("/proc").ok()?.flatten().take(PROCESSES_MAX) {
        let Ok(process) = entry
            .file_name()
            .into_string()
            .unwrap_or_default()
            .parse::<u32>()
        else {
            continue;
        };
        let Ok(files) = fs::read_dir(entry.path().join("fd")) else {
            continue;
        };
        let is_it = |file: fs::DirEntry| {
            fs::read_link(file.path()).is_ok_and(|target| target.as_os_str() == socket.as_str())
        };
        if files.flatten().any(is_it) {
            let name = fs::read_to_string(entry.path().join("comm")).unwrap_or_default();
            return Some(format!("{} (process {process})", name.trim()));
        }
    }
    None
}

/// The socket that has an address, by the kernel's tables.
fn inode(address: SocketAddr) -> Option<u64> {
    for (table, stream) in [
        ("udp", false),
        ("udp6", false),
        ("tcp", true),
        ("tcp6", true),
    ] {
        let text = fs::read_to_string(format!("/proc/net/{table}")).unwrap_or_default();
        for line in text.lines().skip(1) {
            let words: Vec<_> = line.split_whitespace().collect();
            let (Some(local), Some(state), Some(inode)) =
                (words.get(1), words.get(3), words.get(9))
            else {
                continue;
            };
            // 0A: it listens.
            if stream && *state != "0A" {
                continue;
            }
            if local_address(local).is_some_and(|local| is_in_the_way(local, address)) {
                return inode.parse().ok();
            }
        }
    }
    None
}

/// Whether who has `local` keeps others from `address`.
fn is_in_the_way(local: SocketAddr, address: SocketAddr) -> bool {
    let same_family = local.is_ipv4() == address.is_ipv4();
    local.port() == address.port()
        && (local.ip() == address.ip()
            // The IPv6 wildcard may hold IPv4, too.
            || local.ip().is_unspecified() && (same_family || local.is_ipv6())
            || address.ip().is_unspecified() && same_family)
}

/// `0100007F:0035`: words in the machine's order.
fn local_address(text: &str) -> Option<SocketAddr> {
    let (address, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let mut octets = Vec::new();
    for at in (0..address.len()).step_by(8) {
        let word = u32::from_str_radix(address.get(at..at + 8)?, 16).ok()?;
        octets.extend(word.to_ne_bytes());
    }
    let ip = match octets.len() {
        4 => IpAddr::from(Ipv4Addr::from(<[u8; 4]>::try_from(octets).ok()?)),
        16 => IpAddr::from(Ipv6Addr::from(<[u8; 16]>::try_from(octets).ok()?)),
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    #[cfg(target_endian = "little")]
    fn the_kernels_addresses_are_read() {
        for (text, address) in [
            ("0100007F:0035", Some("127.0.0.1:53")),
            ("00000000:14E9", Some("0.0.0.0:5353")),
            ("00000000000000000000000001000000:0035", Some("[::1]:53")),
            ("0100007F", None),
            ("0100:0035", None),
            ("x:y", None),
        ] {
            let address = address.map(|address| address.parse().unwrap());
            assert_eq!(local_address(text), address, "{text}");
        }
    }

    #[test]
    fn a_wildcard_is_in_the_way_of_every_address() {
        let there = |local: &str, address: &str| {
            is_in_the_way(local.parse().unwrap(), address.parse().unwrap())
        };
        assert!(there("0.0.0.0:53", "192.0.2.1:53"));
        assert!(there("[::]:53", "192.0.2.1:53"));
        assert!(there("127.0.0.53:53", "0.0.0.0:53"));
        assert!(!there("127.0.0.53:53", "192.0.2.1:53"));
        assert!(!there("0.0.0.0:54", "192.0.2.1:53"));
        assert!(!there("0.0.0.0:53", "[2001:db8::1]:53"));
    }
}
