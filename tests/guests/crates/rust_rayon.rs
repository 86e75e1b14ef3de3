//! The crate rayon: pools that steal from each other, with right answers.
//! guest: limit=60

use rayon::prelude::*;
use std::collections::HashMap;
use std::sync::atomic::{AtomicUsize, Ordering};

fn numbers(count: usize) -> Vec<u64> {
    let mut state = 42_u64;
    std::iter::repeat_with(|| {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        state >> 16
    })
    .take(count)
    .collect()
}

fn fibonacci(n: u32) -> u64 {
    if n < 2 {
        return n.into();
    }
    let (one, two) = rayon::join(|| fibonacci(n - 1), || fibonacci(n - 2));
    one + two
}

fn is_prime(n: &u32) -> bool {
    *n > 1
        && (2..)
            .take_while(|d| d * d <= *n)
            .all(|d| !n.is_multiple_of(d))
}

fn everything() {
    let squares: u64 = (0..200_000_u64).into_par_iter().map(|n| n * n % 7).sum();
    println!("sum: {squares}");
    println!(
        "primes: {}",
        (0..20_000_u32).into_par_iter().filter(is_prime).count()
    );
    println!("join: {}", fibonacci(20));

    let mut sorted = numbers(50_000);
    let mut expected = sorted.clone();
    expected.sort_unstable();
    sorted.par_sort();
    println!("sorted: {}", sorted == expected);

    let words: HashMap<u64, usize> = numbers(20_000)
        .par_iter()
        .fold(HashMap::new, |mut counts, n| {
            *counts.entry(n % 10).or_default() += 1;
            counts
        })
        .reduce(HashMap::new, |mut all, some| {
            for (key, count) in some {
                *all.entry(key).or_default() += count;
            }
            all
        });
    println!("counted: {}", words.values().sum::<usize>());

    let spawned = AtomicUsize::new(0);
    rayon::scope(|scope| {
        for _ in 0..500 {
            scope.spawn(|scope| {
                spawned.fetch_add(1, Ordering::Relaxed);
                scope.spawn(|_| {
                    spawned.fetch_add(1, Ordering::Relaxed);
                });
            });
        }
    });
    println!("spawned: {spawned:?}");
    println!(
        "bridged: {}",
        (0..10_000).par_bridge().map(|n| n as u64).sum::<u64>()
    );
    let found = (0..100_000_u32)
        .into_par_iter()
        .find_first(|n| n * n > 5_000_000);
    println!("found: {found:?}");
}

fn main() {
    everything();
    for threads in [1, 2, 8, 32] {
        let pool = rayon::ThreadPoolBuilder::new()
            .num_threads(threads)
            .build()
            .unwrap();
        println!(
            "a pool of {threads}, {}",
            pool.install(rayon::current_num_threads)
        );
        pool.install(everything);
        let calls = AtomicUsize::new(0);
        pool.broadcast(|_| calls.fetch_add(1, Ordering::Relaxed));
        println!("broadcast: {calls:?}");
    }
    let caught = std::panic::catch_unwind(|| {
        std::panic::set_hook(Box::new(|_| ()));
        (0..100).into_par_iter().for_each(|n| assert!(n != 50));
    });
    println!("a panic comes back: {}", caught.is_err());
}
