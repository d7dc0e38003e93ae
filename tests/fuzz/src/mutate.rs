//! Deterministic mutations of seeds.

/// Octets of the longest mutation: seeds do not grow without end.
const OCTETS_MAX: usize = 4096;

/// A generator of numbers that are the same in each run (Marsaglia's xorshift64).
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// One with this state, which must not be 0.
    pub fn new(state: u64) -> Self {
        assert_ne!(state, 0);
        Self(state)
    }

    /// A number under `limit`, which must not be 0.
    pub fn below(&mut self, limit: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        // The upper bits are the better ones.
        ((self.0 >> 32) as usize) % limit
    }

    /// One of these.
    pub fn one_of<T: Copy>(&mut self, all: &[T]) -> T {
        all[self.below(all.len())]
    }
}

/// Octets at which formats turn: lengths, pointers, braces, escapes.
const TURNS: &[u8] = b"\0\x01\x0c\x29\x3f\x40\x7f\x80\xc0\xff\n\r\t \"#$%{}()\\./:,";

/// A seed with one to four changes.
pub fn mutated(seeds: &[Vec<u8>], random: &mut Random) -> Vec<u8> {
    let mut octets = seeds[random.below(seeds.len())].clone();
    for _ in 0..=random.below(4) {
        let at = random.below(octets.len() + 1);
        let end = (at + random.below(17)).min(octets.len());
        match random.below(8) {
            0 | 1 if at < octets.len() => octets[at] ^= 1 << random.below(8),
            2 if at < octets.len() => octets[at] = random.one_of(TURNS),
            3 => octets.insert(at, random.one_of(TURNS)),
            4 => drop(octets.drain(at..end)),
            5 => octets.extend_from_within(at..end),
            6 => {
                let part = octets[at..end].to_vec();
                let to = random.below(octets.len() + 1);
                octets.splice(to..to, part);
            }
            _ => {
                let other = &seeds[random.below(seeds.len())];
                let from = random.below(other.len() + 1);
                octets.truncate(at);
                octets.extend_from_slice(&other[from..]);
            }
        }
        octets.truncate(OCTETS_MAX);
    }
    octets
}
