//! See [`corten_fuzz::proxy`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::proxy(octets));
