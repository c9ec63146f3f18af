//! The compiled policy as each process of the function maps it: bytes that pass the check can be asked anything.
#![no_main]

#[path = "actions.rs"]
mod actions;

use libfuzzer_sys::fuzz_target;
use ringfence_policy::{Action, CompiledPolicy};

fuzz_target!(|bytes: &[u8]| {
    let Ok(policy) = CompiledPolicy::new(bytes) else { return };
    assert!(bytes.starts_with(policy.as_bytes()));
    for (action, context) in actions::all() {
        let first = policy.verdict(&action, &context);
        assert_eq!(first, policy.verdict(&action, &context));
        if let Action::Exec(exec) = &action {
            let _ = policy.lists_script(exec, &context);
        }
        let _ = policy.has_read_rules(context.phase);
    }
    for name in [&b"api.example.com"[..], b"", b"AWS_SECRET_ACCESS_KEY", &[b'a'; 300]] {
        policy.name_patterns(name).for_each(drop);
        let _ = policy.strip_variable(name);
        let _ = policy.is_credential(name);
        let _ = policy.may_be_read(name);
    }
    policy.denied_syscalls().for_each(drop);
    policy.denied_read_prefixes().for_each(drop);
    policy.denied_write_prefixes().for_each(drop);
    let _ = (policy.limits(), policy.syscall_profile(), policy.never_runs_from_writable());
    let _ = (policy.writes_in_proc_only(), policy.has_name_rules(), policy.has_bind_rules());
});
