#![no_main]
libfuzzer_sys::fuzz_target!(|input: &[u8]| corten_fuzz::query(input));
