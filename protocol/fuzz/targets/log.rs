#![no_main]
#[path = "../../tests/common/targets/mod.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|bytes: &[u8]| targets::run("log", bytes));
