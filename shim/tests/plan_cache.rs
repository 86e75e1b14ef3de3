//! The kept plans: what is written is read back, and nothing else is believed.

mod synthetic;

use std::fs::{self, Permissions};
use std::os::unix::fs::{PermissionsExt, symlink};
use std::path::{Path, PathBuf};

use gevent_shim::cache::{Cache, checksum, decode, digest, encode, fits};
use gevent_shim::plan::{Plan, Room};
use gevent_shim::scan::{Wanted, candidates};
use proptest::prelude::*;
use synthetic::Object;

const ID: &[u8] = &[0xab; 20];

fn object() -> Object {
    // mov eax, 0; syscall; cmp rax, -4096; ret; mov eax, 15; syscall; and a function with a
    // site that has no window, and padding behind it
    let code = b"\xb8\0\0\0\0\x0f\x05\x48\x3d\0\xf0\xff\xff\xc3\xb8\x0f\0\0\0\x0f\x05";
    let closed = b"\x75\x02\x74\x02\x0f\x05\xc3\x90\x90\x90\x90\x90\x90";
    Object::new(&[
        (code.to_vec(), code.len() as u32),
        (closed.to_vec(), closed.len() as u32 - 6),
        (vec![0xc3], 1),
    ])
}

fn plan() -> Plan {
    let plan = object().plan(&[]);
    assert_eq!((plan.windows.len(), plan.refused.len()), (2, 1));
    assert_eq!(plan.windows.iter().filter(|w| w.room.is_some()).count(), 1);
    plan
}

fn plan_fits(plan: &Plan) -> bool {
    let object = object();
    let image = object.image();
    let found = candidates(&image, Wanted::All);
    fits(plan, &found, |start, len| image.get(start, len))
}

/// An empty directory of this test.
fn base(name: &str) -> PathBuf {
    let base = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("plan_cache")
        .join(name);
    if base.exists() {
        fs::remove_dir_all(&base).unwrap();
    }
    fs::create_dir_all(&base).unwrap();
    base
}

fn only_file(base: &Path) -> PathBuf {
    let mut files = fs::read_dir(base.join("gevent-shim")).unwrap();
    let file = files.next().unwrap().unwrap().path();
    assert!(files.next().is_none());
    file
}

fn mode(path: &Path) -> u32 {
    fs::symlink_metadata(path).unwrap().permissions().mode() & 0o7777
}

#[test]
fn a_plan_is_read_back() {
    let base = base("read_back");
    let cache = Cache::open_in(base.clone()).unwrap();
    assert_eq!(cache.load(ID, Wanted::All), None);
    cache.store(ID, Wanted::All, &plan()).unwrap();
    let again = Cache::open_in(base.clone()).unwrap();
    let kept = again.load(ID, Wanted::All).unwrap();
    assert_eq!(kept, plan());
    assert!(plan_fits(&kept));
    assert_eq!(again.load(ID, Wanted::AtLoad), None);
    assert_eq!(again.load(&[0xcd; 20], Wanted::All), None);
    assert_eq!(mode(&base.join("gevent-shim")), 0o700);
    assert_eq!(mode(&only_file(&base)), 0o600);
}

#[test]
fn a_plan_is_replaced() {
    let base = base("replaced");
    let cache = Cache::open_in(base.clone()).unwrap();
    cache.store(ID, Wanted::All, &Plan::default()).unwrap();
    cache.store(ID, Wanted::All, &plan()).unwrap();
    assert_eq!(cache.load(ID, Wanted::All), Some(plan()));
    only_file(&base);
}

#[test]
fn a_base_that_is_missing_is_made() {
    let base = base("missing").join("cache");
    assert!(Cache::open_in(base.clone()).is_some());
    assert_eq!(mode(&base), 0o700);
    assert!(Cache::open_in(base.join("a/b")).is_none());
}

#[test]
fn a_directory_open_to_others_is_not_used() {
    let base = base("open");
    drop(Cache::open_in(base.clone()).unwrap());
    let dir = base.join("gevent-shim");
    for bad in [0o755, 0o770, 0o1700, 0o500] {
        fs::set_permissions(&dir, Permissions::from_mode(bad)).unwrap();
        assert!(Cache::open_in(base.clone()).is_none(), "{bad:o}");
    }
    fs::remove_dir(&dir).unwrap();
    symlink(Path::new("/tmp"), &dir).unwrap();
    assert!(Cache::open_in(base.clone()).is_none());
    fs::remove_file(&dir).unwrap();
    fs::write(&dir, "").unwrap();
    assert!(Cache::open_in(base).is_none());
}

#[test]
fn a_file_open_to_others_is_not_read() {
    let base = base("open_file");
    let cache = Cache::open_in(base.clone()).unwrap();
    cache.store(ID, Wanted::All, &plan()).unwrap();
    let file = only_file(&base);
    fs::set_permissions(&file, Permissions::from_mode(0o644)).unwrap();
    assert_eq!(cache.load(ID, Wanted::All), None);
    fs::set_permissions(&file, Permissions::from_mode(0o600)).unwrap();
    assert_eq!(cache.load(ID, Wanted::All), Some(plan()));
    let elsewhere = base.join("elsewhere");
    fs::rename(&file, &elsewhere).unwrap();
    symlink(&elsewhere, &file).unwrap();
    assert_eq!(cache.load(ID, Wanted::All), None);
    // It is replaced all the same.
    cache.store(ID, Wanted::All, &plan()).unwrap();
    assert_eq!(cache.load(ID, Wanted::All), Some(plan()));
}

#[test]
fn damaged_files_are_not_believed() {
    let base = base("damaged");
    let cache = Cache::open_in(base.clone()).unwrap();
    cache.store(ID, Wanted::All, &plan()).unwrap();
    let file = only_file(&base);
    let good = fs::read(&file).unwrap();
    for len in 0..good.len() {
        fs::write(&file, &good[..len]).unwrap();
        assert_eq!(cache.load(ID, Wanted::All), None, "cut to {len}");
    }
    for at in 0..good.len() {
        for bit in 0..8 {
            let mut bad = good.clone();
            bad[at] ^= 1 << bit;
            fs::write(&file, &bad).unwrap();
            assert_eq!(cache.load(ID, Wanted::All), None, "bit {bit} of {at}");
        }
    }
}

#[test]
fn plans_of_other_bytes_do_not_fit() {
    let good = plan();
    assert!(plan_fits(&good));
    let with = |change: fn(&mut Plan)| {
        let mut plan = good.clone();
        change(&mut plan);
        plan
    };
    assert!(!plan_fits(&with(|p| p.windows.clear())));
    assert!(!plan_fits(&with(|p| p.refused.clear())));
    assert!(!plan_fits(&with(|p| p
        .windows
        .insert(0, p.windows[0].clone()))));
    assert!(!plan_fits(&with(|p| p.windows[0].bytes[3] ^= 1)));
    assert!(!plan_fits(&with(|p| p.windows[0].start -= 5)));
    fn room(plan: &mut Plan) -> &mut Room {
        plan.windows[1].room.as_mut().unwrap()
    }
    assert!(!plan_fits(&with(|p| room(p).bytes[0] ^= 1)));
    // Another function; the site's own; out of reach.
    assert!(!plan_fits(&with(|p| room(p).start += 2)));
    assert!(!plan_fits(&with(|p| room(p).start -= 4)));
    assert!(!plan_fits(&with(|p| room(p).start += 1 << 20)));
    assert!(!plan_fits(&with(|p| p.windows[1].room = None)));
    assert!(!plan_fits(&with(|p| {
        // The bytes are those in memory, but end in the middle of one instruction.
        p.windows[0].end -= 1;
        p.windows[0].bytes.pop();
    })));
}

proptest! {
    #[test]
    fn any_bytes_are_read_without_panic(
        mut bytes in proptest::collection::vec(any::<u8>(), 0..200),
        headed in any::<bool>(),
    ) {
        if headed {
            let mut file = encode(&Plan::default()).unwrap()[..16].to_vec();
            file.extend([bytes.len() as u8 % 4, 0, 0, 0, 1, 0, 0, 0]);
            file.append(&mut bytes);
            file.extend(checksum(&file).to_le_bytes());
            bytes = file;
        }
        if let Some(plan) = decode(&bytes) {
            prop_assert_eq!(encode(&plan), Some(bytes));
            plan_fits(&plan);
        }
    }
}

#[test]
fn a_digest_is_of_the_functions_with_sites() {
    let of = |object: &Object| {
        let image = object.image();
        digest(&image, &candidates(&image, Wanted::All), &[])
    };
    let function = |code: &[u8]| (code.to_vec(), code.len() as u32);
    // mov eax, 1; syscall; ret, and a function that jumps nowhere.
    let site = b"\xb8\x01\0\0\0\x0f\x05\xc3";
    let nops = [0x90; 400];
    let object = Object::new(&[function(site), function(&nops)]);
    assert_eq!(of(&object), of(&object.clone()));
    for (at, same) in [(0, false), (3, false), (7, false), (20, false), (390, true)] {
        let mut other = object.clone();
        other.text[at] ^= 1;
        assert_eq!(of(&other) == of(&object), same, "{at}");
    }
    let longer = Object::new(&[(site.to_vec(), 7), function(&nops)]);
    assert_ne!(of(&longer), of(&object));
}
