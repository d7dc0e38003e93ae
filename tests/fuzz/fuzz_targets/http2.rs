//! See [`corten_fuzz::http2`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::http2(octets));
