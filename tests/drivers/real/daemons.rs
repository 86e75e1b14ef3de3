//! Small servers with threads: stunnel in front of an echo server, memcached.

use crate::python::python;
use crate::{Scenario, fixture};
use gevent_tests::mode::Mode;
use gevent_tests::run::{End, Outcome};
use gevent_tests::server;
use gevent_tests::serving::{Place, succeed};
use std::process::Command;

pub const SCENARIOS: &[Scenario] = &[
    Scenario {
        name: "real_stunnel",
        end: End::Exit(0),
        run: stunnel,
    },
    Scenario {
        name: "real_memcached",
        end: End::Exit(0),
        run: memcached,
    },
];

fn stunnel(mode: &Mode) -> Result<Outcome, String> {
    let place = Place::new()?;
    let behind = server::free_port()
        .map_err(|error| error.to_string())?
        .port()
        .to_string();
    let (key, certificate) = (place.path("key.pem"), place.path("certificate.pem"));
    let mut openssl = Command::new("openssl");
    openssl.args([
        "req", "-x509", "-newkey", "rsa:2048", "-nodes", "-days", "2",
    ]);
    openssl
        .args(["-subj", "/CN=localhost", "-keyout"])
        .arg(&key);
    succeed(&Mode::Bare, openssl.arg("-out").arg(&certificate))?;
    let settings = place.write(
        "stunnel.conf",
        &format!(
            "foreground = yes\nsyslog = no\npid = {}\ndebug = err\n\
             [echo]\naccept = {}\nconnect = 127.0.0.1:{behind}\ncert = {}\nkey = {}\n",
            place.path("run/pid").display(),
            place.address,
            certificate.display(),
            key.display()
        ),
    )?;
    let mut serving = place.start(mode, Command::new("stunnel4").arg(settings))?;
    let mut client = python();
    client
        .arg(fixture("tls_echo.py"))
        .args([behind, serving.port()]);
    let said = succeed(&Mode::Bare, &mut client)?.stdout;
    serving.say(&said);
    // The date, and the number of the connection that only asked whether it accepts.
    serving.stop(libc::SIGTERM, |line| {
        let (_, said) = line.split_once(": ").unwrap_or(("", line));
        (!line.contains("SSL_accept")).then(|| said.to_owned())
    })
}

fn memcached(mode: &Mode) -> Result<Outcome, String> {
    let place = Place::new()?;
    let mut memcached = Command::new("memcached");
    memcached
        .args(["-u", "root", "-l", "127.0.0.1", "-t", "4", "-p"])
        .arg(place.address.port().to_string());
    let mut serving = place.start(mode, &mut memcached)?;
    let mut client = python();
    client.arg(fixture("memcached_load.py")).arg(serving.port());
    let said = succeed(&Mode::Bare, &mut client)?.stdout;
    serving.say(&said);
    serving.stop(libc::SIGTERM, |line| Some(line.to_owned()))
}
