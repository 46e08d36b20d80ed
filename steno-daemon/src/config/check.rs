//! Holds a configuration against the machine: `stenographer -check`.

use std::{
    fs, io,
    path::{Path, PathBuf},
};

use rustix::fs::{Access, access};
use steno_proto::certs::{CertDir, CertError, ServerTls, Use, server_tls};

use super::{Config, Problem, interfaces};

/// What the machine says to a configuration.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Checked {
    /// What keeps the daemon from doing its work.
    pub errors: Vec<Problem>,
    /// What may be meant so.
    pub warnings: Vec<Problem>,
}

impl Config {
    /// Looks at the directories, programs, interfaces and certificates that the configuration names. Nothing is made or
    /// changed.
    pub fn check(&self) -> Checked {
        let mut found = Checked::default();
        let interfaces = interfaces::names().ok();
        for (i, thread) in self.threads.iter().enumerate() {
            let directories =
                [("PacketsDirectory", &thread.packets_directory), ("IndexDirectory", &thread.index_directory)];
            for (name, path) in directories {
                if let Err(why) = directory(path) {
                    found.error(format!("Threads[{i}].{name}"), why);
                }
            }
            if let Some(names) = &interfaces
                && !names.contains(&thread.interface)
            {
                let instead = interfaces::instead(&thread.interface, names);
                let message =
                    format!("there is no interface {:?} now; capture will wait for it; {instead}", thread.interface);
                found.warn(format!("Threads[{i}].Interface"), message);
            }
        }
        if let Err(why) = program(&self.stenotype_path) {
            found.error("StenotypePath", why);
        }
        match server_tls(&self.server_files()) {
            Ok(tls) => found.certificates("CertPath", &tls),
            Err(e) => found.certificate("CertPath", &e),
        }
        for exposed in CertDir::new(&self.cert_path).exposed_keys() {
            found.certificate("CertPath", &exposed);
        }
        match self.rpc_server_files().map(|files| server_tls(&files)) {
            Some(Ok(tls)) => found.certificates("Rpc", &tls),
            Some(Err(e)) => found.certificate("Rpc", &e),
            None => {}
        }
        if let Some(path) = &self.audit
            && let Err(why) = directory(path.parent().unwrap_or(Path::new(".")))
        {
            found.error("Audit", why);
        }
        found
    }
}

impl Checked {
    fn error(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.errors.push(Problem::new(key, message));
    }

    fn warn(&mut self, key: impl Into<String>, message: impl Into<String>) {
        self.warnings.push(Problem::new(key, message));
    }

    /// What is wrong with a file of certificates or keys; once, whoever uses it.
    fn certificate(&mut self, key: &str, error: &CertError) {
        let message = error.to_string();
        if !self.errors.iter().any(|problem| problem.message == message) {
            self.error(key, message);
        }
    }

    /// Weak certificates do not keep the daemon from its work, though those that are over keep every client from it.
    fn certificates(&mut self, key: &str, tls: &ServerTls) {
        let all = [("the server's certificate", &tls.leaf, Use::Server), ("the CA's certificate", &tls.ca, Use::Ca)];
        for (whose, leaf, used_as) in all {
            if let Some(weak) = leaf.is_weak(whose, used_as) {
                self.warn(key, weak);
            }
        }
        if let Some(weak) = tls.list_is_weak() {
            self.warn(key, weak);
        }
    }
}

/// Whether `path` is a directory that may be written to, or one that can be made.
fn directory(path: &Path) -> Result<(), String> {
    match fs::metadata(path) {
        Ok(there) if !there.is_dir() => Err(format!("{} is not a directory", path.display())),
        Ok(_) => writable(path).map_err(|e| format!("{} cannot be written to: {e}", path.display())),
        Err(e) if e.kind() == io::ErrorKind::NotFound => {
            let above = nearest_there(path);
            let can_be_made = |path: &Path| match fs::metadata(path) {
                Ok(there) if there.is_dir() => writable(path),
                Ok(_) => Err(io::ErrorKind::NotADirectory.into()),
                Err(e) => Err(e),
            };
            let (path, above) = (path.display(), above);
            can_be_made(&above).map_err(|e| format!("{path} is not there and cannot be made: {}: {e}", above.display()))
        }
        Err(e) => Err(format!("{} cannot be used: {e}", path.display())),
    }
}

fn writable(directory: &Path) -> io::Result<()> {
    access(directory, Access::WRITE_OK | Access::EXEC_OK).map_err(io::Error::from)
}

/// The nearest directory above `path` that is there.
fn nearest_there(path: &Path) -> PathBuf {
    let above = path.ancestors().skip(1).find(|above| above.exists());
    above.filter(|above| !above.as_os_str().is_empty()).unwrap_or(Path::new(".")).to_owned()
}

fn program(path: &Path) -> Result<(), String> {
    let there = fs::metadata(path).map_err(|e| format!("{}: {e}; it takes the capture program", path.display()))?;
    if !there.is_file() || access(path, Access::EXEC_OK).is_err() {
        return Err(format!("{} is not a program that may be run", path.display()));
    }
    Ok(())
}
