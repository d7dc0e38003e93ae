//! Sets of types, as NSEC and NSEC3 records have them (RFC 4034 section 4.1.2).
use corten_wire::RecordType;

/// Types, in order, none twice.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Types(Vec<RecordType>);

impl Types {
    /// None.
    pub fn new() -> Self {
        Self::default()
    }

    /// Adds one.
    pub fn insert(&mut self, rtype: RecordType) {
        if let Err(at) = self.0.binary_search(&rtype) {
            self.0.insert(at, rtype);
        }
    }

    /// Takes one out.
    pub fn remove(&mut self, rtype: RecordType) {
        if let Ok(at) = self.0.binary_search(&rtype) {
            self.0.remove(at);
        }
    }

    /// Whether it is there.
    pub fn contains(&self, rtype: RecordType) -> bool {
        self.0.binary_search(&rtype).is_ok()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// All of them.
    pub fn iter(&self) -> impl Iterator<Item = RecordType> {
        self.0.iter().copied()
    }

    /// All of them, in order.
    pub fn as_slice(&self) -> &[RecordType] {
        &self.0
    }

    /// Appends the bitmap.
    pub fn encode(&self, out: &mut Vec<u8>) {
        let mut rest = &self.0[..];
        while let Some(first) = rest.first() {
            let window = first.0 >> 8;
            let count = rest.partition_point(|rtype| rtype.0 >> 8 == window);
            let (here, behind) = rest.split_at(count);
            let mut octets = [0u8; 32];
            let mut length = 0;
            for rtype in here {
                let bit = usize::from(rtype.0 & 0xff);
                octets[bit / 8] |= 0x80 >> (bit % 8);
                length = bit / 8 + 1;
            }
            out.extend_from_slice(&[window as u8, length as u8]);
            out.extend_from_slice(&octets[..length]);
            rest = behind;
        }
    }

    /// Reads a bitmap; nothing if it is malformed.
    pub fn decode(mut octets: &[u8]) -> Option<Self> {
        let (mut types, mut last) = (Vec::new(), None);
        while let [window, length, rest @ ..] = octets {
            let length = usize::from(*length);
            if !(1..=32).contains(&length) || last >= Some(*window) {
                return None;
            }
            let (bits, behind) = rest.split_at_checked(length)?;
            for (at, octet) in bits.iter().enumerate() {
                let set = (0..8).filter(|bit| octet & 0x80 >> bit != 0);
                types.extend(
                    set.map(|bit| RecordType(u16::from(*window) << 8 | (at * 8 + bit) as u16)),
                );
            }
            (octets, last) = (behind, Some(*window));
        }
        octets.is_empty().then_some(Self(types))
    }
}

impl FromIterator<RecordType> for Types {
    fn from_iter<I: IntoIterator<Item = RecordType>>(types: I) -> Self {
        let mut types: Vec<_> = types.into_iter().collect();
        types.sort_unstable();
        types.dedup();
        Self(types)
    }
}

impl Extend<RecordType> for Types {
    fn extend<I: IntoIterator<Item = RecordType>>(&mut self, types: I) {
        types.into_iter().for_each(|rtype| self.insert(rtype));
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The example of RFC 4034 section 4.3.
    #[test]
    fn the_bitmap_is_that_of_the_rfc() {
        let types: Types = [
            RecordType(1234),
            RecordType::MX,
            RecordType::NSEC,
            RecordType::A,
            RecordType::RRSIG,
            RecordType::A,
        ]
        .into_iter()
        .collect();
        let mut octets = Vec::new();
        types.encode(&mut octets);
        let mut expected = vec![0, 6, 0x40, 1, 0, 0, 0, 3, 4, 27];
        expected.extend([0; 26]);
        expected.push(0x20);
        assert_eq!(octets, expected);
        assert_eq!(Types::decode(&octets), Some(types));
    }

    #[test]
    fn malformed_bitmaps_are_refused() {
        for octets in [&[0][..], &[0, 0], &[0, 2, 1], &[1, 1, 1, 0, 1, 1], &[0, 33]] {
            assert_eq!(Types::decode(octets), None, "{octets:?}");
        }
        assert_eq!(Types::decode(&[]), Some(Types::new()));
    }

    #[test]
    fn types_come_and_go() {
        let mut types = Types::new();
        types.insert(RecordType::AAAA);
        types.insert(RecordType::A);
        types.remove(RecordType::MX);
        assert!(types.contains(RecordType::A) && !types.contains(RecordType::MX));
        types.remove(RecordType::A);
        types.remove(RecordType::AAAA);
        assert!(types.is_empty());
    }
}
