//! See [`corten_fuzz::rdata`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::rdata(octets));
