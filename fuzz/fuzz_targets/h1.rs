#![no_main]

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| durastream_server::fuzzing::h1(bytes));
