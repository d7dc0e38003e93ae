//! See [`corten_fuzz::corefile`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::corefile(octets));
