//! See [`corten_fuzz::transfer`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::transfer(octets));
