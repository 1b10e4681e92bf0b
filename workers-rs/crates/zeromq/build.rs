//! Builds libzmq 4.3.5 from source into a static library, with libsodium for CURVE; see `docs/adr`.

use std::env;

fn main() {
    println!("cargo:rerun-if-changed=build.rs");
    // Cargo sets both for whoever depends on libsodium-sys-stable.
    let library = env::var("DEP_SODIUM_LIB").expect("libsodium-sys-stable says where its library is");
    let include = env::var("DEP_SODIUM_INCLUDE").expect("libsodium-sys-stable says where its headers are");
    quiet();
    zeromq_src::Build::new()
        .with_libsodium(Some(zeromq_src::LibLocation::new(library, include)))
        .build();
}

/// Cargo would repeat the compiler's remarks on libzmq's own source as if they were on ours.
#[allow(unsafe_code)]
fn quiet() {
    let flags = env::var("CXXFLAGS").unwrap_or_default();
    // SAFETY: a build script has one thread at this point.
    unsafe { env::set_var("CXXFLAGS", format!("{flags} -w")) };
}
