//! See [`corten_fuzz::keyfile`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::keyfile(octets));
