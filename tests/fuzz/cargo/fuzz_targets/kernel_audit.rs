#![no_main]

#[allow(dead_code, reason = "each program takes one of them")]
#[path = "../../targets.rs"]
mod targets;

libfuzzer_sys::fuzz_target!(|data: &[u8]| targets::kernel_audit(data));
