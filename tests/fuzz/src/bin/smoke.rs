//! Runs every target on its seeds and on mutations of them: what a machine without a fuzzer can do.
use std::io;
use std::panic;
use std::path::Path;
use std::process::ExitCode;
use std::time::{Duration, Instant};

use corten_fuzz::mutate::{Random, mutated};
use corten_fuzz::{TARGETS, Target};

/// Mutations for each target.
const MUTATIONS: usize = 20_000;
/// Most time for each target: a slow machine runs fewer.
const TIME_MAX: Duration = Duration::from_secs(5);

fn main() -> ExitCode {
    let mut code = ExitCode::SUCCESS;
    for (name, target) in TARGETS {
        match smoke(name, *target) {
            Ok(message) => println!("{name}: {message}"),
            Err(error) => {
                eprintln!("{name}: {error}");
                code = ExitCode::FAILURE;
            }
        }
    }
    code
}

/// Runs one target; the error names the file with the input that failed.
fn smoke(name: &str, target: Target) -> io::Result<String> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR"));
    let seeds = seeds(&folder.join("seeds").join(name))?;
    let mut random = Random::new(0x9e37_79b9_7f4a_7c15);
    let (begin, mut inputs) = (Instant::now(), 0);
    let mutations = (0..MUTATIONS).map(|_| mutated(&seeds, &mut random));
    for input in seeds.iter().cloned().chain(mutations) {
        if panic::catch_unwind(|| target(&input)).is_err() {
            let artifacts = folder.join("artifacts");
            std::fs::create_dir_all(&artifacts)?;
            let path = artifacts.join(format!("{name}-smoke"));
            std::fs::write(&path, &input)?;
            let text = format!("the target panics on {}", path.display());
            return Err(io::Error::other(text));
        }
        inputs += 1;
        if begin.elapsed() > TIME_MAX {
            break;
        }
    }
    let seconds = begin.elapsed().as_secs_f32();
    Ok(format!("{inputs} inputs in {seconds:.1} s"))
}

/// The seeds of a target, in the order of their names.
fn seeds(folder: &Path) -> io::Result<Vec<Vec<u8>>> {
    let entries = std::fs::read_dir(folder)?.collect::<Result<Vec<_>, _>>()?;
    let mut paths: Vec<_> = entries.iter().map(|entry| entry.path()).collect();
    paths.sort();
    if paths.is_empty() {
        return Err(io::Error::other("there are no seeds"));
    }
    paths.iter().map(std::fs::read).collect()
}
