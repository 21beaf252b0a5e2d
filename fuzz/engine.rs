//! libFuzzer's entry: the target that `WEBCHAT_FUZZ_TARGET` names, fed by the engine. Run by `make fuzz`.
#![no_main]

use std::sync::OnceLock;

libfuzzer_sys::fuzz_target!(|input: &[u8]| {
    static TARGET: OnceLock<fuzz::Target> = OnceLock::new();
    let target = TARGET.get_or_init(|| {
        let name = std::env::var("WEBCHAT_FUZZ_TARGET").unwrap_or_default();
        fuzz::target(&name).unwrap_or_else(|| panic!("WEBCHAT_FUZZ_TARGET is `{name}`, which is no target"))
    });
    (target.run)(input);
});
