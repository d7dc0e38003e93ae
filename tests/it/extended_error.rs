//! Extended DNS Errors in the form of the case files.

/// An Extended DNS Error (RFC 8914 section 2): code, its name, and the text if there is one.
pub(crate) fn shown(data: &[u8]) -> String {
    let (code, text) = (u16::from_be_bytes([data[0], data[1]]), &data[2..]);
    let name = match code {
        0 => " (Other)",
        3 => " (Stale Answer)",
        13 => " (Cached Error)",
        15 => " (Blocked)",
        16 => " (Censored)",
        17 => " (Filtered)",
        18 => " (Prohibited)",
        19 => " (Stale NXDOMAIN Answer)",
        22 => " (No Reachable Authority)",
        23 => " (Network Error)",
        _ => "",
    };
    match String::from_utf8_lossy(text) {
        text if text.is_empty() => format!(" EDE {code}{name}"),
        text => format!(" EDE {code}{name}: {text}"),
    }
}
