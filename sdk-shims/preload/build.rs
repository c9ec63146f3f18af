//! Links the library without libc where it is built to ship.
//!
//! In the `layer` profile (panic = "abort") the crate is `no_std` and binds to no library at all, so that it loads into
//! any glibc and into musl. With unwinding panics (development, tests) it uses `std` and is linked as usual: such a
//! build is good for checking the code, not for shipping.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    println!("cargo:rerun-if-env-changed=RUSTC_LINKER");
    if !is_layer(std::env::var("OUT_DIR").unwrap_or_default().as_ref()) {
        return;
    }
    // Addresses are bound when the library is loaded, and to its own functions where they are.
    let arguments: &[&str] = if links_without_compiler() {
        &["-nostdlib", "-z", "now", "-Bsymbolic"]
    } else {
        &["-nostdlib", "-nostartfiles", "-Wl,-z,now,-Bsymbolic"]
    };
    for argument in arguments {
        println!("cargo:rustc-cdylib-link-arg={argument}");
    }
}

/// Whether Cargo was told to call the linker itself, as for another processor, whose compiler may not be there.
fn links_without_compiler() -> bool {
    std::env::var_os("RUSTC_LINKER").is_some_and(|linker| Path::new(&linker).ends_with("rust-lld"))
}

/// Whether this is the profile that ships. Cargo tells build scripts neither its name nor its panic strategy, so it
/// is read off the folder: `<target>/layer/build/<package>/out`.
fn is_layer(out: &Path) -> bool {
    out.ancestors().nth(3).and_then(Path::file_name).is_some_and(|name| name == "layer")
}
