//! See [`corten_fuzz::name`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::name(octets));
