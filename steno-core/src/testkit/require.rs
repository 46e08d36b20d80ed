//! Tests that need more than a stranger's machine has.

use std::path::{Path, PathBuf};

/// Where a test needs `what` and `there` says whether it is: `true` to go on. On a machine without it the test prints
/// that it is skipped and returns; with `STENO_REQUIRE_ALL=1` (CI) a missing thing fails the test instead.
///
/// ```
/// # use steno_core::testkit::need;
/// if !need(std::path::Path::new("/proc").exists(), "a mounted /proc") {
///     return;
/// }
/// ```
#[expect(clippy::panic, reason = "this is how a test fails")]
pub fn need(there: bool, what: &str) -> bool {
    if there {
        return true;
    }
    if std::env::var_os("STENO_REQUIRE_ALL").is_some_and(|v| v == "1") {
        panic!("this test needs {what}, and STENO_REQUIRE_ALL=1 forbids to skip it");
    }
    eprintln!("skipped: needs {what}");
    false
}

/// The folder of captures and peers beside the checkout, where there is one. `manifest_dir` is `CARGO_MANIFEST_DIR` of
/// the calling crate.
pub fn shared_dir(manifest_dir: &str) -> Option<PathBuf> {
    let dir = Path::new(manifest_dir).join("../../shared");
    dir.is_dir().then_some(dir)
}
