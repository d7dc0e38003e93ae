//! See [`corten_fuzz::record`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::record(octets));
