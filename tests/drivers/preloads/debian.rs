//! Libraries of Debian's, with a program that uses what they take: memory, sockets, files, names,
//! clocks and children.

use crate::{Other, built, installed};

/// What it prints and how it ends, where a library changes nothing of that.
const USUAL: &str = "\
echoed 200, datagrams 200, files 20, slept 4, names 4
children 3, lines 1, passed 8000, handled 40
at the end
exit status: 7";

/// Runs the program with the library that is at one of these paths, with the settings that `with`
/// adds.
fn unchanged(name: &str, paths: &[&'static str], with: impl FnOnce(&mut Other)) {
    let Some(path) = installed(paths) else {
        return;
    };
    let program = built("everything.c", &format!("everything_{name}"), &[]);
    let mut other = Other::new(path);
    with(&mut other);
    assert_eq!(other.same(&[program.to_str().unwrap()]), USUAL, "{name}");
}

#[test]
fn heaps() {
    unchanged(
        "jemalloc",
        &["/usr/lib/x86_64-linux-gnu/libjemalloc.so.2"],
        |_| (),
    );
    unchanged(
        "tcmalloc",
        &["/usr/lib/x86_64-linux-gnu/libtcmalloc.so.4"],
        |_| (),
    );
    unchanged(
        "tcmalloc_minimal",
        &["/usr/lib/x86_64-linux-gnu/libtcmalloc_minimal.so.4"],
        |_| (),
    );
    unchanged(
        "mimalloc",
        &["/usr/lib/x86_64-linux-gnu/libmimalloc.so.2"],
        |_| (),
    );
    // It makes a thread when the program first allocates.
    unchanged(
        "heaptrack",
        &["/usr/lib/heaptrack/libheaptrack_preload.so"],
        |heaptrack| heaptrack.settings = &[("DUMP_HEAPTRACK_OUTPUT", "{}/heaptrack")],
    );
}

#[test]
fn clocks() {
    for (name, path) in [
        (
            "faketime",
            "/usr/lib/x86_64-linux-gnu/faketime/libfaketime.so.1",
        ),
        (
            "faketime_mt",
            "/usr/lib/x86_64-linux-gnu/faketime/libfaketimeMT.so.1",
        ),
    ] {
        unchanged(name, &[path], |_| ());
    }
}

#[test]
fn roots() {
    // Each asks a process for what the program is to believe.
    unchanged(
        "fakeroot_tcp",
        &["/usr/lib/x86_64-linux-gnu/libfakeroot/libfakeroot-tcp.so"],
        |fakeroot| fakeroot.before = &["fakeroot-tcp", "--"],
    );
    unchanged(
        "fakeroot_sysv",
        &["/usr/lib/x86_64-linux-gnu/libfakeroot/libfakeroot-sysv.so"],
        |fakeroot| fakeroot.before = &["fakeroot-sysv", "--"],
    );
    unchanged(
        "fakechroot",
        &["/usr/lib/x86_64-linux-gnu/fakechroot/libfakechroot.so"],
        |_| (),
    );
}

#[test]
fn networks() {
    unchanged(
        "socket_wrapper",
        &["/usr/lib/x86_64-linux-gnu/libsocket_wrapper.so"],
        |wrapper| wrapper.settings = &[("SOCKET_WRAPPER_DIR", "{}")],
    );
    unchanged(
        "nss_wrapper",
        &["/usr/lib/x86_64-linux-gnu/libnss_wrapper.so"],
        |wrapper| {
            wrapper.files = &[("hosts", "127.0.0.1 localhost\n")];
            wrapper.settings = &[("NSS_WRAPPER_HOSTS", "{}/hosts")];
        },
    );
    // Both let the loopback interface be.
    unchanged(
        "proxychains",
        &["/usr/lib/x86_64-linux-gnu/libproxychains.so.4"],
        |proxychains| {
            proxychains.files = &[(
                "configuration",
                "quiet_mode\nlocalnet 127.0.0.0/255.0.0.0\n[ProxyList]\nsocks4 127.0.0.1 9\n",
            )];
            proxychains.settings = &[
                ("PROXYCHAINS_CONF_FILE", "{}/configuration"),
                ("PROXYCHAINS_QUIET_MODE", "1"),
            ];
        },
    );
    unchanged(
        "torsocks",
        &["/usr/lib/x86_64-linux-gnu/torsocks/libtorsocks.so"],
        |torsocks| {
            torsocks.files = &[(
                "configuration",
                "TorAddress 127.0.0.1\nTorPort 9\nAllowOutboundLocalhost 2\n",
            )];
            torsocks.settings = &[("TORSOCKS_CONF_FILE", "{}/configuration")];
        },
    );
}

#[test]
fn files() {
    unchanged(
        "eatmydata",
        &["/usr/lib/x86_64-linux-gnu/libeatmydata.so"],
        |_| (),
    );
    unchanged(
        "stdbuf",
        &["/usr/libexec/coreutils/libstdbuf.so"],
        |stdbuf| stdbuf.settings = &[("_STDBUF_O", "L"), ("_STDBUF_E", "0")],
    );
}
