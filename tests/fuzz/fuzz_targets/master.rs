//! See [`corten_fuzz::master`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::master(octets));
