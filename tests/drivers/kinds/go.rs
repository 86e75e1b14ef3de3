//! Go: programs with and without cgo, and objects with Go's runtime in programs of C.

use std::path::{Path, PathBuf};
use std::process::Command;

use crate::support::{as_bare, bounded, c, directory, has, preloaded, said, told_by_the_launcher};

/// Goroutines wait for each other, for time and for a pipe; with cgo also in C.
const PROGRAM: &str = r#"package main

import (
	"fmt"
	"os"
	"os/exec"
	"sync"
	"time"
)

func main() {
	var group sync.WaitGroup
	results := make(chan int, 8)
	for i := 0; i < 8; i++ {
		group.Add(1)
		go func(i int) {
			defer group.Done()
			time.Sleep(time.Millisecond)
			results <- number(i)
		}(i)
	}
	group.Wait()
	sum := 0
	for i := 0; i < 8; i++ {
		sum += <-results
	}
	out, err := exec.Command("echo", "child").Output()
	fmt.Print("sum ", sum, " ", string(out), err, "\n")
	fmt.Fprintln(os.Stderr, "told")
	os.Exit(5)
}
"#;

const IN_GO: &str = "package main\n\nfunc number(i int) int { return i }\n";

const IN_C: &str = r#"package main

// #include <unistd.h>
// static int number(int i) { usleep(1000); return i; }
import "C"

func number(i int) int { return int(C.number(C.int(i))) }
"#;

const LIBRARY: &str = r#"package main

import "C"
import (
	"os"
	"sync"
	"time"
)

var channel = make(chan int)

//export Sum
func Sum(n C.int) C.int {
	var group sync.WaitGroup
	results := make(chan int, n)
	for i := 0; i < int(n); i++ {
		group.Add(1)
		go func(i int) { defer group.Done(); time.Sleep(time.Millisecond); results <- i }(i)
	}
	group.Wait()
	close(results)
	sum := 0
	for result := range results {
		sum += result
	}
	return C.int(sum)
}

//export Pipe
func Pipe() C.int {
	r, w, _ := os.Pipe()
	go func() { time.Sleep(time.Millisecond); w.Write([]byte("hello")); w.Close() }()
	bytes := make([]byte, 10)
	n, _ := r.Read(bytes)
	r.Close()
	return C.int(n)
}

//export Put
func Put(n C.int) { channel <- int(n) }

//export Get
func Get() C.int { return C.int(<-channel) }

func main() {}
"#;

/// Calls the library on threads that are there before it is opened, and on later ones, two of
/// which wait for each other.
const HOST: &str = r#"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
static int (*Sum)(int), (*Get)(void), (*Pipe)(void);
static void (*Put)(int);
static pthread_barrier_t barrier;
static void open_it(const char *path)
{
	void *handle = dlopen(path, RTLD_NOW);
	if (!handle) {
		puts(dlerror());
		exit(1);
	}
	Sum = dlsym(handle, "Sum"), Get = dlsym(handle, "Get");
	Pipe = dlsym(handle, "Pipe"), Put = dlsym(handle, "Put");
}
static void *work(void *a) { return (void *)((long)Sum(10) + Pipe() + (long)a); }
static void *get(void *a) { return (void *)(Get() + (long)a); }
static void *put(void *a) { Put(42); return a; }
static void *early(void *f)
{
	pthread_barrier_wait(&barrier);
	pthread_barrier_wait(&barrier);
	return ((void *(*)(void *))f)(0);
}
static long join(pthread_t thread)
{
	void *result;
	pthread_join(thread, &result);
	return (long)result;
}
int main(int argc, char **argv)
{
	void *(*const alone[])(void *) = { work, work, work, work };
	void *(*const tasks[])(void *) = { work, get, work, put };
	pthread_t first[4], later[4];
	(void)argc;
	pthread_barrier_init(&barrier, 0, 5);
	if (!strcmp(argv[2], "first"))
		open_it(argv[1]);
	for (int i = 0; i < 4; i++)
		pthread_create(&first[i], 0, early, alone[i]);
	pthread_barrier_wait(&barrier);
	if (strcmp(argv[2], "first"))
		open_it(argv[1]);
	pthread_barrier_wait(&barrier);
	printf("main %d %d\n", Sum(20), Pipe());
	for (int i = 0; i < 4; i++)
		printf("early %ld\n", join(first[i]));
	for (int i = 0; i < 4; i++)
		pthread_create(&later[i], 0, tasks[i], 0);
	for (int i = 0; i < 4; i++)
		printf("later %ld\n", join(later[i]));
	return 3;
}
"#;

/// Builds these files with these arguments. Go keeps what it built elsewhere than a user does.
fn build(name: &str, files: &[(&str, &str)], arguments: &[&str], cgo: bool) -> PathBuf {
    let place = directory().join(format!("go-{name}"));
    std::fs::create_dir_all(&place).unwrap();
    std::fs::write(place.join("go.mod"), "module program\n").unwrap();
    for (file, text) in files {
        std::fs::write(place.join(file), text).unwrap();
    }
    let output = directory().join(name);
    let built = Command::new("go")
        .args(["build", "-buildvcs=false", "-o"])
        .arg(&output)
        .args(arguments)
        .arg(".")
        .current_dir(&place)
        .env("CGO_ENABLED", if cgo { "1" } else { "0" })
        .env("GOCACHE", directory().join("go-cache"))
        .env("GOFLAGS", "")
        .env("GOPROXY", "off")
        .env_remove("LD_PRELOAD")
        .output()
        .unwrap();
    assert!(built.status.success(), "{built:?}");
    output
}

fn runs_as_bare(path: &Path) {
    let path = path.to_str().unwrap();
    let bare = as_bare(&[path]);
    assert_eq!(bare.out, "sum 28 child\n<nil>\n", "{bare:?}");
    assert_eq!((bare.status, &*bare.err), (Some(5), "told\n"), "{bare:?}");
    told_by_the_launcher(&[path], "is a Go program");
}

#[test]
fn a_go_program_runs_as_bare_however_it_is_linked() {
    if !has("go") {
        return;
    }
    let with_cgo = [("main.go", PROGRAM), ("number.go", IN_C)];
    let without = [("main.go", PROGRAM), ("number.go", IN_GO)];
    let nameless = ["-ldflags", "-s -w -buildid="];
    runs_as_bare(&build("go_cgo", &with_cgo, &[], true));
    runs_as_bare(&build("go_cgo_nameless", &with_cgo, &nameless, true));
    runs_as_bare(&build("go_cgo_pie", &with_cgo, &["-buildmode=pie"], true));
    runs_as_bare(&build("go_static", &without, &[], false));
    runs_as_bare(&build("go_pie", &without, &["-buildmode=pie"], false));
    // A tool of Debian's, which makes threads and children.
    as_bare(&["go", "version"]);
    as_bare(&["go", "vet", "-h"]);
}

#[test]
fn a_go_library_in_another_program_waits_without_stopping_it() {
    if !has("go") {
        return;
    }
    let library = build(
        "libgo.so",
        &[("main.go", LIBRARY)],
        &["-buildmode=c-shared"],
        true,
    );
    let library = library.to_str().unwrap();
    let host = c("go_host", HOST, &["-ldl"]);
    for when in ["first", "later"] {
        let words = [host.to_str().unwrap(), library, when];
        let bare = said(&mut bounded(&words));
        assert_eq!(bare.status, Some(3), "{bare:?}");
        for reactor in ["io_uring", "epoll"] {
            for hubs in ["1", "2"] {
                let mut all =
                    preloaded(&[("GEVENT_SHIM_LOOP", reactor), ("GEVENT_SHIM_HUBS", hubs)]);
                all.extend(words.map(str::to_owned));
                assert_eq!(said(&mut bounded(&all)), bare, "{when}, {reactor}, {hubs}");
            }
        }
        let settings = [
            ("GEVENT_SHIM_EVENTS", "gevent::patch=warn"),
            ("GEVENT_SHIM_EVENTS_FORMAT", "json"),
        ];
        let mut all = preloaded(&settings);
        all.extend(words.map(str::to_owned));
        let told = said(&mut bounded(&all));
        let event = match when {
            "first" => r#""NotPatched""#,
            _ => r#""ThreadsStayKernels""#,
        };
        assert_eq!(told.err.lines().count(), 1, "{told:?}");
        assert!(
            told.err.contains(event) && told.err.contains("libgo.so"),
            "{told:?}"
        );
    }
}
