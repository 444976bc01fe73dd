//! The controller needs no standard library and no other crate: compiled alone, it goes into a program without either.

use std::path::{Path, PathBuf};
use std::process::Command;

/// Runs the compiler on a file; gives what it complained about.
fn compile(file: &Path, out: &Path, arguments: &[&str]) -> Result<(), String> {
    let output = Command::new(std::env::var_os("RUSTC").unwrap_or_else(|| "rustc".into()))
        .args(["--edition", "2024", "-C", "panic=abort", "--out-dir"])
        .arg(out)
        .args(arguments)
        .arg(file)
        .output()
        .expect("the compiler that built this test is still there");
    if output.status.success() { Ok(()) } else { Err(String::from_utf8_lossy(&output.stderr).into_owned()) }
}

#[test]
fn the_controller_goes_into_a_program_without_a_standard_library() {
    let here = PathBuf::from(env!("CARGO_MANIFEST_DIR"));
    let out = PathBuf::from(env!("CARGO_TARGET_TMPDIR")).join("no_std");
    std::fs::create_dir_all(&out).unwrap();
    let library = ["--crate-type", "rlib", "--crate-name", "numashock_controller"];
    compile(&here.join("src/lib.rs"), &out, &library).unwrap();
    let controller = format!("numashock_controller={}", out.join("libnumashock_controller.rlib").display());
    let program = ["--crate-type", "staticlib", "--extern", &controller];
    let watcher = here.join("tests/bare/watcher.rs");
    compile(&watcher, &out, &program).unwrap();

    // The same program with the standard library in it is refused, so that this test can fail.
    let with_std =
        std::fs::read_to_string(&watcher).unwrap().replace("#![no_std]", "#![no_std]\nextern crate std;");
    let file = out.join("with_std.rs");
    std::fs::write(&file, with_std).unwrap();
    let error = compile(&file, &out, &program).unwrap_err();
    assert!(error.contains("panic_impl"), "{error}");
}
