//! A sleeper is killed: its destructors run. One that has not begun never does; one that
//! catches its kill goes on; and in a call of std's the kill is an error.

use std::io::Read;
use std::net::{TcpListener, TcpStream};
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::time::Duration;

use gevent_shim::{Greenlet, GreenletExit, check, monkey, sleep, spawn, yield_now};

const LONG: Duration = Duration::from_secs(3600);

struct Cleanup(&'static str);

impl Drop for Cleanup {
    fn drop(&mut self) {
        println!("cleanup of {}", self.0);
    }
}

fn kill_and_tell(what: &str, greenlet: &Greenlet<&'static str>) {
    greenlet.kill();
    match greenlet.get() {
        Ok(value) => println!("{what}: returned {value:?}"),
        Err(error) => println!("{what}: {error}"),
    }
}

fn main() -> std::io::Result<()> {
    monkey::patch_all().expect("nothing runs yet");

    let sleeper = spawn(|| {
        let _cleanup = Cleanup("the sleeper");
        sleep(LONG);
        "never"
    });
    yield_now();
    kill_and_tell("the sleeper", &sleeper);

    let unstarted = spawn(|| {
        println!("it runs");
        "never"
    });
    kill_and_tell("the unstarted", &unstarted);

    let catches = spawn(|| {
        let caught = catch_unwind(AssertUnwindSafe(|| sleep(LONG)));
        let killed = caught.is_err_and(|payload| payload.is::<GreenletExit>());
        sleep(Duration::from_millis(1));
        if killed { "after its kill" } else { "never" }
    });
    yield_now();
    kill_and_tell("the one that catches", &catches);

    let listener = TcpListener::bind("127.0.0.1:0")?;
    let mut client = TcpStream::connect(listener.local_addr()?)?;
    let reader = spawn(move || {
        let _cleanup = Cleanup("the reader");
        if let Err(error) = client.read(&mut [0]) {
            println!("read: {error}");
        }
        check();
        "never"
    });
    yield_now();
    kill_and_tell("the reader", &reader);
    Ok(())
}
// Output:
// cleanup of the sleeper
// the sleeper: it ended with GreenletExit
// the unstarted: it ended with GreenletExit
// the one that catches: returned "after its kill"
// read: Operation canceled (os error 125)
// cleanup of the reader
// the reader: it ended with GreenletExit
