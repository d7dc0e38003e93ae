//! Header bits that plugins set for what is asked further down.
use super::Query;

/// AD in the second octet of the flags (RFC 4035 section 3.2.3).
const AD: u8 = 0x20;

impl Query {
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
