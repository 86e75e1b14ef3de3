//! What holds for the plan of any bytes.

mod synthetic;

use gevent_runtime::executable::holds_go;
use gevent_shim::cache::digest;
use gevent_shim::image::{Image, Layout, Load};
use gevent_shim::plan::{HOP_LEN, JUMP_LEN, Room, plan};
use gevent_shim::scan::{Wanted, candidates, scan};
use gevent_shim::trampoline::{self, STUB_MAX, Targets};
use iced_x86::{Code, Decoder, DecoderOptions, FlowControl, Mnemonic, OpKind};
use proptest::prelude::*;
use synthetic::{Object, TEXT};

/// Pieces of code as compilers write it around a `syscall`, and random bytes.
fn piece() -> impl Strategy<Value = Vec<u8>> {
    let fixed = |bytes: &'static [u8]| Just(bytes.to_vec());
    prop_oneof![
        4 => fixed(&[0x0f, 0x05]),
        2 => fixed(&[0xb8, 1, 0, 0, 0]),
        2 => fixed(&[0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff]),
        1 => fixed(&[0xc3]),
        1 => fixed(&[0x48, 0x85, 0xc0]),
        1 => fixed(&[0x57]),
        1 => fixed(&[0xff, 0xe0]),
        1 => fixed(&[0xe8, 0, 0, 0, 0]),
        1 => fixed(&[0x48, 0x8d, 0x0d, 1, 0, 0, 0]),
        1 => fixed(&[0xb8, 15, 0, 0, 0]),
        2 => any::<i8>().prop_map(|d| vec![0xeb, d as u8]),
        2 => any::<i8>().prop_map(|d| vec![0x75, d as u8]),
        1 => (-64i32..64).prop_map(|d| [&[0x0f, 0x84][..], &d.to_le_bytes()].concat()),
        1 => proptest::collection::vec(any::<u8>(), 1..6),
        1 => fixed(&[0x0f, 0x1f, 0x44, 0, 0]),
        1 => fixed(&[0x90; 7]),
        1 => fixed(&[0xf7, 0xd8, 0xf7, 0xd8, 0xf7, 0xd8, 0xf7, 0xd8]),
    ]
}

fn function() -> impl Strategy<Value = (Vec<u8>, u32)> {
    (proptest::collection::vec(piece(), 1..24), 0..4u32).prop_map(|(pieces, less)| {
        let code = pieces.concat();
        let len = (code.len() as u32).saturating_sub(less).max(1);
        (code, len)
    })
}

proptest! {
    #[test]
    fn windows_are_sound(
        functions in proptest::collection::vec(function(), 1..5),
        live in proptest::collection::vec(TEXT..TEXT + 256, 0..4),
    ) {
        let object = Object::new(&functions);
        let plan = object.plan(&live);
        let image = object.image();
        let mut free_from = 0;
        for w in &plan.windows {
            // Whole, long enough or with a room, in order, never overlapping.
            let least = if w.room.is_some() { HOP_LEN } else { JUMP_LEN };
            prop_assert!(w.start >= free_from && w.end - w.start >= least);
            prop_assert!(w.is_well_formed());
            prop_assert!(w.start <= w.site && w.site + 2 <= w.end);
            prop_assert_eq!(&w.bytes[..], image.get(w.start, w.end - w.start).unwrap());
            free_from = w.end;
            // No live address inside.
            prop_assert!(!live.iter().any(|&a| w.start < a && a < w.end));
            // It decodes to whole instructions with one syscall, and no call.
            let decoder = Decoder::with_ip(64, &w.bytes, w.start, DecoderOptions::NONE);
            let code: Vec<_> = decoder.into_iter().collect();
            prop_assert!(code.iter().all(|i| !i.is_invalid()));
            prop_assert_eq!(code.iter().filter(|i| i.code() == Code::Syscall).count(), 1);
            // It can be moved, and within what a stub may take.
            let at = TEXT + 0x10_0000;
            let targets = Targets { table: 0, entry_slot: at, record: at };
            if let Ok(stub) = trampoline::encode(w, 0, at, &targets) {
                prop_assert!(stub.code.len() <= STUB_MAX);
                prop_assert_eq!(&stub.code[stub.resume - 2..stub.resume], &[0x0f, 0x05]);
            }
            prop_assert_eq!(trampoline::patch(w, 0, at).unwrap().len(), w.bytes.len());
        }
        // Rooms are in no other one, and in no window but behind its jump.
        let rooms: Vec<&Room> = plan.windows.iter().filter_map(|w| w.room.as_ref()).collect();
        for (i, room) in rooms.iter().enumerate() {
            prop_assert_eq!(Some(&room.bytes[..]), image.get(room.start, JUMP_LEN));
            prop_assert!(rooms[..i].iter().all(|r| r.end() <= room.start || room.end() <= r.start));
            prop_assert!(!live.iter().any(|&a| room.start <= a && a < room.end()));
            for w in &plan.windows {
                let behind = w.room.is_none() && w.start + JUMP_LEN <= room.start && room.end() <= w.end;
                prop_assert!(behind || w.end <= room.start || room.end() <= w.start);
            }
        }
        let in_window = |a: u64| plan.windows.iter().any(|w| w.start <= a && a < w.end);
        let in_room = |a: u64| !in_window(a) && rooms.iter().any(|r| r.start <= a && a < r.end());
        // No jump that any function's linear decoding shows leads inside one, and no
        // instruction goes on in a room.
        let mut start = TEXT;
        for (code, len) in &functions {
            let bytes = &code[..(*len as usize).min(code.len())];
            for i in Decoder::with_ip(64, bytes, start, DecoderOptions::NONE) {
                if i.is_invalid() {
                    break;
                }
                if i.op_count() > 0 && i.op0_kind() == OpKind::NearBranch64 {
                    let t = i.near_branch_target();
                    prop_assert!(!plan.windows.iter().any(|w| w.start < t && t < w.end));
                    prop_assert!(!in_room(t));
                }
                let goes_on = !matches!(
                    i.flow_control(),
                    FlowControl::Return
                        | FlowControl::UnconditionalBranch
                        | FlowControl::IndirectBranch
                        | FlowControl::Exception
                );
                let is_filler = i.code() == Code::Int3 || i.mnemonic() == Mnemonic::Nop;
                prop_assert!(!goes_on || is_filler || !in_room(i.next_ip()));
            }
            start += code.len() as u64;
        }
    }

    #[test]
    fn any_bytes_are_planned_without_panic(
        text in proptest::collection::vec(any::<u8>(), 0..600),
        data in proptest::collection::vec(any::<u8>(), 0..64),
        cuts in proptest::collection::vec((1usize..100, 0u32..100), 0..8),
    ) {
        let mut rest = &text[..];
        let mut functions = Vec::new();
        for (len, covered) in cuts {
            let (code, tail) = rest.split_at(len.min(rest.len()));
            functions.push((code.to_vec(), covered));
            rest = tail;
        }
        let mut object = Object::new(&functions);
        object.data = data;
        object.plan(&[]);
    }

    #[test]
    fn any_file_is_read_without_panic(mut file in proptest::collection::vec(any::<u8>(), 0..2048)) {
        if file.len() > 20 {
            file[..20].copy_from_slice(b"\x7fELF\x02\x01\x01\0\0\0\0\0\0\0\0\0\x03\0\x3e\0");
        }
        if file.len() > 58 {
            // A few program headers right behind the file's.
            file[32..40].copy_from_slice(&64u64.to_le_bytes());
            file[54..58].copy_from_slice(&[56, 0, 4, 0]);
        }
        if let Ok(layout) = Layout::parse(&file) {
            let parts: Vec<&[u8]> = layout
                .loads
                .iter()
                .map(|l| file.get(l.offset as usize..(l.offset + l.size) as usize).unwrap_or(&[]))
                .collect();
            if let Ok(image) = Image::new(&layout, &parts) {
                let found = candidates(&image, Wanted::All);
                let scan = scan(&image, &found, &[]);
                plan(&scan, |start, end| image.get(start, end - start));
            }
        }
    }

    #[test]
    fn a_real_object_that_lies_is_read_without_panic(
        changes in proptest::collection::vec((0usize..0x400, any::<u8>()), 0..6),
        tables in proptest::collection::vec((any::<prop::sample::Index>(), any::<u8>()), 0..20),
        cut in prop::option::of(any::<prop::sample::Index>()),
    ) {
        let Ok(mut file) = std::fs::read("/lib64/ld-linux-x86-64.so.2") else {
            return Ok(());
        };
        // Where its unwind tables are.
        let whole = Layout::parse(&file).unwrap();
        let at = whole.eh_frame_hdr.unwrap() as usize;
        for (place, byte) in tables {
            let len = file.len().saturating_sub(at).min(0x8000);
            file[at + place.index(len)] = byte;
        }
        for (place, byte) in changes {
            file[place] = byte;
        }
        if let Some(cut) = cut {
            let len = cut.index(file.len());
            file.truncate(len);
        }
        holds_go(&&file[..]);
        let Ok(layout) = Layout::parse(&file) else {
            return Ok(());
        };
        let part = |l: &Load| file.get(l.offset as usize..(l.offset + l.size) as usize);
        let parts: Vec<&[u8]> = layout.loads.iter().map(|l| part(l).unwrap_or(&[])).collect();
        if let Ok(image) = Image::new(&layout, &parts) {
            let found = candidates(&image, Wanted::All);
            digest(&image, &found, &[]);
            let scan = scan(&image, &found, &[]);
            plan(&scan, |start, end| image.get(start, end - start));
        }
    }
}
