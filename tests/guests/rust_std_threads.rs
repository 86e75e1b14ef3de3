//! Rust's threads, channels, thread_local with Drop, park, scopes, time-outs and a TCP echo.
use std::cell::RefCell;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Barrier, Condvar, Mutex, RwLock, mpsc};
use std::thread;
use std::time::{Duration, Instant};

static DROPPED: AtomicUsize = AtomicUsize::new(0);

struct Local(usize);

impl Drop for Local {
    fn drop(&mut self) {
        DROPPED.fetch_add(self.0, Ordering::SeqCst);
    }
}

thread_local! {
    static LOCAL: RefCell<Local> = const { RefCell::new(Local(0)) };
}

fn channels() {
    let (sender, receiver) = mpsc::sync_channel(3);
    let senders: Vec<_> = (0..10)
        .map(|index| {
            let sender = sender.clone();
            thread::spawn(move || (0..100).for_each(|i| sender.send(index * 100 + i).unwrap()))
        })
        .collect();
    drop(sender);
    println!("channel sum {}", receiver.iter().sum::<usize>());
    senders.into_iter().for_each(|thread| thread.join().unwrap());
    let (_kept, empty) = mpsc::channel::<()>();
    assert!(empty.recv_timeout(Duration::from_millis(20)).is_err());
}

fn locals() {
    let barrier = Arc::new(Barrier::new(20));
    let threads: Vec<_> = (1..=20)
        .map(|value| {
            let barrier = Arc::clone(&barrier);
            thread::spawn(move || {
                LOCAL.with_borrow_mut(|local| local.0 = value);
                barrier.wait();
                LOCAL.with_borrow(|local| assert_eq!(local.0, value));
            })
        })
        .collect();
    threads.into_iter().for_each(|thread| thread.join().unwrap());
    println!("dropped {}", DROPPED.load(Ordering::SeqCst));
}

fn parking() {
    let parked = thread::spawn(|| {
        thread::park();
        "unparked"
    });
    thread::sleep(Duration::from_millis(10));
    parked.thread().unpark();
    println!("{}", parked.join().unwrap());
    let begin = Instant::now();
    thread::park_timeout(Duration::from_millis(30));
    println!("park_timeout returned: {}", begin.elapsed() < Duration::from_secs(20));
}

fn scopes() {
    let mut numbers = vec![1, 2, 3];
    let total = Mutex::new(0);
    thread::scope(|scope| {
        for number in &mut numbers {
            let total = &total;
            scope.spawn(move || {
                thread::yield_now();
                *number *= 10;
                *total.lock().unwrap() += *number;
            });
        }
    });
    println!("{numbers:?} total {}", total.into_inner().unwrap());
}

fn condvars() {
    let pair = Arc::new((Mutex::new(0), Condvar::new()));
    let guard = pair.0.lock().unwrap();
    let begin = Instant::now();
    let (guard, result) = pair
        .1
        .wait_timeout_while(guard, Duration::from_millis(50), |value| *value == 0)
        .unwrap();
    assert!(result.timed_out() && begin.elapsed() >= Duration::from_millis(50));
    drop(guard);
    let setter = Arc::clone(&pair);
    let thread = thread::spawn(move || {
        *setter.0.lock().unwrap() = 7;
        setter.1.notify_all();
    });
    let guard = pair.1.wait_while(pair.0.lock().unwrap(), |value| *value == 0);
    println!("condvar value {}", *guard.unwrap());
    thread.join().unwrap();
}

fn panics() {
    let lock = Arc::new(RwLock::new(5));
    let poisoner = Arc::clone(&lock);
    std::panic::set_hook(Box::new(|_| {}));
    let result = thread::spawn(move || {
        let _guard = poisoner.write().unwrap();
        panic!("on purpose");
    })
    .join();
    let _ = std::panic::take_hook();
    let text = *result.unwrap_err().downcast::<&str>().unwrap();
    println!("panic {text:?} crossed join, poisoned: {}", lock.is_poisoned());
}

fn echo() {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let address = listener.local_addr().unwrap();
    let server = thread::spawn(move || {
        for stream in listener.incoming().take(10) {
            let mut stream = stream.unwrap();
            thread::spawn(move || {
                let mut text = [0; 100];
                loop {
                    match stream.read(&mut text).unwrap() {
                        0 => break,
                        length => stream.write_all(&text[..length]).unwrap(),
                    }
                }
            });
        }
    });
    let clients: Vec<_> = (0..10)
        .map(|index: u8| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address).unwrap();
                for round in 0..50 {
                    let text = [index, round, 0, 255];
                    let mut back = [0; 4];
                    stream.write_all(&text).unwrap();
                    stream.read_exact(&mut back).unwrap();
                    assert_eq!(text, back);
                }
                50
            })
        })
        .collect();
    let rounds: i32 = clients.into_iter().map(|client| client.join().unwrap()).sum();
    server.join().unwrap();
    println!("{rounds} rounds echoed");
}

fn main() {
    channels();
    locals();
    parking();
    scopes();
    condvars();
    panics();
    echo();
}
