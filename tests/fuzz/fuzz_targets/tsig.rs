//! See [`corten_fuzz::tsig`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::tsig(octets));
