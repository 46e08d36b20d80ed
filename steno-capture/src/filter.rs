//! Capture filters: a classic BPF program in hexadecimal as 1.0.1 takes it, or the text of one, compiled by tcpdump.

use std::process::Command;

use crate::sys::FilterInstruction;

/// Most instructions of a program (BPF_MAXINSNS of linux/bpf_common.h).
const INSTRUCTIONS_MAX: usize = 4096;
/// Hexadecimal digits of an instruction: code (4), jump if true (2), if false (2), k (8).
const DIGITS: usize = 16;

/// A filter that the kernel will take, as far as can be told without asking it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Filter {
    text: String,
    pub(crate) program: Vec<FilterInstruction>,
}

impl Filter {
    /// Takes either spelling. Text that is all hexadecimal digits is a program.
    ///
    /// # Errors
    /// A program of a wrong length, with an unknown instruction or a jump past its end; a text that tcpdump does not
    /// compile, or that there is no tcpdump to compile.
    pub fn parse(text: &str) -> Result<Self, String> {
        let hex = !text.is_empty() && text.bytes().all(|b| b.is_ascii_hexdigit());
        let program = if hex { from_hex(text)? } else { compile(text)? };
        check(&program)?;
        Ok(Self { text: text.to_owned(), program })
    }

    /// As it was given.
    pub fn text(&self) -> &str {
        &self.text
    }
}

fn from_hex(text: &str) -> Result<Vec<FilterInstruction>, String> {
    if !text.len().is_multiple_of(DIGITS) {
        let len = text.len();
        return Err(format!(
            "a compiled filter has {DIGITS} hexadecimal digits an instruction; {len} digits are no multiple of it"
        ));
    }
    let field = |digits: &str| u32::from_str_radix(digits, 16).map_err(|e| e.to_string());
    let narrow = |digits: &str| field(digits).and_then(|v| u8::try_from(v).map_err(|e| e.to_string()));
    (0..text.len())
        .step_by(DIGITS)
        .map(|at| {
            let part = |from: usize, to: usize| text.get(at + from..at + to).unwrap_or_default();
            let code = field(part(0, 4)).and_then(|v| u16::try_from(v).map_err(|e| e.to_string()))?;
            let (jump_true, jump_false) = (narrow(part(4, 6))?, narrow(part(6, 8))?);
            Ok(FilterInstruction { code, jump_true, jump_false, k: field(part(8, 16))? })
        })
        .collect()
}

/// Has tcpdump compile a text for Ethernet: a count, then a line an instruction, in decimal.
fn compile(text: &str) -> Result<Vec<FilterInstruction>, String> {
    let hint = "install tcpdump, or give the compiled program in hexadecimal";
    let output = Command::new("tcpdump")
        .args(["-ddd", "-y", "EN10MB", "--", text])
        .output()
        .map_err(|e| format!("a filter in words is compiled by tcpdump, which does not run ({e}): {hint}"))?;
    if !output.status.success() {
        let why = String::from_utf8_lossy(&output.stderr);
        let why =
            why.lines().rfind(|l| l.starts_with("tcpdump: ")).unwrap_or(&why).trim_start_matches("tcpdump: ").trim();
        return Err(format!("tcpdump does not compile it: {why}"));
    }
    let text = String::from_utf8_lossy(&output.stdout);
    let mut lines = text.lines();
    let count: usize = lines.next().and_then(|l| l.trim().parse().ok()).ok_or("tcpdump printed no program")?;
    let program: Vec<_> = lines.map_while(instruction).collect();
    if program.len() == count { Ok(program) } else { Err("tcpdump printed a cut program".to_owned()) }
}

fn instruction(line: &str) -> Option<FilterInstruction> {
    let mut fields = line.split_whitespace();
    let mut next = || fields.next()?.parse::<u32>().ok();
    Some(FilterInstruction {
        code: next()?.try_into().ok()?,
        jump_true: next()?.try_into().ok()?,
        jump_false: next()?.try_into().ok()?,
        k: next()?,
    })
}

/// What the kernel would refuse with a bare EINVAL (`bpf_check_classic` of net/core/filter.c): told here in words.
fn check(program: &[FilterInstruction]) -> Result<(), String> {
    const CLASS: u16 = 0x07;
    const JUMP: u16 = 0x05;
    const RETURN: u16 = 0x06;
    const ALWAYS: u16 = 0x05;
    if program.is_empty() || program.len() > INSTRUCTIONS_MAX {
        return Err(format!("a filter has 1 to {INSTRUCTIONS_MAX} instructions, not {}", program.len()));
    }
    for (at, i) in program.iter().enumerate() {
        let left = (program.len() - at - 1) as u64;
        let furthest = match (i.code & CLASS, i.code) {
            (JUMP, ALWAYS) => u64::from(i.k),
            (JUMP, _) => u64::from(i.jump_true.max(i.jump_false)),
            _ => continue,
        };
        if furthest >= left {
            return Err(format!("instruction {at} of the filter jumps past its end"));
        }
    }
    match program.last() {
        Some(last) if last.code & CLASS == RETURN => Ok(()),
        _ => Err("the last instruction of the filter is no return".to_owned()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hexadecimal_programs_read_field_by_field() {
        // What 1.0.1's compile_bpf.sh makes of `ip`.
        let hex: String = "00280000 0000000c 00150001 00000800 00060000 00040000 00060000 00000000".replace(' ', "");
        let filter = Filter::parse(&hex).unwrap();
        assert_eq!(filter.program.len(), 4);
        assert_eq!(filter.program[1], FilterInstruction { code: 0x15, jump_true: 0, jump_false: 1, k: 0x800 });
        assert_eq!(filter.text(), hex);
    }

    #[test]
    fn programs_that_the_kernel_refuses_are_refused_in_words() {
        for (program, why) in [
            ("0028", "multiple"),
            ("002800000000000c", "no return"),
            ("0015000100000800 0006000000000000", "jumps past"),
            ("0005000000000001 0006000000000000", "jumps past"),
        ] {
            let err = Filter::parse(&program.replace(' ', "")).unwrap_err();
            assert!(err.contains(why), "{program}: {err}");
        }
    }
}
