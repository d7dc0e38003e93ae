//! See [`corten_fuzz::http1`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::http1(octets));
