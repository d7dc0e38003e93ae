//! See [`corten_fuzz::gotemplate`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::gotemplate(octets));
