//! Where the workspace and what it builds are, and how its programs end.

use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Command, ExitCode, ExitStatus};

/// The folder of the workspace's Cargo.toml.
pub(crate) fn root() -> PathBuf {
    let manifest_dir = Path::new(env!("CARGO_MANIFEST_DIR"));
    manifest_dir.parent().unwrap_or(manifest_dir).to_owned()
}

/// Where cargo puts what it builds: `CARGO_TARGET_DIR`, or `target` of the workspace.
pub(crate) fn target_dir() -> PathBuf {
    named_target_dir().unwrap_or_else(|| root().join("target"))
}

/// `CARGO_TARGET_DIR`, if it is set to something.
pub(crate) fn named_target_dir() -> Option<PathBuf> {
    std::env::var_os("CARGO_TARGET_DIR").filter(|dir| !dir.is_empty()).map(PathBuf::from)
}

/// The cargo that runs this program.
pub(crate) fn cargo() -> Command {
    Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()))
}

/// The exit code that a shell would show.
pub(crate) fn exit_code(status: ExitStatus) -> ExitCode {
    let code = status.code().or_else(|| status.signal().map(|signal| signal.saturating_add(128)));
    code.and_then(|code| u8::try_from(code).ok()).map_or(ExitCode::FAILURE, ExitCode::from)
}

#[cfg(test)]
mod tests {
    use super::{exit_code, root};
    use std::os::unix::process::ExitStatusExt;
    use std::process::{ExitCode, ExitStatus};

    #[test]
    fn the_root_holds_the_lock_file() {
        assert!(root().join("Cargo.lock").is_file());
    }

    #[test]
    fn exit_codes_are_those_of_the_shell() {
        let shown = |wait_status| format!("{:?}", exit_code(ExitStatus::from_raw(wait_status)));
        assert_eq!(shown(3 << 8), format!("{:?}", ExitCode::from(3)));
        assert_eq!(shown(2), format!("{:?}", ExitCode::from(130)));
    }
}
