//! Links the library without libc where it is built to ship.
//!
//! In the `layer` profile (panic = "abort") the crate is `no_std` and binds to no library at all, so that it loads into
//! any glibc and into musl. With unwinding panics (development, tests) it uses `std` and is linked as usual: such a
//! build is good for checking the code, not for shipping.

use std::path::Path;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    if is_layer(std::env::var("OUT_DIR").unwrap_or_default().as_ref()) {
        println!("cargo:rustc-cdylib-link-arg=-nostdlib");
        println!("cargo:rustc-cdylib-link-arg=-nostartfiles");
        // Addresses are bound when the library is loaded, and to its own functions where they are.
        println!("cargo:rustc-cdylib-link-arg=-Wl,-z,now,-Bsymbolic");
    }
}

/// Whether this is the profile that ships. Cargo tells build scripts neither its name nor its panic strategy, so it
/// is read off the folder: `<target>/layer/build/<package>/out`.
fn is_layer(out: &Path) -> bool {
    out.ancestors().nth(3).and_then(Path::file_name).is_some_and(|name| name == "layer")
}
