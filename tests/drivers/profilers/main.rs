//! Profilers in the program, which sample it by a timer that counts the CPU time of the process:
//! each function has the share of the samples that it has bare.
//!
//! `computes.c` is the program. gprof comes with the compiler, gperftools of Debian is preloaded,
//! and the program samples itself by each such timer. The kernel samples at its ticks, so that the
//! shares of two runs differ by some percent.

use std::fmt;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gevent_tests::{compile, library};

/// What two shares may differ by, in percent of all samples.
const TOLERANCE: f64 = 10.0;

/// Fewer samples say little: the shares would differ by chance.
const ENOUGH: f64 = 100.0;

/// Compiles the program, and returns where it is.
fn built(name: &str, arguments: &[&str]) -> PathBuf {
    let source = Path::new(env!("CARGO_MANIFEST_DIR")).join("drivers/profilers/computes.c");
    let to = Path::new(env!("CARGO_TARGET_TMPDIR"))
        .join("profilers")
        .join(name);
    let arguments: Vec<_> = arguments.iter().map(|&word| word.to_owned()).collect();
    compile::build(&source, &arguments, &to).unwrap();
    to
}

/// Whether a file that a test needs is there; in CI it must be.
fn is_installed(path: &str) -> bool {
    let found = Path::new(path).exists();
    if !found {
        let in_ci = std::env::var_os("CI").is_some_and(|set| !set.is_empty());
        assert!(!in_ci, "no {path} (see scripts/setup)");
        println!("NOT TESTED: no {path} (see scripts/setup)");
    }
    found
}

/// How the program is run: bare, or with so many hubs.
#[derive(Clone, Copy)]
enum Mode {
    Bare,
    Hubs(u32),
}

/// What a command says, which ends well.
fn output(words: &[&str], directory: &Path) -> Output {
    let mut command = Command::new("timeout");
    for (name, _) in std::env::vars_os() {
        if name.to_string_lossy().starts_with("GEVENT_SHIM_") {
            command.env_remove(name);
        }
    }
    let output = command
        .args(["--signal=KILL", "100"])
        .args(words)
        .current_dir(directory)
        .output()
        .unwrap();
    assert!(output.status.success(), "{words:?}: {output:?}");
    output
}

/// What a program says, run in a directory with these variables and with another library, if any,
/// preloaded.
fn run(words: &[&str], mode: Mode, variables: &[&str], other: &str, directory: &Path) -> String {
    let own = library::find().unwrap();
    let mut all = vec!["env".to_owned()];
    all.extend(variables.iter().map(|&variable| variable.to_owned()));
    all.push(match mode {
        Mode::Bare => format!("LD_PRELOAD={other}"),
        Mode::Hubs(_) => format!("LD_PRELOAD={}:{other}", own.display()),
    });
    if let Mode::Hubs(hubs) = mode {
        all.push(format!("GEVENT_SHIM_HUBS={hubs}"));
    }
    let all: Vec<_> = all.iter().map(String::as_str).collect();
    let output = output(&[&all, words].concat(), directory);
    String::from_utf8(output.stdout).unwrap()
}

/// How many samples are of which function.
#[derive(Clone, Copy, Debug, Default)]
struct Samples {
    three: f64,
    one: f64,
    others: f64,
}

impl Samples {
    /// What a table says, each line of which has a function's samples at `column`, and its name
    /// last; other lines have no number there.
    fn of_table(text: &str, column: usize) -> Self {
        let mut samples = Self::default();
        for line in text.lines() {
            let fields: Vec<_> = line.split_whitespace().collect();
            let number = fields.get(column).and_then(|field| field.parse().ok());
            if let (Some(number), Some(&name)) = (number, fields.last()) {
                let _: f64 = number;
                match name {
                    "computes_three" => samples.three += number,
                    "computes_one" => samples.one += number,
                    _ => samples.others += number,
                }
            }
        }
        samples
    }

    fn total(self) -> f64 {
        self.three + self.one + self.others
    }

    /// The three shares, in percent.
    fn shares(self) -> [f64; 3] {
        [self.three, self.one, self.others].map(|part| 100.0 * part / self.total())
    }
}

impl fmt::Display for Samples {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [three, one, others] = self.shares();
        let total = self.total();
        write!(f, "{three:.1} + {one:.1} + {others:.1} % of {total:.0}")
    }
}

/// Compares what a profiler tells bare to what the program does, and what it tells preloaded to
/// that.
fn compare(profiler: &str, samples: impl Fn(Mode) -> Vec<(String, Samples)>) {
    let near = |one: [f64; 3], other: [f64; 3]| {
        let mut pairs = one.iter().zip(&other);
        pairs.all(|(one, other)| (one - other).abs() <= TOLERANCE)
    };
    let bare = samples(Mode::Bare);
    assert!(!bare.is_empty());
    for (name, bare) in &bare {
        println!("{profiler}{name} bare: {bare}");
        assert!(bare.total() >= ENOUGH, "{profiler}{name}: {bare}");
        let is_true = near(bare.shares(), [75.0, 25.0, 0.0]);
        assert!(is_true, "{profiler}{name}, bare: {bare}");
    }
    for hubs in [1, 2] {
        let preloaded = samples(Mode::Hubs(hubs));
        assert_eq!(preloaded.len(), bare.len());
        for ((name, bare), (_, preloaded)) in bare.iter().zip(&preloaded) {
            println!("{profiler}{name}, {hubs} hubs: {preloaded}");
            let as_bare = preloaded.total() >= ENOUGH && near(preloaded.shares(), bare.shares());
            assert!(
                as_bare,
                "{profiler}{name}, {hubs} hubs: {preloaded}; bare: {bare}"
            );
        }
    }
}

#[test]
fn gprof() {
    let program = built("computes_pg", &["-pg"]);
    let program = program.to_str().unwrap();
    compare("gprof", |mode| {
        let place = tempfile::tempdir().unwrap();
        run(&[program, "150"], mode, &[], "", place.path());
        let words = ["gprof", "--brief", "--flat-profile", program, "gmon.out"];
        let table = String::from_utf8(output(&words, place.path()).stdout).unwrap();
        // The third column is seconds.
        let mut samples = Samples::of_table(&table, 2);
        for part in [&mut samples.three, &mut samples.one, &mut samples.others] {
            *part *= 100.0;
        }
        vec![(String::new(), samples)]
    });
}

#[test]
fn gperftools() {
    const PROFILER: &str = "/usr/lib/x86_64-linux-gnu/libprofiler.so.0";
    if !is_installed(PROFILER) || !is_installed("/usr/bin/google-pprof") {
        return;
    }
    let program = built("computes", &[]);
    let program = program.to_str().unwrap();
    compare("gperftools", |mode| {
        let place = tempfile::tempdir().unwrap();
        let variables = ["CPUPROFILE=profile", "CPUPROFILE_FREQUENCY=1000"];
        run(&[program, "100"], mode, &variables, PROFILER, place.path());
        let words = ["google-pprof", "--text", program, "profile"];
        let table = String::from_utf8(output(&words, place.path()).stdout).unwrap();
        vec![(String::new(), Samples::of_table(&table, 0))]
    });
}

#[test]
fn timers_that_count_the_time_of_the_process() {
    let program = built("computes_sampled", &[]);
    let program = program.to_str().unwrap();
    compare("", |mode| {
        let place = tempfile::tempdir().unwrap();
        let said = run(&[program, "100", "sampled"], mode, &[], "", place.path());
        let each = said.lines().map(|line| {
            let mut fields = line.split(' ');
            let name = fields.next().unwrap().to_owned();
            let mut number = || fields.next().unwrap().parse().unwrap();
            let samples = Samples {
                three: number(),
                one: number(),
                others: number(),
            };
            (name, samples)
        });
        each.collect()
    });
}
