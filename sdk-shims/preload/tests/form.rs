//! What the shipped library is made of: it must load into any process.
#![allow(clippy::unwrap_used, reason = "a panic is how tests fail")]

mod harness;

use std::process::Command;

fn output(tool: &str, arguments: &[&str]) -> String {
    let output = Command::new(tool).args(arguments).arg(harness::library()).output().unwrap();
    assert!(output.status.success(), "{tool} fails");
    String::from_utf8(output.stdout).unwrap()
}

#[test]
fn it_needs_no_library_and_no_symbol() {
    let dynamic = output("readelf", &["-dW"]);
    for unwanted in ["NEEDED", "TEXTREL", "VERNEED"] {
        assert!(!dynamic.contains(unwanted), "{unwanted}: {dynamic}");
    }
    assert!(dynamic.contains("INIT_ARRAY"), "{dynamic}");
    let symbols = output("readelf", &["--dyn-syms", "-W"]);
    let undefined: Vec<_> = symbols.lines().filter(|line| line.contains(" UND ")).collect();
    let weak =
        |line: &&&str| line.contains("WEAK") && (line.ends_with(" environ") || line.ends_with(" _r_debug"));
    assert_eq!(undefined.iter().skip(1).filter(weak).count(), undefined.len() - 1, "{symbols}");
    let exported = symbols.lines().filter(|line| line.contains("FUNC") && !line.contains(" UND ")).count();
    assert_eq!(exported, 2, "getenv and secure_getenv, nothing else: {symbols}");
}

#[test]
fn it_uses_neither_thread_local_storage_nor_wide_registers() {
    assert!(!output("readelf", &["-lW"]).contains("TLS"));
    let code = output("objdump", &["-d"]);
    for unwanted in ["%ymm", "%zmm", "%st(", "ldmxcsr"] {
        assert!(!code.contains(unwanted), "{unwanted}");
    }
    // The thread pointer itself is read, from where both libcs keep it, and nothing else of the thread's.
    let of_the_thread: Vec<_> = code.lines().filter(|line| line.contains("%fs:")).collect();
    assert!(of_the_thread.iter().all(|line| line.contains("mov    %fs:0x0,%r")), "{of_the_thread:?}");
}

#[test]
fn no_function_takes_more_stack_than_a_small_thread_has() {
    let code = output("objdump", &["-d", "--no-show-raw-insn"]);
    let frame = |line: &str| {
        let (_, rest) = line.split_once("sub ")?;
        let (size, _) = rest.trim().strip_prefix("$0x")?.split_once(",%rsp")?;
        usize::from_str_radix(size, 16).ok()
    };
    // A frame of more than a page is taken page by page, each touched: the steps stand a few lines apart.
    let (mut largest, mut sum, mut since) = (0, 0, usize::MAX);
    for line in code.lines() {
        since = since.saturating_add(1);
        if let Some(size) = frame(line) {
            sum = if since <= 4 { sum + size } else { size };
            since = 0;
            largest = largest.max(sum);
        }
    }
    assert!((4096..=7 * 1024 + 256).contains(&largest), "{largest} bytes");
}
