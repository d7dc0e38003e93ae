//! Seeds and mutations of them through every target: what a fuzzer would find in its first seconds.
use std::path::Path;
use std::time::{Duration, Instant};

/// Seconds for one target, unless the command line tells others.
const SECONDS: u64 = 2;

/// Marsaglia's xorshift; the same numbers each time.
struct Numbers(u64);

impl Numbers {
    fn below(&mut self, end: usize) -> usize {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        (self.0 % end.max(1) as u64) as usize
    }
}

fn main() {
    let seconds = std::env::args().nth(1).map(|word| word.parse());
    let seconds = seconds.map_or(SECONDS, |word| word.expect("a number of seconds"));
    for (name, target) in corten_fuzz::TARGETS {
        let seeds = seeds(name);
        assert!(!seeds.is_empty(), "seeds of {name}");
        for (_, seed) in &seeds {
            target(seed);
        }
        let (mut numbers, until, mut ran) = (
            Numbers(0x9e37_79b9_7f4a_7c15),
            Instant::now() + Duration::from_secs(seconds),
            0,
        );
        while Instant::now() < until {
            let input = mutate(&seeds, &mut numbers);
            // The input is told before the target's own message would be lost.
            if std::panic::catch_unwind(|| target(&input)).is_err() {
                eprintln!(
                    "{name} fails for {input:02x?}\n{:?}",
                    String::from_utf8_lossy(&input)
                );
                std::process::exit(1);
            }
            ran += 1;
        }
        println!("{name}: {} seeds and {ran} mutations", seeds.len());
    }
}

fn seeds(target: &str) -> Vec<(String, Vec<u8>)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("seeds")
        .join(target);
    let entries = std::fs::read_dir(&folder).expect("a folder of seeds");
    let mut seeds: Vec<_> = entries
        .flatten()
        .map(|entry| {
            let octets = std::fs::read(entry.path()).expect("a seed");
            (entry.file_name().to_string_lossy().into_owned(), octets)
        })
        .collect();
    seeds.sort();
    seeds
}

/// Some octets changed, taken out, doubled, or joined from two seeds.
fn mutate(seeds: &[(String, Vec<u8>)], numbers: &mut Numbers) -> Vec<u8> {
    const TELLING: &[u8] = b"\0\x01\x0c\x29\x3f\x40\x7f\x80\xc0\xff{}\"\\# \n/:.*";
    let mut octets = seeds[numbers.below(seeds.len())].1.clone();
    for _ in 0..=numbers.below(4) {
        let at = numbers.below(octets.len() + 1);
        match numbers.below(5) {
            0 if at < octets.len() => octets[at] = TELLING[numbers.below(TELLING.len())],
            1 if at < octets.len() => octets[at] ^= 1 << numbers.below(8),
            2 => octets.insert(at, TELLING[numbers.below(TELLING.len())]),
            3 => octets.truncate(at),
            _ => {
                let other = &seeds[numbers.below(seeds.len())].1;
                octets.extend_from_slice(&other[numbers.below(other.len() + 1)..]);
            }
        }
    }
    octets
}
