//! See [`corten_fuzz::expression`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::expression(octets));
