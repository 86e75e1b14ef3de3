//! Prints what would be patched in each file that is named; with `--bare` as if no
//! instruction but the `syscall` itself could be moved, which shows how many sites have room
//! for a jump nearby.

use gevent_shim::image::{Image, Layout};
use gevent_shim::plan::plan;
use gevent_shim::scan::{Wanted, candidates, scan};

fn main() {
    let mut bare = false;
    for path in std::env::args().skip(1) {
        if path == "--bare" {
            bare = true;
            continue;
        }
        let file = std::fs::read(&path).unwrap();
        let layout = Layout::parse(&file).unwrap();
        let parts: Vec<&[u8]> = layout
            .loads
            .iter()
            .map(|l| &file[l.offset as usize..(l.offset + l.size) as usize])
            .collect();
        let image = Image::new(&layout, &parts).unwrap();
        let found = candidates(&image, Wanted::All);
        let live: Vec<u64> = if bare {
            found.iter().flat_map(|&site| [site, site + 2]).collect()
        } else {
            Vec::new()
        };
        let begin = std::time::Instant::now();
        let plan = plan(&scan(&image, &found, &live), |start, end| {
            image.get(start, end - start)
        });
        let took = begin.elapsed();
        let rooms = plan.windows.iter().filter(|w| w.room.is_some()).count();
        let missed = plan.missed().count();
        let sites = plan.windows.len();
        println!("{path}: {sites} sites, {rooms} by rooms, {missed} refused, in {took:.1?}");
        if !bare {
            for (addr, why) in plan.missed() {
                println!("  {addr:#x} {why:?}");
            }
        }
    }
}
