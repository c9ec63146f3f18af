//! Policies as text: what is read can be printed and read again, and its compiled form gives the same verdicts.
#![no_main]

#[path = "actions.rs"]
mod actions;

use libfuzzer_sys::fuzz_target;
use ringfence_policy::{
    CompiledPolicy, Date, LogFilter, Policy, import_function_shield, trouble_with_variable,
};

const TODAY: Date = Date { year: 2026, month: 12, day: 1 };

fuzz_target!(|text: &str| {
    let _ = import_function_shield(text);
    let _ = LogFilter::parse(text);
    let _ = trouble_with_variable("RINGFENCE_LOG", text);
    let parsed = match Policy::parse("policy.toml", text) {
        Ok(parsed) => parsed,
        Err(findings) => {
            assert!(!findings.to_string().is_empty());
            return;
        }
    };
    let printed = parsed.policy.to_toml();
    match Policy::parse("printed.toml", &printed) {
        Ok(again) => assert_eq!(again.policy, parsed.policy, "{printed}"),
        Err(findings) => panic!("{findings}\n{printed}"),
    }
    assert!(parsed.policy.difference(&parsed.policy).changes.is_empty(), "{printed}");
    let Ok(bytes) = parsed.policy.compile(TODAY) else { return };
    let compiled = CompiledPolicy::new(&bytes).expect("what the compiler writes is valid");
    let typed = parsed.policy.effective(TODAY);
    for (action, context) in actions::all() {
        assert_eq!(
            typed.verdict(&action, &context),
            compiled.verdict(&action, &context),
            "{action:?} {context:?}"
        );
    }
});
