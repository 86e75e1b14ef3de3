//! Unwind tables of the stubs. Pure.
//!
//! A thread stays in a stub while the kernel carries out a call that no group
//! wants; a signal handler, a cancellation or a debugger then unwinds from there.
//! Nothing in a stub moves the stack pointer between the test and the end of the
//! `syscall`, so the frame above is the site's own function, as if it stood
//! behind its `syscall`: the CFA is rsp, and the return address a constant.

/// What one entry describes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Entry {
    /// First address of the stub.
    pub start: u64,
    /// Its length in bytes.
    pub len: u32,
    /// The address after the site's original `syscall`.
    pub ra: u64,
}

const DW_CFA_DEF_CFA: u8 = 0x0c;
const DW_CFA_VAL_EXPRESSION: u8 = 0x16;
const DW_OP_ADDR: u8 = 0x03;
const DW_EH_PE_PCREL_SDATA4: u8 = 0x1b;
const RSP: u8 = 7;
const RIP: u8 = 16;

/// Bytes of the section for `n` entries.
pub const fn size(n: usize) -> usize {
    CIE_LEN + n * FDE_LEN + 4
}

const CIE_LEN: usize = 24;
const FDE_LEN: usize = 32;

/// An `.eh_frame` section that will lie at `addr`, with its terminator.
/// `None` if a stub is more than 2 GiB away.
pub fn eh_frame(addr: u64, entries: &[Entry]) -> Option<Vec<u8>> {
    let mut out = Vec::with_capacity(size(entries.len()));
    out.extend((CIE_LEN as u32 - 4).to_le_bytes());
    out.extend(0u32.to_le_bytes()); // a CIE
    out.push(1); // version
    out.extend(b"zR\0");
    out.push(1); // code alignment
    out.push(0x78); // data alignment -8
    out.push(RIP);
    out.push(1); // bytes of augmentation data
    out.push(DW_EH_PE_PCREL_SDATA4);
    out.extend([DW_CFA_DEF_CFA, RSP, 0]);
    out.resize(CIE_LEN, 0);
    for entry in entries {
        let at = out.len();
        out.extend((FDE_LEN as u32 - 4).to_le_bytes());
        out.extend((at as u32 + 4).to_le_bytes()); // back to the CIE
        let pc = i32::try_from(entry.start.wrapping_sub(addr + out.len() as u64) as i64).ok()?;
        out.extend(pc.to_le_bytes());
        out.extend(entry.len.to_le_bytes());
        out.push(0); // bytes of augmentation data
        out.extend([DW_CFA_VAL_EXPRESSION, RIP, 9, DW_OP_ADDR]);
        out.extend(entry.ra.to_le_bytes());
        out.resize(at + FDE_LEN, 0);
    }
    out.extend(0u32.to_le_bytes());
    Some(out)
}

#[cfg(test)]
mod tests {
    use super::*;
    use gimli::{
        BaseAddresses, CfaRule, EhFrame, LittleEndian, RegisterRule, UnwindContext, UnwindSection,
    };

    #[test]
    fn a_reader_finds_the_rules() {
        let addr = 0x7000_0000;
        let entries = [
            Entry {
                start: 0x7000_1000,
                len: 70,
                ra: 0x1234_5678_9abc,
            },
            Entry {
                start: 0x7000_1050,
                len: 60,
                ra: 0x42,
            },
        ];
        let bytes = eh_frame(addr, &entries).unwrap();
        assert_eq!(bytes.len(), size(2));
        let section = EhFrame::new(&bytes, LittleEndian);
        let bases = BaseAddresses::default().set_eh_frame(addr);
        for entry in entries {
            let pc = entry.start + 10;
            let fde = section
                .fde_for_address(&bases, pc, EhFrame::cie_from_offset)
                .unwrap();
            assert_eq!(
                (fde.initial_address(), fde.len()),
                (entry.start, entry.len as u64)
            );
            let mut ctx = UnwindContext::new();
            let row = fde
                .unwind_info_for_address(&section, &bases, &mut ctx, pc)
                .unwrap();
            assert_eq!(
                *row.cfa(),
                CfaRule::RegisterAndOffset {
                    register: gimli::Register(RSP.into()),
                    offset: 0
                }
            );
            let Some(RegisterRule::ValExpression(expr)) = row.register(gimli::Register(RIP.into()))
            else {
                panic!("no rule for the return address");
            };
            let expr = expr.get(&section).unwrap();
            assert_eq!(expr.0.slice()[1..], entry.ra.to_le_bytes());
        }
    }
}
