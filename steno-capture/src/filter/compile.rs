//! Filters in words: compiled here as far as they are plain, else by tcpdump where it is installed.

use std::process::{Command, Stdio};

use super::{check, generate, words};
use crate::{
    console::{debug, warning},
    control,
    error::words as words_of,
    sys::FilterInstruction,
};

/// Where system programs are, for a process whose PATH was not set by a person.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";

/// Compiles `text` for packets of `interface`.
pub(super) fn compile(text: &str, interface: &str) -> Result<Vec<FilterInstruction>, String> {
    // One that is too long for the kernel may not be so once tcpdump has made it shorter.
    let plain = words::parse(text).map(|expr| generate::generate(&expr));
    match plain.and_then(|program| check(&program).map(|()| program)) {
        Ok(program) => Ok(program),
        Err(beyond) => {
            debug!("--filter is left to tcpdump: {beyond}");
            by_tcpdump(text, interface).map_err(|failed| failed.into_words(&beyond))
        }
    }
}

/// On a live interface tcpdump also looks at the tag that the kernel takes out of a frame; compiled without one, `vlan`
/// only finds tags that are still in it.
fn by_tcpdump(text: &str, interface: &str) -> Result<Vec<FilterInstruction>, Failed> {
    let live = tcpdump(&["-p", "-i", interface, "-y", "EN10MB", "-ddd", "--", text]);
    let output = match live {
        Err(Failed::Refused(_)) => {
            let plain = tcpdump(&["-y", "EN10MB", "-ddd", "--", text])?;
            if text.contains("vlan") {
                warning!("--filter was compiled without {interface}: `vlan` does not find the outermost tag");
            }
            plain
        }
        other => other?,
    };
    let mut lines = output.lines();
    let count: Option<usize> = lines.next().and_then(|line| line.trim().parse().ok());
    let program: Vec<_> = lines.map_while(instruction).collect();
    if Some(program.len()) == count { Ok(program) } else { Err(Failed::Refused("it printed no program".to_owned())) }
}

enum Failed {
    /// It does not run.
    Absent(std::io::Error),
    /// It ran, and said this.
    Refused(String),
}

impl Failed {
    fn into_words(self, beyond: &str) -> String {
        match self {
            Self::Absent(e) => format!(
                "it is beyond the plain part of the language, which is compiled without tcpdump ({beyond}), and tcpdump does \
                 not run ({}): install tcpdump, or give the compiled program in hexadecimal, 16 digits an instruction",
                words_of(&e)
            ),
            Self::Refused(why) => format!("tcpdump does not compile it: {why}"),
        }
    }
}

fn tcpdump(args: &[&str]) -> Result<String, Failed> {
    let mut command = Command::new("tcpdump");
    let _ = command.args(args).stdin(Stdio::null()).env_remove(control::VARIABLE);
    if std::env::var_os("PATH").is_none() {
        let _ = command.env("PATH", PATH);
    }
    let output = command.output().map_err(Failed::Absent)?;
    if output.status.success() {
        return Ok(String::from_utf8_lossy(&output.stdout).into_owned());
    }
    let said = String::from_utf8_lossy(&output.stderr);
    let line = said.lines().rfind(|line| line.starts_with("tcpdump: ")).unwrap_or(&said);
    Err(Failed::Refused(line.trim_start_matches("tcpdump: ").trim().to_owned()))
}

/// A line of `-ddd`: code, jump true, jump false, k, in decimal.
fn instruction(line: &str) -> Option<FilterInstruction> {
    let fields: Vec<u32> = line.split_whitespace().map(|field| field.parse().ok()).collect::<Option<_>>()?;
    let &[code, jump_true, jump_false, k] = fields.as_slice() else { return None };
    Some(FilterInstruction {
        code: code.try_into().ok()?,
        jump_true: jump_true.try_into().ok()?,
        jump_false: jump_false.try_into().ok()?,
        k,
    })
}

#[cfg(test)]
mod tests {
    use steno_core::testkit::need;

    use super::*;

    #[test]
    fn words_compile_to_programs_that_hold() {
        if !need(Command::new("tcpdump").arg("--version").output().is_ok(), "tcpdump") {
            return;
        }
        let program = compile("vlan 7 and tcp[13] & 2 != 0", "no-such-interface").unwrap();
        assert_eq!(check(&program), Ok(()));
        assert!(program.len() > 5);
        let error = compile("tcp prot 80", "no-such-interface").unwrap_err();
        assert!(error.contains("syntax error"), "{error}");
        // Not an option, whatever it looks like.
        assert!(compile("-w/tmp/x", "no-such-interface").is_err());
    }

    #[test]
    fn lines_of_a_program_are_four_numbers() {
        let expected = FilterInstruction { code: 40, jump_true: 0, jump_false: 0, k: 12 };
        assert_eq!(instruction("40 0 0 12"), Some(expected));
        for bad in ["", "40 0 0", "40 0 0 12 1", "40 256 0 1", "65536 0 0 1", "a 0 0 0"] {
            assert_eq!(instruction(bad), None, "{bad}");
        }
    }
}
