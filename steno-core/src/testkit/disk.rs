//! A small file system of a test's own, in a file.

use std::{
    fs::{self, File},
    io,
    path::{Path, PathBuf},
    process::Command,
    thread,
    time::{Duration, Instant},
};

use super::need;

/// How long a file system may stay busy after its test.
const UNMOUNT_WITHIN: Duration = Duration::from_secs(5);

/// A file system in a file, mounted by a loop device. Unmounted when it goes out of scope, which is to be before its directory is
/// removed, and after whatever has files of it open: it panics where somebody has, for it would be left behind.
#[derive(Debug)]
pub struct LoopDisk {
    at: PathBuf,
}

impl LoopDisk {
    /// Makes the file `image` in `dir`, a file system of `bytes` in it by `mkfs` and its arguments, and mounts that as `disk` in
    /// `dir`. None where the machine does not let it: the test is skipped, or fails where nothing may be (as [`need`] does).
    ///
    /// # Errors
    /// `dir` cannot be written to.
    pub fn new(dir: &Path, mkfs: &[&str], bytes: u64) -> io::Result<Option<Self>> {
        let (image, at) = (dir.join("image"), dir.join("disk"));
        File::create(&image)?.set_len(bytes)?;
        fs::create_dir(&at)?;
        let made = mkfs.split_first().is_some_and(|(program, arguments)| {
            succeeds(Command::new(program).args(arguments).arg(&image))
                && succeeds(Command::new("mount").args(["-o", "loop"]).args([&image, &at]))
        });
        let what = format!("the right to mount a file (loop device, {})", mkfs.first().unwrap_or(&"mkfs"));
        Ok(need(made, &what).then_some(Self { at }))
    }

    /// Its root.
    #[must_use]
    pub fn path(&self) -> &Path {
        &self.at
    }
}

impl Drop for LoopDisk {
    fn drop(&mut self) {
        let begun = Instant::now();
        while !succeeds(Command::new("umount").arg(&self.at)) {
            if begun.elapsed() > UNMOUNT_WITHIN {
                // It goes when its last file is closed.
                let is_gone = succeeds(Command::new("umount").arg("--lazy").arg(&self.at));
                let left = if is_gone { "is still in use" } else { "cannot be unmounted" };
                assert!(thread::panicking(), "{} {left} after its test", self.at.display());
                return;
            }
            thread::sleep(Duration::from_millis(100));
        }
    }
}

fn succeeds(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}
