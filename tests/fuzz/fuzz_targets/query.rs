//! See [`corten_fuzz::query`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::query(octets));
