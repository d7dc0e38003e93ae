//! Header bits that plugins set for what is asked further down.
use super::Query;

/// AD in the second octet of the flags (RFC 4035 section 3.2.3).
const AD: u8 = 0x20;

/// CO in the first octet of the EDNS flags (RFC 9824 section 5.1).
const CO: u8 = 0x40;

impl Query {
    /// CO: the client takes the RCODE of a name that does not exist with a compact denial (RFC 9824
    /// section 5.1); false without EDNS.
    pub fn compact_ok(&self) -> bool {
        // The flags stand before the two octets of RDLENGTH.
        let flags = self
            .edns
            .as_ref()
            .and_then(|edns| edns.options.start.checked_sub(4))
            .and_then(|at| self.octets.get(at));
        flags.is_some_and(|flags| flags & CO != 0)
    }

    /// Sets or clears AD in what [`Query::to_send`] and [`Query::with_question`] hand on; replies do
    /// not repeat it. Whoever changes it puts it back on the way up.
    pub fn set_authentic_data(&mut self, on: bool) {
        if let Some(flags) = self.octets.get_mut(3) {
            *flags = if on { *flags | AD } else { *flags & !AD };
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Gate;

    #[test]
    fn co_is_read() {
        for (flags, expected) in [(0x80, false), (0xc0, true), (0x40, true)] {
            let mut octets =
                b"\x12\x34\x01\x10\0\x01\0\0\0\0\0\x01\x01a\0\0\x01\0\x01\0\0\x29\x04\xd0\0\0"
                    .to_vec();
            octets.extend([flags, 0, 0, 0]);
            let mut query = Query::new();
            assert_eq!(query.read(&octets), Gate::Pass);
            assert_eq!(query.compact_ok(), expected, "{flags:x}");
        }
        assert!(!Query::new().compact_ok());
    }

    #[test]
    fn ad_is_set_and_put_back() {
        let octets = b"\x12\x34\x01\x10\0\x01\0\0\0\0\0\0\x01a\0\0\x01\0\x01";
        let mut query = Query::new();
        assert_eq!(query.read(octets), Gate::Pass);
        query.set_authentic_data(true);
        assert!(query.authentic_data() && query.checking_disabled());
        assert_eq!(query.to_send()[3], 0x30);
        let question = query.question.clone();
        assert!(query.with_question(&question).authentic_data());
        query.set_authentic_data(false);
        assert_eq!(query.octets(), octets);
        Query::default().set_authentic_data(true);
    }
}
