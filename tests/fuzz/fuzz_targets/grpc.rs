//! See [`corten_fuzz::grpc`].
#![no_main]

libfuzzer_sys::fuzz_target!(|octets: &[u8]| corten_fuzz::grpc(octets));
