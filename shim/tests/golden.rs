//! The planner on hand-assembled code: bytes before, window, bytes after.

mod synthetic;

use gevent_shim::plan::{Plan, Window};
use gevent_shim::scan::Refusal;
use gevent_shim::trampoline::{self, Targets};
use synthetic::{Object, TEXT};

const MOV_READ: &[u8] = &[0xb8, 0, 0, 0, 0]; // mov eax, 0
const SYSCALL: &[u8] = &[0x0f, 0x05];
const CMP: &[u8] = &[0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff]; // cmp rax, -4096
const RET: &[u8] = &[0xc3];

fn code(parts: &[&[u8]]) -> Vec<u8> {
    parts.concat()
}

/// An object of one function.
fn one(code: Vec<u8>) -> Object {
    let len = code.len() as u32;
    Object::new(&[(code, len)])
}

/// The plan of one function.
fn plan(parts: &[&[u8]]) -> Plan {
    one(code(parts)).plan(&[])
}

fn window(plan: &Plan) -> (u64, u64) {
    assert_eq!(plan.refused, []);
    let [Window { start, end, .. }] = plan.windows[..] else {
        panic!("{plan:?}");
    };
    (start - TEXT, end - TEXT)
}

fn refusal(plan: &Plan) -> Refusal {
    assert_eq!(plan.windows, []);
    let [(_, refusal)] = plan.refused[..] else {
        panic!("{plan:?}");
    };
    refusal
}

#[test]
fn following_instructions_are_taken_first() {
    // mov eax, 0; syscall; cmp rax, -4096; ja +1; ret; ret
    let plan = plan(&[MOV_READ, SYSCALL, CMP, &[0x77, 1], RET, RET]);
    assert_eq!(window(&plan), (5, 13));
}

#[test]
fn before_and_after() {
    let plan = plan(&[MOV_READ, SYSCALL, CMP, &[0x77, 1], RET, RET]);
    let targets = Targets {
        table: 0x1122_3344_5566_7788,
        entry_slot: TEXT + 0x10000,
        record: TEXT + 0x10010,
    };
    let at = TEXT + 0x10100;
    let stub = trampoline::encode(&plan.windows[0], 0, at, &targets).unwrap();
    #[rustfmt::skip]
    let expected: &[u8] = &[
        0x48, 0x3d, 0xff, 0x01, 0x00, 0x00,                         // cmp rax, 511
        0x77, 0x10,                                                 // ja native
        0x48, 0xb9, 0x88, 0x77, 0x66, 0x55, 0x44, 0x33, 0x22, 0x11, // mov rcx, table
        0x80, 0x3c, 0x01, 0x00,                                     // cmp byte [rcx+rax], 0
        0x75, 0x0d,                                                 // jne enter
        0x0f, 0x05,                                                 // syscall
        0x48, 0x3d, 0x00, 0xf0, 0xff, 0xff,                         // cmp rax, -4096
        0xe9, 0xe8, 0xfe, 0xfe, 0xff,                               // jmp back
        0x48, 0x8d, 0x0d, 0xe4, 0xfe, 0xff, 0xff,                   // lea rcx, [record]
        0xff, 0x25, 0xce, 0xfe, 0xff, 0xff,                         // jmp [entry]
    ];
    assert_eq!(stub.code, expected);
    assert_eq!((stub.test, stub.resume), (0, 26));
    let patched = trampoline::patch(&plan.windows[0], 0, at).unwrap();
    assert_eq!(patched, [0xe9, 0xf6, 0x00, 0x01, 0x00, 0xcc, 0xcc, 0xcc]);
}

#[test]
fn a_return_is_too_short_so_the_number_moves() {
    let plan = plan(&[MOV_READ, SYSCALL, RET]);
    assert_eq!(window(&plan), (0, 7));
}

#[test]
fn a_return_may_end_the_window() {
    // syscall; neg eax; ret
    let plan = plan(&[&[0x90], SYSCALL, &[0xf7, 0xd8], RET]);
    assert_eq!(window(&plan), (1, 6));
}

#[test]
fn nothing_is_taken_from_behind_a_return() {
    // nop; syscall; ret; neg eax; neg eax
    let plan = plan(&[&[0x90], SYSCALL, RET, &[0xf7, 0xd8], &[0xf7, 0xd8]]);
    assert_eq!(refusal(&plan), Refusal::NoWindow);
}

#[test]
fn a_target_behind_the_site_leaves_the_preceding_side() {
    // jmp over the first three; mov eax, 0; syscall; target: cmp; ret
    let plan = plan(&[&[0xeb, 7], MOV_READ, SYSCALL, CMP, RET]);
    assert_eq!(window(&plan), (2, 9));
}

#[test]
fn a_target_at_the_site_leaves_the_following_side() {
    let plan = plan(&[&[0xeb, 5], MOV_READ, SYSCALL, CMP, RET]);
    assert_eq!(window(&plan), (7, 15));
}

#[test]
fn targets_at_and_behind_the_site_leave_nothing() {
    // jne syscall; je behind
    let plan = plan(&[&[0x75, 7, 0x74, 7], MOV_READ, SYSCALL, CMP, RET]);
    assert_eq!(refusal(&plan), Refusal::NoWindow);
}

#[test]
fn a_return_point_is_a_target() {
    // call +0; syscall; call +0
    let call: &[u8] = &[0xe8, 0, 0, 0, 0];
    let plan = plan(&[call, SYSCALL, call, RET]);
    assert_eq!(refusal(&plan), Refusal::NoWindow);
}

#[test]
fn instructions_that_move_the_frame_stay() {
    // vfork: pop rdi; mov eax, 58; syscall; push rdi; cmp eax, -4095; jae; ret
    let cmp: &[u8] = &[0x3d, 0x01, 0xf0, 0xff, 0xff];
    let number: &[u8] = &[0xb8, 0x3a, 0, 0, 0];
    let plan = plan(&[&[0x5f], number, SYSCALL, &[0x57], cmp, &[0x73, 1], RET, RET]);
    assert_eq!(window(&plan), (1, 8));
}

#[test]
fn returns_from_handlers_are_left_alone() {
    for number in [
        &[0x48, 0xc7, 0xc0, 0x0f, 0, 0, 0][..],
        &[0xb8, 0x0f, 0, 0, 0],
    ] {
        let plan = plan(&[number, SYSCALL, CMP, RET]);
        assert_eq!(refusal(&plan), Refusal::SignalReturn);
        assert_eq!(plan.missed().count(), 0);
    }
}

#[test]
fn operands_relative_to_the_instruction_are_moved() {
    // mov eax, 0; syscall; mov rcx, [rip + 0x1000]; ret
    let load: &[u8] = &[0x48, 0x8b, 0x0d, 0, 0x10, 0, 0];
    let plan = plan(&[MOV_READ, SYSCALL, load, RET]);
    assert_eq!(window(&plan), (5, 14));
    let targets = Targets {
        table: 0,
        entry_slot: TEXT + 0x20000,
        record: TEXT + 0x20010,
    };
    let at = TEXT + 0x20100;
    let stub = trampoline::encode(&plan.windows[0], 0, at, &targets).unwrap();
    let moved = &stub.code[stub.resume..stub.resume + 7];
    assert_eq!(moved[..3], load[..3]);
    let disp = i32::from_le_bytes(moved[3..].try_into().unwrap());
    let operand = at + stub.resume as u64 + 7;
    assert_eq!(operand.wrapping_add_signed(disp.into()), TEXT + 14 + 0x1000);
}

#[test]
fn an_operand_out_of_reach_is_refused() {
    let load: &[u8] = &[0x48, 0x8b, 0x0d, 0, 0x10, 0, 0];
    let plan = plan(&[MOV_READ, SYSCALL, load, RET]);
    let targets = Targets {
        table: 0,
        entry_slot: 0,
        record: 0,
    };
    let far = TEXT + (8 << 30);
    let stub = trampoline::encode(&plan.windows[0], 0, far, &targets);
    assert_eq!(stub, Err(Refusal::Relocation));
    let patched = trampoline::patch(&plan.windows[0], 0, far);
    assert_eq!(patched, Err(Refusal::Relocation));
}

#[test]
fn another_function_may_jump_in() {
    // First function: site; second: jmp rel32 to the instruction behind it.
    let mut first = code(&[MOV_READ, SYSCALL, CMP, RET]);
    first.resize(0x400, 0xcc);
    let disp = 7 - (0x400 + 5);
    let second = code(&[&[0xe9], &i32::to_le_bytes(disp)]);
    let object = Object::new(&[(first, 14), (second, 5)]);
    assert_eq!(window(&object.plan(&[])), (0, 7));
}

#[test]
fn a_neighbour_may_jump_in() {
    let first = code(&[MOV_READ, SYSCALL, CMP, RET]);
    let (len, second) = (first.len() as i32, vec![0xeb, (7 - (14 + 2)) as u8]);
    assert_eq!(len, 14);
    let object = Object::new(&[(first, 14), (second, 2)]);
    assert_eq!(window(&object.plan(&[])), (0, 7));
}

#[test]
fn an_interrupted_context_may_return_there() {
    let object = one(code(&[MOV_READ, SYSCALL, CMP, RET]));
    assert_eq!(window(&object.plan(&[])), (5, 13));
    assert_eq!(window(&object.plan(&[TEXT + 7])), (0, 7));
    assert_eq!(
        refusal(&object.plan(&[TEXT + 5, TEXT + 7])),
        Refusal::NoWindow
    );
}

#[test]
fn code_between_functions_may_jump_in() {
    // First: one covered instruction, then `je` to the second one's site, and
    // behind it.
    let first = code(&[&[0x90], &[0x74, 6], RET]);
    let second = code(&[MOV_READ, SYSCALL, CMP, RET]);
    let object = Object::new(&[(first, 1), (second, 14)]);
    assert_eq!(window(&object.plan(&[])), (4 + 5, 4 + 13));
    let first = code(&[&[0x90], &[0x74, 8], RET]);
    let second = code(&[MOV_READ, SYSCALL, CMP, RET]);
    let object = Object::new(&[(first, 1), (second, 14)]);
    assert_eq!(window(&object.plan(&[])), (4, 4 + 7));
}

/// lea rdx, [table]; movsxd rax, [rdx + rax*4]; add rax, rdx; jmp rax
fn dispatch_on(table: u64) -> Vec<u8> {
    let lea = (table.wrapping_sub(TEXT + 7) as i32).to_le_bytes();
    code(&[
        &[0x48, 0x8d, 0x15],
        &lea,
        &[0x48, 0x63, 0x04, 0x82],
        &[0x48, 0x01, 0xd0],
        &[0xff, 0xe0],
    ])
}

#[test]
fn a_jump_table_may_lead_there() {
    let table = synthetic::DATA;
    let head = dispatch_on(table);
    let after = TEXT + head.len() as u64 + 7;
    let mut object = one(code(&[&head, MOV_READ, SYSCALL, CMP, RET]));
    object.data = i32::to_le_bytes(after.wrapping_sub(table) as i32).to_vec();
    let at = head.len() as u64;
    assert_eq!(window(&object.plan(&[])), (at, at + 7));
}

#[test]
fn an_unknown_jump_table_is_refused() {
    let head = dispatch_on(synthetic::DATA);
    let mut object = one(code(&[&head, MOV_READ, SYSCALL, CMP, RET]));
    object.data = vec![0x7f; 16];
    assert_eq!(refusal(&object.plan(&[])), Refusal::IndirectJump);
}

#[test]
fn a_tail_call_is_no_jump_table() {
    // ...; jmp rax
    let plan = plan(&[MOV_READ, SYSCALL, CMP, &[0x77, 2], &[0xff, 0xe0], RET]);
    assert_eq!(window(&plan), (5, 13));
}

#[test]
fn bytes_of_another_instruction_are_no_site() {
    // mov eax, 0x0005050f; ret
    let plan = plan(&[&[0xb8, 0x0f, 0x05, 0x05, 0x00], RET]);
    assert_eq!(refusal(&plan), Refusal::NotAnInstruction);
    assert_eq!(plan.missed().count(), 0);
}

#[test]
fn code_in_no_function_is_refused() {
    let object = Object::new(&[(code(&[RET, MOV_READ, SYSCALL, CMP, RET]), 1)]);
    assert_eq!(refusal(&object.plan(&[])), Refusal::NoFunction);
}

#[test]
fn code_at_the_entry_point_is_left_alone() {
    // The dynamic linker's: a call, and behind it a site that a jump goes past.
    let call: &[u8] = &[0xe8, 0, 0, 0, 0];
    let start = code(&[RET, call, &[0x74, 7], MOV_READ, SYSCALL, call, RET]);
    let mut object = Object::new(&[(start, 1)]);
    assert_eq!(refusal(&object.plan(&[])), Refusal::NoFunction);
    object.entry = TEXT + 1;
    let plan = object.plan(&[]);
    assert_eq!(refusal(&plan), Refusal::ProgramStart);
    assert_eq!(plan.missed().count(), 0);
    // Not where it may come back to, behind a return, or in front of the entry point.
    for (entry, code) in [
        (TEXT + 1, code(&[RET, RET, MOV_READ, SYSCALL, RET])),
        (TEXT + 8, code(&[RET, MOV_READ, SYSCALL, RET])),
        (TEXT + 1, code(&[RET, &[0xeb, 0], MOV_READ, SYSCALL, RET])),
    ] {
        let mut object = Object::new(&[(code, 1)]);
        object.entry = entry;
        assert_eq!(refusal(&object.plan(&[])), Refusal::NoFunction);
    }
}

#[test]
fn code_far_behind_a_function_is_not_decoded() {
    let behind = |gap: usize| {
        let nops = vec![0x90; gap];
        Object::new(&[(code(&[&nops, MOV_READ, SYSCALL, CMP, RET]), 1)]).plan(&[])
    };
    assert_eq!(behind(0x3_0000).windows.len(), 1);
    assert_eq!(refusal(&behind(0x5_0000)), Refusal::NoFunction);
}

#[test]
fn code_that_a_function_falls_into_is_known() {
    // glibc's clone: the entry ends in front of the syscall, another begins
    // where the child starts.
    let mov: &[u8] = &[0xb8, 0x38, 0, 0, 0];
    let test: &[u8] = &[0x48, 0x85, 0xc0];
    let object = Object::new(&[
        (code(&[mov, SYSCALL, test, &[0x74, 1], RET]), 5),
        (code(&[&[0x31, 0xed], RET]), 3),
    ]);
    assert_eq!(window(&object.plan(&[])), (5, 10));
}

#[test]
fn two_sites_never_share_bytes() {
    // syscall; test; syscall; test; ret
    let test: &[u8] = &[0x48, 0x85, 0xc0];
    let plan = plan(&[SYSCALL, test, SYSCALL, test, RET]);
    let windows: Vec<_> = plan
        .windows
        .iter()
        .map(|w| (w.start - TEXT, w.end - TEXT))
        .collect();
    assert_eq!(windows, [(0, 5), (5, 10)]);
}

#[test]
fn two_sites_too_close_to_each_other() {
    // nop; syscall; syscall; ret
    let plan = plan(&[&[0x90], SYSCALL, SYSCALL, RET]);
    assert_eq!(plan.windows, []);
    assert_eq!(plan.missed().count(), 2);
}

/// jne syscall; je behind; mov eax, 0; syscall; cmp; ret: no window.
const CLOSED: &[&[u8]] = &[&[0x75, 7, 0x74, 7], MOV_READ, SYSCALL, CMP, RET];

/// The window of a plan of one site, which is the site alone, and its room.
fn room(plan: &Plan) -> (u64, u64) {
    let [window] = &plan.windows[..] else {
        panic!("{plan:?}");
    };
    assert!(window.is_well_formed() && window.start == window.site);
    assert_eq!((window.end - window.start, &window.bytes[..]), (2, SYSCALL));
    (
        window.site - TEXT,
        window.room.as_ref().unwrap().start - TEXT,
    )
}

/// Two functions with `gap` between them.
fn apart(first: &[&[u8]], gap: &[u8], second: &[&[u8]]) -> Object {
    let (first, second) = (code(first), code(second));
    let (len, second_len) = (first.len() as u32, second.len() as u32);
    Object::new(&[([&first[..], gap].concat(), len), (second, second_len)])
}

#[test]
fn padding_between_functions_takes_the_jump() {
    for gap in [
        &[0x90; 5][..],
        &[0xcc; 9],
        &[0x66, 0x2e, 0x0f, 0x1f, 0x84, 0, 0, 0, 0, 0],
        &[0x0f, 0x1f, 0x44, 0, 0],
        &[0x66, 0x90, 0x0f, 0x1f, 0x00],
    ] {
        let object = apart(CLOSED, gap, &[RET]);
        assert_eq!(room(&object.plan(&[])), (9, 18), "{gap:x?}");
        let object = apart(&[RET], gap, CLOSED);
        assert_eq!(room(&object.plan(&[])), (gap.len() as u64 + 10, 1));
    }
}

#[test]
fn padding_that_may_be_reached_is_left_alone() {
    let refused = |object: &Object| assert_eq!(refusal(&object.plan(&[])), Refusal::NoWindow);
    let nops = &[0x90; 6][..];
    // Too short; not only padding; the function before it falls into it.
    refused(&apart(CLOSED, &nops[..4], &[RET]));
    refused(&apart(
        CLOSED,
        &[0x90, 0x90, 0x90, 0x90, 0x50, 0x90, 0x90],
        &[RET],
    ));
    refused(&apart(&[CLOSED, &[&[0x90]]].concat(), nops, &[RET]));
    // A call that does not return, for all that is known.
    refused(&apart(
        &[CLOSED, &[&[0xe8, 0, 0, 0, 0]]].concat(),
        nops,
        &[RET],
    ));
    // The next function jumps to its third byte, or to its first of five.
    refused(&apart(CLOSED, nops, &[&[0xeb, (-6i8) as u8]]));
    refused(&apart(CLOSED, &nops[..5], &[&[0xeb, (-7i8) as u8]]));
    // A function far away does.
    let far = [&[0xcc; 400][..], &[0xe9], &i32::to_le_bytes(-(400 + 5 + 4))].concat();
    refused(&apart(CLOSED, nops, &[RET, &far]));
    // Out of reach.
    refused(&apart(
        &[CLOSED, &[&[0x50; 130], RET]].concat(),
        nops,
        &[RET],
    ));
}

#[test]
fn the_part_of_the_padding_that_nothing_reaches_is_used() {
    // The next function jumps to the second byte of twelve, and goes on through the others.
    let object = apart(CLOSED, &[0x90; 12], &[&[0xeb, (-13i8) as u8]]);
    assert_eq!(refusal(&object.plan(&[])), Refusal::NoWindow);
    // Behind the first nine nobody arrives.
    let object = apart(CLOSED, &[0x90; 12], &[&[0xeb, (-6i8) as u8]]);
    assert_eq!(room(&object.plan(&[])), (9, 18));
}

#[test]
fn padding_inside_a_function_takes_the_jump() {
    let nop: &[u8] = &[0x0f, 0x1f, 0x44, 0, 0];
    let plan_of = |end: &[&[u8]]| plan(&[CLOSED, end].concat());
    assert_eq!(room(&plan_of(&[nop, &[0x50], RET])), (9, 18));
    // It is jumped to.
    let refused = plan_of(&[nop, &[0xeb, (-7i8) as u8]]);
    assert_eq!(refusal(&refused), Refusal::NoWindow);
}

#[test]
fn sites_share_no_room() {
    let both = [CLOSED, CLOSED].concat();
    let starts = |gap: usize| {
        let plan = apart(&both, &vec![0x90; gap], &[RET]).plan(&[]);
        let rooms = plan.windows.iter().filter_map(|w| w.room.as_ref());
        let starts: Vec<_> = rooms.map(|room| room.start - TEXT).collect();
        (starts, plan.missed().count())
    };
    assert_eq!(starts(9), (vec![36], 1));
    assert_eq!(starts(10), (vec![36, 41], 0));
}

#[test]
fn what_another_window_leaves_free_takes_the_jump() {
    // A window of five bytes is made longer: mov eax, 0; syscall; neg eax; neg eax; …
    let neg: &[u8] = &[0xf7, 0xd8];
    let other = [&[MOV_READ, SYSCALL][..], &[neg; 4], &[RET]].concat();
    let plan = plan(&[CLOSED, &other].concat());
    let [closed, open] = &plan.windows[..] else {
        panic!("{plan:?}");
    };
    assert_eq!((open.start - TEXT, open.end - TEXT), (23, 33));
    let room = closed.room.as_ref().unwrap();
    assert_eq!(room.start - TEXT, 28);
    assert_eq!(room.bytes, [0xd8, 0xf7, 0xd8, 0xf7, 0xd8]);
    // Nor is it where somebody may arrive.
    let open = [&[&[0x75, 9][..], MOV_READ, SYSCALL][..], &[neg; 4], &[RET]].concat();
    let object = one(code(&[CLOSED, &open].concat()));
    let plan = object.plan(&[]);
    assert_eq!((plan.windows.len(), plan.missed().count()), (1, 1));
}

#[test]
fn a_room_has_the_jump_to_the_stub() {
    let plan = apart(CLOSED, &[0xcc; 9], &[RET]).plan(&[]);
    let window = &plan.windows[0];
    let at = TEXT + 0x10100;
    // 9 + 2 + 7 is 18.
    assert_eq!(trampoline::patch(window, 0, at), Ok(vec![0xeb, 7]));
    let filled = trampoline::fill(window.room.as_ref().unwrap(), 0, at).unwrap();
    assert_eq!(filled[0], 0xe9);
    let reach = i32::from_le_bytes(filled[1..].try_into().unwrap());
    assert_eq!((TEXT + 18 + 5).wrapping_add_signed(reach.into()), at);
    let targets = Targets {
        table: 0,
        entry_slot: TEXT + 0x10000,
        record: TEXT + 0x10010,
    };
    let stub = trampoline::encode(window, 0, at, &targets).unwrap();
    assert_eq!((stub.test, stub.resume), (0, 26));
    assert_eq!(stub.moved, [(0, 0)]);
    // jmp back, behind the site.
    assert_eq!(stub.code[stub.resume], 0xe9);
    let back = i32::from_le_bytes(stub.code[stub.resume + 1..][..4].try_into().unwrap());
    let from = at + stub.resume as u64 + 5;
    assert_eq!(from.wrapping_add_signed(back.into()), window.ra());
}

#[test]
fn a_site_among_unknown_jumps_needs_a_room_only() {
    let head = dispatch_on(synthetic::DATA);
    let mut object = apart(&[&head, MOV_READ, SYSCALL, CMP, RET], &[0x90; 7], &[RET]);
    object.data = vec![0x7f; 16];
    let site = head.len() as u64 + 5;
    assert_eq!(room(&object.plan(&[])), (site, site + 9));
    // Bytes that are no instruction stay.
    let no_site: &[u8] = &[0xb8, 0x0f, 0x05, 0x05, 0x00];
    let mut object = apart(&[&head, no_site, RET], &[0x90; 7], &[RET]);
    object.data = vec![0x7f; 16];
    assert_eq!(refusal(&object.plan(&[])), Refusal::NotAnInstruction);
}

#[test]
fn a_table_may_have_distances_from_a_label() {
    // lea rdx, [table]; movsxd rax, [rdx + rax*4]; lea rcx, [label]; add rax, rcx; jmp rax;
    // label: ...; mov eax, 0; syscall; cmp; ret
    let table = synthetic::DATA;
    let lea = (table.wrapping_sub(TEXT + 7) as i32).to_le_bytes();
    let label: &[u8] = &[0x48, 0x8d, 0x0d, 5, 0, 0, 0];
    let head = code(&[
        &[0x48, 0x8d, 0x15],
        &lea,
        &[0x48, 0x63, 0x04, 0x82],
        label,
        &[0x48, 0x01, 0xc8],
        &[0xff, 0xe0],
    ]);
    let at = head.len() as u64;
    let mut object = one(code(&[&head, MOV_READ, SYSCALL, CMP, RET]));
    object.data = [0i32, 7].map(i32::to_le_bytes).concat();
    assert_eq!(window(&object.plan(&[])), (at, at + 7));
}

#[test]
fn a_pointer_that_no_index_chose_is_no_jump_table() {
    // mov rcx, [rdi + rsi*8]; mov rax, [rip + hook]; test rax, rax; jne tail;
    // mov eax, 0; syscall; cmp; ret; tail: pop rbx; jmp rax
    let array: &[u8] = &[0x48, 0x8b, 0x0c, 0xf7];
    let hook: &[u8] = &[0x48, 0x8b, 0x05, 0, 0, 0x10, 0];
    let test: &[u8] = &[0x48, 0x85, 0xc0, 0x75, 14];
    let tail: &[u8] = &[0x5b, 0xff, 0xe0];
    let of = |load: &[u8]| plan(&[array, load, test, MOV_READ, SYSCALL, CMP, RET, tail]);
    assert_eq!(window(&of(hook)), (21, 29));
    // Through the hook's address; as an argument; mangled.
    assert_eq!(window(&of(&[hook, &[0x48, 0x8b, 0x00]].concat())), (24, 32));
    assert_eq!(window(&of(&[0x48, 0x89, 0xd0])), (17, 25));
    let mangled = [
        hook,
        &[0x48, 0xc1, 0xc8, 0x11],
        &[0x64, 0x48, 0x33, 0x04, 0x25, 0x30, 0, 0, 0],
    ];
    assert_eq!(window(&of(&mangled.concat())), (34, 42));
    // Chosen by the index, computed, or from the stack.
    for load in [
        &[0x48, 0x89, 0xc8][..],
        &[0x48, 0x8b, 0x04, 0xf7],
        &[0x48, 0x8b, 0x01],
        &[0x48, 0x01, 0xc8],
        &[0x48, 0x8b, 0x44, 0x24, 8],
    ] {
        assert_eq!(refusal(&of(load)), Refusal::IndirectJump, "{load:x?}");
    }
}

#[test]
fn bytes_that_only_look_like_a_jump_keep_nothing_from_moving() {
    // call [rbx + 0x40]; add rax, r13; jmp …: e8 e9 … reads as a call to behind the site.
    let mut first = code(&[&[0x74, 7], MOV_READ, SYSCALL, CMP, RET]);
    first.resize(0x40, 0xcc);
    let end = 0x40 + 6;
    let call = [&[0x4c, 0x01][..], &[0xe8]].concat();
    let disp = i32::to_le_bytes(9 + 1 - (end + 1));
    // The displacement's first byte has to be the opcode of the jump.
    let bytes = [&call[..], &disp].concat();
    let object = Object::new(&[(first.clone(), 16), ([&bytes[..], RET].concat(), 8)]);
    let by_jump = object.plan(&[]);
    // Decoded, it is `add rax, r13` and no call, unless it begins there.
    assert_eq!(by_jump.missed().count(), 0, "{by_jump:?}");
}
