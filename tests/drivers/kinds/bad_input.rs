//! Files that are not what they seem: kept plans, and objects that are replaced.

use std::io::{BufRead, BufReader};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use gevent_tests::{library, mode};

use crate::support::{Said, bounded, c, directory, launcher, preloaded, said};

/// What its thread is, and whether two of them can talk; before that, what the first argument
/// says is renamed to what the second says.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <unistd.h>
static int fds[2];
static void *body(void *a)
{
	char byte;
	if (read(fds[0], &byte, 1) != 1)
		abort();
	return syscall(SYS_gettid) >= 1 << 22 ? "guest" : a;
}
int main(int argc, char **argv)
{
	pthread_t thread;
	void *what;
	if (argc > 2 && rename(argv[1], argv[2]))
		return 1;
	if (pipe(fds) || pthread_create(&thread, 0, body, "kernel thread"))
		return 2;
	if (write(fds[1], "x", 1) != 1 || pthread_join(thread, &what))
		return 3;
	puts(what);
	return 0;
}
"#;

/// An empty directory of that name.
fn empty(name: &str) -> PathBuf {
    let place = directory().join(name);
    if place.exists() {
        std::fs::remove_dir_all(&place).unwrap();
    }
    std::fs::create_dir_all(&place).unwrap();
    place
}

/// The program preloaded, with its plans kept below a directory.
fn run(cache: &Path, words: &[&str]) -> Said {
    let mut all = preloaded(&[("XDG_CACHE_HOME", cache.to_str().unwrap())]);
    all.extend(words.iter().map(|&word| word.to_owned()));
    said(&mut bounded(&all))
}

#[track_caller]
fn is_cooperative(said: &Said, why: &str) {
    assert_eq!(
        (said.status, &*said.out, &*said.err),
        (Some(0), "guest\n", ""),
        "{why}"
    );
}

#[test]
fn plans_that_are_wrong_are_made_again() {
    let program = c("plans", PROGRAM, &[]);
    let words = [program.to_str().unwrap()];
    let cache = empty("cache");
    is_cooperative(&run(&cache, &words), "no plans");
    let plans = cache.join("gevent-shim");
    let kept: Vec<_> = std::fs::read_dir(&plans)
        .unwrap()
        .map(|entry| entry.unwrap().path())
        .collect();
    assert!(kept.len() > 1, "{kept:?}");
    let right: Vec<_> = kept
        .iter()
        .map(|path| std::fs::read(path).unwrap())
        .collect();
    let change = |name: &str, bad: &dyn Fn(usize, &Path)| {
        for (i, path) in kept.iter().enumerate() {
            bad(i, path);
        }
        is_cooperative(&run(&cache, &words), name);
        is_cooperative(&run(&cache, &words), name);
    };
    change("empty", &|_, path| std::fs::write(path, "").unwrap());
    change("cut", &|i, path| {
        std::fs::write(path, &right[i][..right[i].len() / 2]).unwrap()
    });
    change("longer", &|i, path| {
        std::fs::write(path, [&right[i][..], b"x"].concat()).unwrap()
    });
    change("another's", &|i, path| {
        std::fs::write(path, &right[(i + 1) % right.len()]).unwrap();
    });
    change("a bit", &|i, path| {
        let mut bytes = right[i].clone();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 4;
        std::fs::write(path, bytes).unwrap();
    });
    change("a directory", &|_, path| {
        std::fs::remove_file(path).unwrap();
        std::fs::create_dir(path).unwrap();
    });
    change("a link", &|_, path| {
        std::fs::remove_dir(path).unwrap();
        std::os::unix::fs::symlink("/dev/zero", path).unwrap();
    });
    std::fs::remove_dir_all(&plans).unwrap();
    std::os::unix::fs::symlink("/", &plans).unwrap();
    is_cooperative(&run(&cache, &words), "a link for a directory");
    std::fs::remove_file(&plans).unwrap();
    std::fs::write(&plans, "").unwrap();
    is_cooperative(&run(&cache, &words), "a file for a directory");
}

#[test]
fn plans_that_must_not_be_as_long_are_not_kept() {
    // Beyond the limit a write sends SIGXFSZ, which ends the program.
    let program = c("plans", PROGRAM, &[]);
    let cache = empty("limited-cache");
    let words = ["prlimit", "--fsize=1000", program.to_str().unwrap()];
    is_cooperative(&run(&cache, &words), "limited");
}

#[test]
fn a_libc_that_is_replaced_meanwhile() {
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    if !libc.exists() {
        return println!("NOT TESTED: no {}", libc.display());
    }
    let place = empty("replaced");
    let cache = empty("replaced-cache");
    let path = format!("-Wl,-rpath,{}", place.display());
    let program = c("replaced_libc", PROGRAM, &[&path]);
    let (own, next) = (place.join("libc.so.6"), place.join("next"));
    let words = [&program, &next, &own].map(|path| path.to_str().unwrap());
    let whole = std::fs::read(libc).unwrap();
    // By the same, by half of it, and by one with the same build-id and other code.
    let mut other = whole.clone();
    let site = other
        .windows(2)
        .position(|two| two == [0x0f, 0x05])
        .unwrap();
    other[site..].fill(0x90);
    for (name, new) in [
        ("the same", &whole[..]),
        ("half", &whole[..whole.len() / 2]),
        ("other code", &other),
        ("nothing", b""),
    ] {
        std::fs::copy(libc, &own).unwrap();
        std::fs::write(&next, new).unwrap();
        is_cooperative(&run(&cache, &words), name);
        assert_eq!(std::fs::read(&own).unwrap().len(), new.len());
    }
}

/// libc's file with each `mov eax, number; syscall` of these numbers led to code that no table
/// of functions knows, behind its text.
fn libc_with_strange_sites(libc: &Path, numbers: &[i64]) -> Vec<u8> {
    let mut bytes = std::fs::read(libc).unwrap();
    let word = |bytes: &[u8], at: usize| u64::from_le_bytes(*bytes[at..].first_chunk().unwrap());
    let headers = word(&bytes, 32) as usize;
    let text = (headers..)
        .step_by(56)
        .find(|&at| bytes[at..at + 8] == [1, 0, 0, 0, 5, 0, 0, 0])
        .unwrap();
    let (offset, size) = (word(&bytes, text + 8), word(&bytes, text + 32));
    let first = (offset + size) as usize;
    let mut cave = first;
    for number in numbers {
        let mut call = vec![0xb8];
        call.extend((*number as u32).to_le_bytes());
        call.extend([0x0f, 0x05]);
        let places = bytes[..first].windows(call.len());
        let sites: Vec<_> = places
            .enumerate()
            .filter(|(_, window)| *window == call)
            .map(|(at, _)| at)
            .collect();
        assert!(!sites.is_empty(), "no site of {number}");
        for site in sites {
            let jump = |from: usize, to: usize| {
                let mut jump = vec![0xe9];
                jump.extend((to as i32 - (from + 5) as i32).to_le_bytes());
                jump
            };
            bytes[site..site + 5].copy_from_slice(&jump(site, cave));
            let mut code = call.clone();
            code.extend(jump(cave + call.len(), site + call.len()));
            assert!(bytes[cave..cave + code.len()].iter().all(|&byte| byte == 0));
            bytes[cave..cave + code.len()].copy_from_slice(&code);
            cave += code.len();
        }
    }
    assert!(cave.is_multiple_of(4096) || cave / 4096 == first / 4096);
    let size = (cave as u64 - offset).to_le_bytes();
    bytes[text + 32..text + 40].copy_from_slice(&size);
    bytes[text + 40..text + 48].copy_from_slice(&size);
    bytes
}

/// A thread waits for a lock of a file that the initial one holds.
const WAITS_FOR_A_FILE: &str = r#"
#include <fcntl.h>
#include <pthread.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/syscall.h>
#include <unistd.h>
static int second;
static void *body(void *a)
{
	if (flock(second, LOCK_EX) != 0)
		return "not locked";
	return syscall(SYS_gettid) >= 1 << 22 ? "guest" : a;
}
int main(int argc, char **argv)
{
	pthread_t thread;
	void *what;
	int first = open(argv[0], O_RDONLY);
	second = open(argv[0], O_RDONLY);
	if (argc != 1 || flock(first, LOCK_EX) != 0 || pthread_create(&thread, 0, body, "kernel thread"))
		return 2;
	for (int i = 0; i < 20; i++)
		usleep(1000);
	if (flock(first, LOCK_UN) != 0 || pthread_join(thread, &what))
		return 3;
	puts(what);
	return 0;
}
"#;

#[test]
fn a_libc_with_sites_that_cannot_be_patched() {
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    if !libc.exists() || !mode::catching_available() {
        return println!("NOT TESTED: no {}, or no catching", libc.display());
    }
    for (name, numbers) in [
        ("flock", &[libc::SYS_flock][..]),
        ("futex", &[libc::SYS_futex]),
        ("clone", &[libc::SYS_clone3, libc::SYS_clone]),
    ] {
        let place = empty(&format!("strange-{name}"));
        let cache = empty(&format!("strange-{name}-cache"));
        let path = format!("-Wl,-rpath,{}", place.display());
        std::fs::write(
            place.join("libc.so.6"),
            libc_with_strange_sites(libc, numbers),
        )
        .unwrap();
        for (made, text) in [("waits_for_a_file", WAITS_FOR_A_FILE), ("plans", PROGRAM)] {
            let program = c(&format!("{made}_{name}"), text, &[&path]);
            let words = [program.to_str().unwrap()];
            for _ in 0..3 {
                is_cooperative(&run(&cache, &words), name);
            }
            let told = place.join("events");
            let mut all = preloaded(&[
                ("XDG_CACHE_HOME", cache.to_str().unwrap()),
                ("GEVENT_SHIM_EVENTS", "gevent::patch=warn"),
                ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
                ("GEVENT_SHIM_EVENTS_FILE", told.to_str().unwrap()),
            ]);
            all.push(words[0].to_owned());
            is_cooperative(&said(&mut bounded(&all)), name);
            let told = std::fs::read_to_string(&told).unwrap();
            let event = if name == "clone" {
                r#""CaughtInstead""#
            } else {
                r#""SitesCaught""#
            };
            assert!(told.contains(event), "{told}");
            let launcher = launcher();
            let told = said(&mut bounded(&[
                launcher.to_str().unwrap(),
                "doctor",
                words[0],
            ]));
            assert_eq!(told.status, Some(0), "{told:?}");
            let sites = if name == "clone" {
                ". Calls of a program with threads are caught"
            } else {
                ". Calls there are caught"
            };
            assert!(told.out.contains(sites), "{told:?}");
            assert!(told.out.contains("stays: it is in no known function"));
            assert!(told.out.contains("verdict   cooperative, "), "{told:?}");
        }
    }
}

/// Tells its id when it has a thread, and ends with standard input.
const WAITS: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static void *body(void *a) { pause(); return a; }
int main(void)
{
	pthread_t thread;
	char byte;
	pthread_create(&thread, 0, body, 0);
	printf("%d\n", getpid());
	fflush(stdout);
	return read(0, &byte, 1);
}
"#;

#[test]
fn a_library_that_is_replaced_is_still_asked() {
    let program = c("waits", WAITS, &[]);
    let place = empty("replaced-library");
    let copy = place.join("libgevent_shim.so");
    std::fs::copy(library::find().unwrap(), &copy).unwrap();
    let launcher = launcher();
    let launcher = launcher.to_str().unwrap();
    let socket = place.join("socket");
    let words = [
        launcher,
        "run",
        "--library",
        copy.to_str().unwrap(),
        "--control",
        socket.to_str().unwrap(),
        "--",
        program.to_str().unwrap(),
    ];
    let mut child = bounded(&words)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap();
    let mut pid = String::new();
    BufReader::new(child.stdout.take().unwrap())
        .read_line(&mut pid)
        .unwrap();
    std::fs::remove_file(&copy).unwrap();
    let told = said(&mut bounded(&[launcher, "dump", pid.trim()]));
    let listed = said(&mut bounded(&[launcher, "ps"]));
    drop(child.stdin.take());
    assert!(child.wait().unwrap().success());
    assert_eq!(told.status, Some(0), "{told:?}");
    assert!(told.out.contains("2 guests"), "{told:?}");
    assert!(listed.out.contains(pid.trim()), "{listed:?}");
}
