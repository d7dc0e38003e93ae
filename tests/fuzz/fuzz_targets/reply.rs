//! See [`corten_fuzz::reply`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::reply(octets));
