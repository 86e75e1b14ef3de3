//! What is looked up, against which servers, and what besides equality with bare must hold.

use crate::Run;
use crate::namespace::Files;
use std::net::Ipv4Addr;
use std::time::Duration;

/// One program in one network.
pub struct Scenario {
    /// Its name, which starts with `names_`.
    pub name: &'static str,
    /// The program in `guests/names`.
    pub program: &'static str,
    /// Its arguments.
    pub arguments: &'static [&'static str],
    /// What decides about names.
    pub files: Files,
    /// Where servers are.
    pub servers: &'static [Ipv4Addr],
    /// Where servers are that answer nobody.
    pub silent: &'static [Ipv4Addr],
    /// A name service of its own that the program loads: of `guests/names/modules`.
    pub module: Option<&'static str>,
    /// Whether there is a cache daemon.
    pub has_nscd: bool,
    /// A line that the program says if the scenario is what it is meant to be.
    pub says: &'static str,
    /// How the program is run preloaded.
    pub cases: &'static [Case],
}

/// One way to run a program preloaded.
pub struct Case {
    /// Variables of its environment.
    pub settings: &'static [(&'static str, &'static str)],
    /// What must hold besides the same output as bare.
    pub check: fn(&Run) -> Result<(), String>,
}

const fn server(last: u8) -> Ipv4Addr {
    Ipv4Addr::new(127, 0, 0, last)
}

const HOSTS: &str = "127.0.0.1 localhost\n::1 localhost ip6-localhost\n\
                     192.0.2.1 written.down written\n2001:db8::1 written.down\n";
const NSSWITCH: &str = "passwd: files\ngroup: files\nhosts: files dns\nservices: files\n";

const FILES: Files = Files {
    resolv: "nameserver 127.0.0.1\nsearch void.test test\noptions timeout:20 attempts:2\n",
    hosts: HOSTS,
    nsswitch: NSSWITCH,
};

const PLAIN: Scenario = Scenario {
    name: "names",
    program: "many",
    arguments: &[],
    files: FILES,
    servers: &[server(1)],
    silent: &[],
    module: None,
    has_nscd: false,
    says: "",
    cases: &[EQUAL],
};

/// The same output as bare is all.
const EQUAL: Case = Case {
    settings: &[],
    check: |_| Ok(()),
};

/// Look-ups are not cooperative, everything else is.
const WITHOUT_GROUP: Case = Case {
    settings: &[("GEVENT_SHIM_PATCH", "-dns")],
    ..EQUAL
};

/// Look-ups are cooperative, what they are made of is not elsewhere.
const GROUP_ALONE: Case = Case {
    settings: &[("GEVENT_SHIM_PATCH", "thread,dns")],
    ..EQUAL
};

/// Every scenario.
pub static SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "names_calls",
        program: "calls",
        cases: &[EQUAL, WITHOUT_GROUP],
        says: "getaddrinfo h6.large.test: found 10.0.1.6 10.0.1.7 10.0.1.8, 60 in all",
        ..PLAIN
    },
    // Nobody gets an answer before all have asked.
    Scenario {
        name: "names_at_once",
        arguments: &["100", "gather-100.test"],
        cases: &[EQUAL, GROUP_ALONE],
        says: "h99.gather-100.test: 10.0.1.99 port 80",
        ..PLAIN
    },
    // Ten seconds, one after another.
    Scenario {
        name: "names_delayed",
        arguments: &["100", "delay-100.test"],
        cases: &[Case {
            settings: &[],
            check: |run| takes_less_than(run, Duration::from_secs(5)),
        }],
        says: "h99.delay-100.test: 10.0.1.99 port 80",
        ..PLAIN
    },
    // The server's delays alone make two seconds, one after another.
    Scenario {
        name: "names_one_by_one",
        arguments: &["20", "delay-100.test"],
        cases: &[
            Case {
                settings: &[],
                check: |run| {
                    tells(run, "patched the group dns: 8 items", true)?;
                    tells(run, "looked h7.delay-100.test up with getaddrinfo in", true)
                },
            },
            Case {
                settings: &[("GEVENT_SHIM_PATCH", "-dns")],
                check: |run| {
                    tells(run, "patched the group dns", false)?;
                    tells(run, "patched the group socket", true)?;
                    // Each hub is kept by one at a time.
                    let hubs = gevent_tests::mode::hubs().unwrap_or(1) as u32;
                    takes_at_least(run, Duration::from_secs(2) / hubs)
                },
            },
        ],
        says: "h19.delay-100.test: 10.0.1.19 port 80",
        ..PLAIN
    },
    Scenario {
        name: "names_lost",
        arguments: &["100", "lost-1.test"],
        files: Files {
            resolv: "nameserver 127.0.0.1\noptions timeout:1 attempts:3\n",
            ..FILES
        },
        says: "h99.lost-1.test: 10.0.1.99 port 80",
        ..PLAIN
    },
    Scenario {
        name: "names_lost_all",
        arguments: &["30", "lost-100.test"],
        files: Files {
            resolv: "nameserver 127.0.0.1\noptions timeout:1 attempts:2\n",
            ..FILES
        },
        says: "h29.lost-100.test: Temporary failure in name resolution",
        ..PLAIN
    },
    Scenario {
        name: "names_over_tcp",
        arguments: &["60", "gather-60.test"],
        files: Files {
            resolv: "nameserver 127.0.0.1\noptions use-vc timeout:20\n",
            ..FILES
        },
        says: "h59.gather-60.test: 10.0.1.59 port 80",
        ..PLAIN
    },
    Scenario {
        name: "names_truncated",
        arguments: &["50", "truncated.delay-20.test"],
        says: "h49.truncated.delay-20.test: 10.0.1.49 port 80",
        ..PLAIN
    },
    // The first is not there, the second answers nobody, the third answers.
    Scenario {
        name: "names_third_server",
        arguments: &["40", "test"],
        files: Files {
            resolv: "nameserver 127.0.0.1\nnameserver 127.0.0.2\nnameserver 127.0.0.3\n\
                     options timeout:1\n",
            ..FILES
        },
        servers: &[server(3)],
        silent: &[server(2)],
        says: "h39.test: 10.0.3.39 port 80",
        ..PLAIN
    },
    Scenario {
        name: "names_failing_server",
        arguments: &["40", "failing-1.test"],
        files: Files {
            resolv: "nameserver 127.0.0.1\nnameserver 127.0.0.2\noptions timeout:20\n",
            ..FILES
        },
        servers: &[server(1), server(2)],
        says: "h39.failing-1.test: 10.0.2.39 port 80",
        ..PLAIN
    },
    Scenario {
        name: "names_async",
        program: "async",
        says: "h39.missing.test: Name or service not known",
        ..PLAIN
    },
    Scenario {
        name: "names_reload",
        program: "reload",
        servers: &[server(1), server(2), server(3)],
        says: "after change 3: 10.0.3.4",
        ..PLAIN
    },
    Scenario {
        name: "names_given_up",
        program: "alarm",
        says: "given up",
        ..PLAIN
    },
    Scenario {
        name: "names_cancelled",
        program: "cancel",
        says: "cancelled: 1",
        ..PLAIN
    },
    Scenario {
        name: "names_module",
        arguments: &["40", "module.test"],
        files: Files {
            nsswitch: "hosts: files slow\n",
            ..FILES
        },
        module: Some("slow"),
        cases: &[EQUAL, WITHOUT_GROUP],
        says: "h39.module.test: 10.7.7.7 port 80",
        ..PLAIN
    },
    Scenario {
        name: "names_cached",
        arguments: &["40", "cached.test"],
        has_nscd: true,
        cases: &[EQUAL, WITHOUT_GROUP],
        says: "h39.cached.test: 10.9.8.7 port 80",
        ..PLAIN
    },
];

fn takes_at_least(run: &Run, least: Duration) -> Result<(), String> {
    if run.took >= least {
        Ok(())
    } else {
        Err(format!("took {:.1?}, less than {least:.1?}", run.took))
    }
}

/// Whether the events have `text`, or must not have it.
fn tells(run: &Run, text: &str, whether: bool) -> Result<(), String> {
    match (run.events.contains(text), whether) {
        (true, true) | (false, false) => Ok(()),
        _ => Err(format!("{text:?} told is not {whether}:\n{}", run.events)),
    }
}

fn takes_less_than(run: &Run, limit: Duration) -> Result<(), String> {
    if run.took < limit {
        Ok(())
    } else {
        Err(format!("took {:.1?}, not less than {limit:.1?}", run.took))
    }
}
