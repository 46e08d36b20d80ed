//! Classic BPF programs (linux/filter.h; `bpf_check_classic` and `chk_code_allowed` of net/core/filter.c).

use crate::sys::FilterInstruction;

/// Hexadecimal digits of an instruction: code (4), jump true (2), jump false (2), k (8).
pub(super) const DIGITS: usize = 16;
/// BPF_MAXINSNS.
const INSTRUCTIONS_MAX: usize = 4096;
/// BPF_MEMWORDS: the words of scratch memory.
const MEMORY_WORDS: u32 = 16;

/// BPF_RET | BPF_K: accept as many bytes as `k` says.
pub(super) const RETURN_CONSTANT: u16 = 0x06;
const RETURN_ACCUMULATOR: u16 = 0x16;
pub(super) const JUMP_ALWAYS: u16 = 0x05;
const LOAD_MEMORY: u16 = 0x60;
const LOAD_INDEX_MEMORY: u16 = 0x61;
const STORE: u16 = 0x02;
const STORE_INDEX: u16 = 0x03;
const DIVIDE_CONSTANT: u16 = 0x34;
const MODULO_CONSTANT: u16 = 0x94;
const SHIFT_LEFT_CONSTANT: u16 = 0x64;
const SHIFT_RIGHT_CONSTANT: u16 = 0x74;
/// BPF_LD | BPF_ABS of a word, a half of it, and a byte.
const LOADS: [u16; 3] = [0x20, 0x28, 0x30];
/// SKF_AD_OFF: from here on no bytes of the packet are loaded, but what the kernel knows of it.
const KNOWN_OF_PACKET: u32 = 0xffff_f000;
/// SKF_AD_MAX, and how far apart what is known lies.
const KNOWN_OF_PACKET_END: u32 = KNOWN_OF_PACKET + 64;
const KNOWN_OF_PACKET_STEP: u32 = 4;

/// Codes that the kernel knows, but for the conditional jumps.
const KNOWN: [u16; 41] = [
    // Into A, and into X.
    0x00,
    0x20,
    0x28,
    0x30,
    0x40,
    0x48,
    0x50,
    LOAD_MEMORY,
    0x80,
    0x01,
    LOAD_INDEX_MEMORY,
    0x81,
    0xb1,
    // Into memory.
    STORE,
    STORE_INDEX,
    // Arithmetic, with a constant and with X.
    0x04,
    0x0c,
    0x14,
    0x1c,
    0x24,
    0x2c,
    DIVIDE_CONSTANT,
    0x3c,
    0x44,
    0x4c,
    0x54,
    0x5c,
    SHIFT_LEFT_CONSTANT,
    0x6c,
    SHIFT_RIGHT_CONSTANT,
    0x7c,
    0x84,
    MODULO_CONSTANT,
    0x9c,
    0xa4,
    0xac,
    // Between A and X, and out.
    0x07,
    0x87,
    JUMP_ALWAYS,
    RETURN_CONSTANT,
    RETURN_ACCUMULATOR,
];
/// The conditional jumps: JEQ, JGT, JGE, JSET, each with a constant and with X.
const JUMPS: [u16; 8] = [0x15, 0x1d, 0x25, 0x2d, 0x35, 0x3d, 0x45, 0x4d];

/// Reads a program, 16 digits an instruction.
pub(super) fn from_hex(text: &str) -> Result<Vec<FilterInstruction>, String> {
    if !text.len().is_multiple_of(DIGITS) {
        let len = text.len();
        return Err(format!(
            "a program has {DIGITS} hexadecimal digits an instruction, and {len} are no multiple of it"
        ));
    }
    text.as_bytes().as_chunks::<DIGITS>().0.iter().map(instruction).collect()
}

fn instruction(digits: &[u8; DIGITS]) -> Result<FilterInstruction, String> {
    // Rust's numbers may have a sign before them.
    if !digits.iter().all(u8::is_ascii_hexdigit) {
        return Err(format!("{} is not all hexadecimal digits", digits.escape_ascii()));
    }
    let text = std::str::from_utf8(digits).map_err(|e| e.to_string())?;
    let value = u64::from_str_radix(text, 16).map_err(|e| e.to_string())?;
    let [a, b, jump_true, jump_false, k @ ..] = value.to_be_bytes();
    Ok(FilterInstruction { code: u16::from_be_bytes([a, b]), jump_true, jump_false, k: u32::from_be_bytes(k) })
}

/// Checks a program as the kernel does, and says what is wrong with it.
///
/// # Errors
/// The first thing that the kernel would refuse.
pub(crate) fn check(program: &[FilterInstruction]) -> Result<(), String> {
    if program.is_empty() || program.len() > INSTRUCTIONS_MAX {
        return Err(format!("a program has 1 to {INSTRUCTIONS_MAX} instructions, not {}", program.len()));
    }
    for (at, i) in program.iter().enumerate() {
        // Instructions behind this one: a jump of 0 leads to the first of them.
        let behind = program.len() - at - 1;
        let wrong = match i.code {
            JUMP_ALWAYS if i.k as usize >= behind => Some("jumps past the end".to_owned()),
            code if JUMPS.contains(&code) && usize::from(i.jump_true.max(i.jump_false)) >= behind => {
                Some("jumps past the end".to_owned())
            }
            DIVIDE_CONSTANT | MODULO_CONSTANT if i.k == 0 => Some("divides by zero".to_owned()),
            SHIFT_LEFT_CONSTANT | SHIFT_RIGHT_CONSTANT if i.k >= u32::BITS => {
                Some(format!("shifts by {} of {} bits", i.k, u32::BITS))
            }
            LOAD_MEMORY | LOAD_INDEX_MEMORY | STORE | STORE_INDEX if i.k >= MEMORY_WORDS => {
                Some(format!("uses memory word {} of {MEMORY_WORDS}", i.k))
            }
            code if LOADS.contains(&code) && i.k >= KNOWN_OF_PACKET && !is_known_of_packet(i.k) => {
                Some(format!("loads from {:#x}, where nothing is", i.k))
            }
            code if !KNOWN.contains(&code) && !JUMPS.contains(&code) => {
                Some(format!("has code {code:#06x}, which is none"))
            }
            _ => None,
        };
        if let Some(wrong) = wrong {
            return Err(format!("instruction {at} {wrong}"));
        }
    }
    match program.last() {
        Some(last) if matches!(last.code, RETURN_CONSTANT | RETURN_ACCUMULATOR) => check_memory(program),
        _ => Err("the last instruction is no return".to_owned()),
    }
}

fn is_known_of_packet(k: u32) -> bool {
    k < KNOWN_OF_PACKET_END && k.is_multiple_of(KNOWN_OF_PACKET_STEP)
}

/// Checks that no word of memory is read before it was written, by whatever way the program comes there
/// (`check_load_and_stores`). All jumps lead forward, and within the program.
fn check_memory(program: &[FilterInstruction]) -> Result<(), String> {
    let mut at_start = vec![u16::MAX; program.len()];
    // A bit for each word that has been written when this instruction is reached; where none is, all of them.
    let mut written = 0u16;
    for (at, i) in program.iter().enumerate() {
        written &= at_start.get(at).copied().unwrap_or_default();
        let jumps = match i.code {
            JUMP_ALWAYS => [i.k; 2],
            code if JUMPS.contains(&code) => [i.jump_true.into(), i.jump_false.into()],
            STORE | STORE_INDEX => {
                written |= 1 << i.k;
                continue;
            }
            LOAD_MEMORY | LOAD_INDEX_MEMORY if written & 1 << i.k == 0 => {
                return Err(format!("instruction {at} reads memory word {}, which nothing has been put into", i.k));
            }
            _ => continue,
        };
        for distance in jumps {
            if let Some(there) = at_start.get_mut(at + 1 + distance as usize) {
                *there &= written;
            }
        }
        written = u16::MAX;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(hex: &str) -> Result<Vec<FilterInstruction>, String> {
        from_hex(&hex.replace(' ', "")).and_then(|program| check(&program).map(|()| program))
    }

    #[test]
    fn programs_read_field_by_field() {
        // `ip`, as compile_bpf.sh of 1.0.1 prints it.
        let program = read("002800000000000c 0015000100000800 0006000000040000 0006000000000000").unwrap();
        assert_eq!(program.len(), 4);
        assert_eq!(program[1], FilterInstruction { code: 0x15, jump_true: 0, jump_false: 1, k: 0x800 });
        assert_eq!(program[2], FilterInstruction { code: 6, jump_true: 0, jump_false: 0, k: 0x40000 });
    }

    #[test]
    fn nothing_but_digits_is_a_program() {
        for bad in ["+028000000000000", "0028 00000000000", "0028000\u{e9}0000000"] {
            let error = from_hex(bad).unwrap_err();
            assert!(error.contains("not all hexadecimal digits"), "{bad}: {error}");
        }
    }

    #[test]
    fn what_the_kernel_refuses_is_told_in_words() {
        for (program, why) in [
            ("00280000", "no multiple"),
            ("002800000000000c", "no return"),
            ("0015000100000800 0006000000000000", "instruction 0 jumps past"),
            ("0015020000000800 0006000000000000 0006000000000000", "instruction 0 jumps past"),
            ("0005000000000001 0006000000000000", "instruction 0 jumps past"),
            ("00050000ffffffff 0006000000000000", "instruction 0 jumps past"),
            ("0006000000000000 0034000000000000 0006000000000000", "instruction 1 divides"),
            ("0064000000000020 0006000000000000", "shifts by 32"),
            ("0002000000000010 0006000000000000", "memory word 16"),
            ("ffff000000000000 0006000000000000", "code 0xffff"),
            ("0028000 0fffff002 0006000000000000", "loads from 0xfffff002"),
            ("0030000 0fffff040 0006000000000000", "loads from 0xfffff040"),
            ("0060000000000003 0006000000000000", "instruction 0 reads memory word 3"),
            // Written on one way only.
            (
                "0015010000000800 0002000000000003 0061000000000003 0006000000000000",
                "instruction 2 reads memory word 3",
            ),
            ("0000000000000000", "no return"),
        ] {
            let error = read(program).unwrap_err();
            assert!(error.contains(why), "{program}: {error}");
        }
        assert!(check(&[]).is_err());
        let long = vec![FilterInstruction { code: RETURN_CONSTANT, jump_true: 0, jump_false: 0, k: 1 }; 4097];
        assert!(check(&long).unwrap_err().contains("4097"));
        assert!(check(&long[1..]).is_ok());
    }

    #[test]
    fn memory_that_was_written_is_read_and_so_is_what_the_kernel_knows() {
        assert!(read("0002000000000003 0015000100000800 0060000000000003 0006000000000000").is_ok());
        // Past a return: no way leads there.
        assert!(read("0005000000000001 0060000000000003 0006000000000000").is_ok());
        assert!(read("0028000 0fffff000 0030000 0fffff03c 0020000 0fff00000 0006000000000000").is_ok());
    }

    #[test]
    fn a_jump_may_lead_to_the_last_instruction() {
        assert!(read("0015010000000800 0006000000000000 0006000000040000").is_ok());
        assert!(read("0005000000000000 0006000000000000").is_ok());
    }
}
