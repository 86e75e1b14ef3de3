//! Programs that the dynamic linker of the preloaded ones does not load, or with little to go by.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use gevent_tests::library;

use crate::support::{
    Said, as_bare, bounded, c, directory, has, in_ci, launcher, preloaded, said,
    told_by_the_launcher, try_c,
};

/// Prints what it was given, and exits with 5.
const PROGRAM: &str = r#"
#include <stdio.h>
#include <stdlib.h>
int main(int argc, char **argv)
{
	printf("%d", argc);
	for (int i = 1; i < argc; i++)
		printf(" [%s]", argv[i]);
	printf(" %s\n", getenv("PRESENT") ? "present" : "absent");
	fputs("told\n", stderr);
	return 5;
}
"#;

/// It runs as bare, however it is started.
#[track_caller]
fn runs_as_bare(path: &Path) {
    let bare = as_bare(&[path.to_str().unwrap(), "a b", ""]);
    assert_eq!(bare.out, "3 [a b] [] absent\n", "{bare:?}");
    assert_eq!((bare.status, &*bare.err), (Some(5), "told\n"), "{bare:?}");
}

#[test]
fn static_programs() {
    for (name, argument) in [("static", "-static"), ("static_pie", "-static-pie")] {
        let path = c(name, PROGRAM, &[argument]);
        runs_as_bare(&path);
        told_by_the_launcher(&[path.to_str().unwrap()], "is statically linked");
    }
}

#[test]
fn programs_of_32_bits() {
    for (name, arguments) in [
        ("small", &["-m32"][..]),
        ("small_static", &["-m32", "-static"]),
    ] {
        let path = match try_c(name, PROGRAM, arguments) {
            Ok(path) => path,
            Err(error) => {
                assert!(!in_ci(), "no gcc-multilib (see scripts/setup): {error}");
                return println!("NOT TESTED: no gcc-multilib (see scripts/setup): {error}");
            }
        };
        runs_as_bare(&path);
        // Its dynamic linker is told of no library, so it has nothing to say.
        told_by_the_launcher(&[path.to_str().unwrap()], "is 32-bit");
        let script = directory().join(format!("{name}_script"));
        std::fs::write(&script, format!("#!{}\n", path.display())).unwrap();
        std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
        told_by_the_launcher(&[script.to_str().unwrap()], "is 32-bit");
    }
}

/// Starts the program in its arguments in each way there is, before there is a thread and on a
/// thread, and says how each ended.
const WAYS: &str = r#"
#include <fcntl.h>
#include <pthread.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static char **words;
enum { SYSTEM, SPAWN, SPAWNP, VFORK, EXECVE, EXECVP, FEXECVE, FEXECVE_PATH, EXECVEAT, RAW, WAYS };
static void become(int way)
{
	int at = open("/", O_PATH | O_DIRECTORY);
	switch (way) {
	case VFORK:
	case EXECVE: execve(words[0], words, environ); break;
	case EXECVP: execvp(words[0], words); break;
	case FEXECVE: fexecve(open(words[0], O_RDONLY), words, environ); break;
	case FEXECVE_PATH: fexecve(open(words[0], O_PATH), words, environ); break;
	case EXECVEAT: syscall(SYS_execveat, at, words[0] + 1, words, environ, 0); break;
	case RAW: syscall(SYS_execve, words[0], words, environ); break;
	}
	_exit(126);
}
static void *all(void *whose)
{
	for (int way = 0; way < WAYS; way++) {
		int status = -1;
		pid_t child = -1;
		if (way == SYSTEM) {
			status = system(words[0]);
		} else {
			switch (way) {
			case SPAWN: posix_spawn(&child, words[0], 0, 0, words, environ); break;
			case SPAWNP: posix_spawnp(&child, words[0], 0, 0, words, environ); break;
			case VFORK: child = vfork(); break;
			default: child = fork();
			}
			if (child == 0)
				become(way);
			waitpid(child, &status, 0);
		}
		fprintf(stderr, "%s %d: %d\n", (char *)whose, way, status);
	}
	return 0;
}
int main(int argc, char **argv)
{
	pthread_t thread;
	(void)argc;
	words = argv + 1;
	all("alone");
	pthread_create(&thread, 0, all, "on a thread");
	pthread_join(thread, 0);
	all("beside a hub");
	return 0;
}
"#;

/// The program of 32 bits, if one can be built.
fn small(name: &str) -> Option<PathBuf> {
    match try_c(name, PROGRAM, &["-m32"]) {
        Ok(path) => Some(path),
        Err(error) => {
            assert!(!in_ci(), "no gcc-multilib (see scripts/setup): {error}");
            println!("NOT TESTED: no gcc-multilib (see scripts/setup): {error}");
            None
        }
    }
}

/// What the words say and how they end below a shell, preloaded and, first, bare.
fn below_a_shell(words: &[&str], settings: &[(&str, &str)]) -> [Said; 2] {
    let shell = ["sh", "-c", "\"$@\"; exit $?", "sh"];
    let words: Vec<_> = shell.iter().chain(words).map(|&w| w.to_owned()).collect();
    let preloaded = [preloaded(settings), words.clone()].concat();
    [words, preloaded].map(|words| said(&mut bounded(&words)))
}

#[test]
fn a_32_bit_child_is_not_told_of_the_library() {
    let Some(path) = small("small_told") else {
        return;
    };
    let script = directory().join("small_told_script");
    std::fs::write(&script, format!("#!{}\n", path.display())).unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let ways = c("ways", WAYS, &[]);
    let ways = ways.to_str().unwrap();
    for child in [&path, &script] {
        let child = child.to_str().unwrap();
        let [bare, preloaded] = below_a_shell(&[ways, child], &[]);
        assert_eq!(bare.err.matches(": 1280\n").count(), 30, "{bare:?}");
        assert_eq!(preloaded, bare, "{child}");
    }
}

/// Starts a program from a child on its parent's memory and on a stack of as many bytes as are
/// said first, with an environment of as many entries, the last of which is `LD_PRELOAD`.
const ON_SMALL_STACK: &str = r#"
#include <sched.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/wait.h>
#include <unistd.h>
static char **words, **environment;
static int body(void *unused)
{
	(void)unused;
	execve(words[0], words, environment);
	_exit(126);
}
static void *all(void *whose)
{
	for (int i = 0; i < 3; i++) {
		size_t size = 65536;
		int status = -1;
		char *stack = mmap(0, size, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
		char *top = stack + size / 2 + atoi(getenv("BYTES"));
		memset(stack, 0x5a, size / 2);
		mprotect(stack, size / 2, PROT_NONE);
		waitpid(clone(body, top, CLONE_VM | CLONE_VFORK | SIGCHLD, 0), &status, 0);
		fprintf(stderr, "%s: %d\n", (char *)whose, status);
		munmap(stack, size);
	}
	return 0;
}
int main(int argc, char **argv)
{
	pthread_t thread;
	int count = atoi(getenv("ENTRIES"));
	char *list = getenv("LD_PRELOAD"), entry[4096];
	(void)argc;
	words = argv + 1;
	environment = calloc(count + 1, sizeof *environment);
	for (int i = 0; i < count; i++)
		environment[i] = "A=1";
	snprintf(entry, sizeof entry, "LD_PRELOAD=%s", list ? list : "");
	environment[count - 1] = entry;
	all("alone");
	pthread_create(&thread, 0, all, "on a thread");
	pthread_join(thread, 0);
	all("beside a hub");
	return 0;
}
"#;

#[test]
fn an_exec_takes_little_of_the_callers_stack() {
    let small = small("small_stack");
    let program = c("on_small_stack", ON_SMALL_STACK, &["-O2", "-Wl,-z,now"]);
    let program = program.to_str().unwrap();
    let small = small.as_ref().map(|path| path.to_str().unwrap());
    for child in [Some("/bin/true"), small].into_iter().flatten() {
        for entries in ["2", "300", "5000"] {
            let entries = format!("ENTRIES={entries}");
            let words = ["env", "BYTES=2048", &entries, program, child];
            let [bare, preloaded] = below_a_shell(&words, &[]);
            let ended = if child == "/bin/true" {
                ": 0\n"
            } else {
                ": 1280\n"
            };
            assert_eq!(bare.err.matches(ended).count(), 9, "{bare:?}");
            assert_eq!(preloaded, bare, "{child}");
        }
    }
}

#[test]
fn what_is_preloaded_besides_stays_where_the_library_is_taken_out() {
    let small = match try_c(
        "small_env",
        "int main(void) { return puts(getenv(\"LD_PRELOAD\")) < 0; }",
        &["-m32", "-w"],
    ) {
        Ok(path) => path,
        Err(error) => {
            assert!(!in_ci(), "no gcc-multilib (see scripts/setup): {error}");
            return println!("NOT TESTED: no gcc-multilib (see scripts/setup): {error}");
        }
    };
    let own = library::find().unwrap();
    let list = format!("{}:./$LIB/other.so", own.display());
    let script = format!("LD_PRELOAD='{list}' {}; exit $?", small.display());
    let said = said(&mut bounded(
        &[
            preloaded(&[]),
            ["sh", "-c", &script].map(str::to_owned).to_vec(),
        ]
        .concat(),
    ));
    assert_eq!((said.status, &*said.out), (Some(0), "./$LIB/other.so\n"));
    assert!(!said.err.contains("libgevent_shim"), "{said:?}");
}

#[test]
fn a_64_bit_child_of_a_32_bit_one_runs_as_bare() {
    let Some(small) = small("small_deep") else {
        return;
    };
    let starts =
        "#include <stdlib.h>\nint main(int argc, char **argv) { return system(argv[1]) >> 8; }";
    let between = c("small_between", starts, &["-m32"]);
    let threads = c("small_deep_threads", THREADS, &[]);
    let deep = format!("{}; {}", threads.display(), small.display());
    let [bare, preloaded] = below_a_shell(&[between.to_str().unwrap(), &deep], &[]);
    assert_eq!((bare.status, &*bare.out), (Some(5), "40\n1 absent\n"));
    assert_eq!(preloaded, bare);
}

/// Binds itself to a filter that kills for openat(2), and becomes its argument.
const NARROW: &str = r#"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <stddef.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>
extern char **environ;
int main(int argc, char **argv)
{
	struct sock_filter code[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, SYS_openat, 0, 1),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_KILL_PROCESS),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog filter = { sizeof code / sizeof *code, code };
	(void)argc;
	prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
	if (strcmp(argv[1], "prctl"))
		syscall(SYS_seccomp, SECCOMP_SET_MODE_FILTER, 0, &filter);
	else
		prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter);
	execve(argv[2], argv + 2, environ);
	return 126;
}
"#;

#[test]
fn no_file_is_read_where_a_filter_may_kill_for_it() {
    let narrow = c("narrow", NARROW, &[]);
    let narrow = narrow.to_str().unwrap();
    let fixed = c("narrow_static", PROGRAM, &["-static"]);
    for by in ["prctl", "seccomp"] {
        let [bare, preloaded] = below_a_shell(&[narrow, by, fixed.to_str().unwrap()], &[]);
        assert_eq!(bare.status, Some(5), "{bare:?}");
        assert_eq!(preloaded, bare, "{by}");
    }
}

/// A child of vfork of a thread binds itself to a filter, and the process asks for one that the
/// kernel does not know; then its argument is started.
const BOUND_CHILD: &str = r#"
#include <linux/filter.h>
#include <linux/seccomp.h>
#include <pthread.h>
#include <spawn.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>
extern char **environ;
static void *body(void *argv)
{
	struct sock_filter code[] = { BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW) };
	struct sock_fprog filter = { 1, code };
	int status = -1;
	pid_t child = vfork();
	if (child == 0) {
		if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) == 0)
			_exit(prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &filter) != 0);
		_exit(2);
	}
	if (waitpid(child, &status, 0) != child || status != 0)
		_exit(3);
	char **words = argv;
	if (posix_spawn(&child, words[0], 0, 0, words, environ) != 0)
		_exit(4);
	if (waitpid(child, &status, 0) != child)
		_exit(5);
	return (void *)(long)WEXITSTATUS(status);
}
int main(int argc, char **argv)
{
	void *status;
	pthread_t thread;
	(void)argc;
	if (prctl(PR_SET_SECCOMP, 99, 0) != -1)
		_exit(6);
	pthread_create(&thread, 0, body, argv + 1);
	pthread_join(thread, &status);
	return (int)(long)status;
}
"#;

#[test]
fn a_32_bit_child_is_not_told_of_the_library_after_filters_of_others() {
    let Some(path) = small("small_bound") else {
        return;
    };
    let parent = c("bound_child", BOUND_CHILD, &[]);
    let words = [&parent, &path].map(|path| path.to_str().unwrap());
    let [bare, preloaded] = below_a_shell(&words, &[]);
    assert_eq!(bare.status, Some(5), "{bare:?}");
    assert_eq!(preloaded, bare);
}

#[test]
fn a_32_bit_child_where_each_linker_has_a_library_of_its_own() {
    let Some(path) = small("small_child") else {
        return;
    };
    let empty = c("empty.so", "", &["-m32", "-shared", "-nostdlib"]);
    let place = tempfile::tempdir_in(directory()).unwrap();
    let own = library::find().unwrap();
    for (library, kinds) in [
        (&own, ["lib/x86_64-linux-gnu", "lib64"]),
        (&empty, ["lib/i386-linux-gnu", "lib32"]),
    ] {
        for kind in kinds {
            let kind = place.path().join(kind);
            std::fs::create_dir_all(&kind).unwrap();
            std::fs::copy(library, kind.join("libgevent_shim.so")).unwrap();
        }
    }
    let preload = format!(
        "LD_PRELOAD={}/$LIB/libgevent_shim.so",
        place.path().display()
    );
    let threads = c("small_childs_parent", THREADS, &[]);
    let script = format!("{}; {}", threads.display(), path.display());
    let bare = said(&mut bounded(&["sh", "-c", &script]));
    assert_eq!(bare.status, Some(5), "{bare:?}");
    let words = ["env", &preload, "sh", "-c", &script];
    assert_eq!(said(&mut bounded(&words)), bare);
    let events = [&["env", "GEVENT_SHIM_EVENTS=gevent::hub=info"], &words[1..]].concat();
    let told = said(&mut bounded(&events)).err;
    assert!(told.contains("the hub starts"), "{told}");
}

#[test]
fn a_program_that_env_finds_for_a_script_is_told_of() {
    let fixed = c("static", PROGRAM, &["-static"]);
    let script = directory().join("found_script");
    std::fs::write(&script, "#!/usr/bin/env static\n").unwrap();
    std::fs::set_permissions(&script, PermissionsExt::from_mode(0o755)).unwrap();
    let path = std::env::var("PATH").unwrap();
    let mut command = bounded(&[launcher(), "run".into(), script]);
    command.env(
        "PATH",
        format!("{}:{path}", fixed.parent().unwrap().display()),
    );
    let said = said(&mut command);
    assert_eq!(said.status, Some(5), "{said:?}");
    assert!(said.err.contains("is statically linked"), "{said:?}");
}

#[test]
fn set_user_id_programs() {
    // Root's own are not privileged for root.
    let copy = directory().join("privileged");
    std::fs::copy("/usr/bin/id", &copy).unwrap();
    if std::os::unix::fs::chown(&copy, Some(65534), None).is_err() {
        return println!("NOT TESTED: only root can make a set-user-ID program of another user's");
    }
    std::fs::set_permissions(&copy, PermissionsExt::from_mode(0o4755)).unwrap();
    let bare = as_bare(&[copy.to_str().unwrap()]);
    assert!(bare.out.contains("65534"), "{bare:?}");
    told_by_the_launcher(&[copy.to_str().unwrap()], "is set-user-ID");
}

#[test]
fn programs_with_file_capabilities() {
    if !has("setcap") {
        return;
    }
    let path = c("capable", THREADS, &[]);
    let path = path.to_str().unwrap();
    let set = Command::new("setcap")
        .args(["cap_net_raw+ep", path])
        .output()
        .unwrap();
    if !set.status.success() {
        return println!("NOT TESTED: no file can have capabilities here: {set:?}");
    }
    assert_eq!(as_bare(&[path]).out, "40\n");
    // Root gains nothing by them, so they keep nothing out.
    let mut words = preloaded(&[]);
    words.extend(["setpriv", "--reuid=65534", "--clear-groups", path].map(str::to_owned));
    let said = said(&mut bounded(&words));
    assert_eq!((said.status, &*said.out, &*said.err), (Some(0), "40\n", ""));
}

#[test]
fn a_libc_of_its_own() {
    // As Nix, Snap and AppImage bring it: the linker is named by the program, or on the command line.
    let linker = Path::new("/lib64/ld-linux-x86-64.so.2");
    let libc = Path::new("/lib/x86_64-linux-gnu/libc.so.6");
    if !libc.exists() {
        return println!("NOT TESTED: no {}", libc.display());
    }
    let bundle = directory().join("bundle");
    std::fs::create_dir_all(&bundle).unwrap();
    for file in [linker, libc] {
        let to = bundle.join(file.file_name().unwrap());
        std::fs::copy(file, &to).unwrap();
        std::fs::set_permissions(&to, PermissionsExt::from_mode(0o755)).unwrap();
    }
    let own = bundle.join("ld-linux-x86-64.so.2");
    let (own, place) = (own.to_str().unwrap(), bundle.to_str().unwrap());
    let named = [
        &format!("-Wl,--dynamic-linker={own}")[..],
        &format!("-Wl,-rpath,{place}"),
    ];
    let threads = c("own_libc_threads", THREADS, &named);
    let threads = threads.to_str().unwrap();
    let plain = c("own_libc", PROGRAM, &named);
    runs_as_bare(&plain);
    let usual = c("usual", PROGRAM, &[]);
    let bare = as_bare(&[own, "--library-path", place, usual.to_str().unwrap()]);
    assert_eq!(bare.status, Some(5), "{bare:?}");
    assert_eq!(as_bare(&[threads]).out, "40\n");
    let copied = c("usual_threads", THREADS, &[]);
    let words = [own, "--library-path", place, copied.to_str().unwrap()];
    assert_eq!(as_bare(&words).out, "40\n");
}

/// Four threads add to a number in turn.
const THREADS: &str = r#"
#include <pthread.h>
#include <stdio.h>
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t turn = PTHREAD_COND_INITIALIZER;
static int sum;
static void *add(void *own)
{
	for (int i = 0; i < 10; i++) {
		pthread_mutex_lock(&lock);
		while (sum % 4 != (long)own)
			pthread_cond_wait(&turn, &lock);
		sum++;
		pthread_cond_broadcast(&turn);
		pthread_mutex_unlock(&lock);
	}
	return 0;
}
int main(void)
{
	pthread_t threads[4];
	for (long i = 0; i < 4; i++)
		pthread_create(&threads[i], 0, add, (void *)i);
	for (int i = 0; i < 4; i++)
		pthread_join(threads[i], 0);
	printf("%d\n", sum);
	return 0;
}
"#;

/// Opens a second libc in a namespace of its own, with threads before and after.
const NAMESPACE: &str = r#"
#include <dlfcn.h>
#include <pthread.h>
#include <stdio.h>
#include <unistd.h>
static int fds[2];
static void *give(void *a) { usleep(1000); write(fds[1], "x", 1); return a; }
static void pass(void)
{
	pthread_t thread;
	char byte = 0;
	pthread_create(&thread, 0, give, 0);
	read(fds[0], &byte, 1);
	pthread_join(thread, 0);
	printf("%c\n", byte);
}
int main(void)
{
	void *handle;
	pid_t (*own)(void);
	pipe(fds);
	pass();
	if (!(handle = dlmopen(LM_ID_NEWLM, "libc.so.6", RTLD_NOW))) {
		puts(dlerror());
		return 1;
	}
	own = (pid_t (*)(void))dlsym(handle, "getppid");
	printf("%d\n", own && own() == getppid());
	pass();
	dlclose(handle);
	pass();
	return 0;
}
"#;

#[test]
fn a_second_libc_in_the_same_process() {
    let path = c("namespace", NAMESPACE, &["-D_GNU_SOURCE", "-ldl"]);
    let bare = as_bare(&[path.to_str().unwrap()]);
    assert_eq!(bare.out, "x\n1\nx\nx\n", "{bare:?}");
}

/// Becomes its second argument with no environment, with one that is a null pointer, without
/// arguments, or with closed standard descriptors.
const BECOMES: &str = r#"
#include <string.h>
#include <unistd.h>
int main(int argc, char **argv)
{
	char *none[] = { 0 };
	(void)argc;
	if (!strcmp(argv[1], "empty"))
		execve(argv[2], argv + 2, none);
	else if (!strcmp(argv[1], "null"))
		execve(argv[2], argv + 2, 0);
	else if (!strcmp(argv[1], "no-words"))
		execve(argv[2], none, environ);
	else if (!strcmp(argv[1], "nothing"))
		execve(argv[2], 0, 0);
	close(0), close(1), close(2);
	execv(argv[2], argv + 2);
	return 127;
}
"#;

/// Exits with the number of its arguments, and 100 more if a thread was one of the kernel's;
/// 200 if a descriptor below 3 is open that was closed.
const CLOSED: &str = r#"
#include <fcntl.h>
#include <pthread.h>
static void *body(void *a) { return a; }
int main(int argc, char **argv)
{
	pthread_t thread;
	void *result;
	int open = (fcntl(0, F_GETFD) >= 0) + (fcntl(1, F_GETFD) >= 0) + (fcntl(2, F_GETFD) >= 0);
	(void)argv;
	if (pthread_create(&thread, 0, body, 0) || pthread_join(thread, &result))
		return 99;
	int after = (fcntl(0, F_GETFD) >= 0) + (fcntl(1, F_GETFD) >= 0) + (fcntl(2, F_GETFD) >= 0);
	return argc + 10 * open + 40 * (after - open);
}
"#;

#[test]
fn little_to_go_by() {
    let becomes = c("becomes", BECOMES, &["-D_GNU_SOURCE", "-w"]);
    let closed = c("closed", CLOSED, &[]);
    let fixed = c("closed_static", CLOSED, &["-static"]);
    let becomes = becomes.to_str().unwrap();
    for how in ["empty", "null", "no-words", "nothing", "closed"] {
        for path in [&closed, &fixed] {
            let bare = as_bare(&[becomes, how, path.to_str().unwrap()]);
            assert!(
                bare.status.is_some_and(|status| status < 90),
                "{how}: {bare:?}"
            );
        }
    }
    // The same with the library in it.
    for (setting, value) in [("GEVENT_SHIM_EVENTS", "off"), ("GEVENT_SHIM_LOOP", "epoll")] {
        let script = format!("exec {} <&- >&- 2>&-", closed.display());
        let bare = said(&mut bounded(&["sh", "-c", &script]));
        let mut words = preloaded(&[(setting, value)]);
        words.extend(["sh", "-c", &script].map(str::to_owned));
        assert_eq!(said(&mut bounded(&words)), bare);
    }
}

#[test]
fn programs_of_musl() {
    if !has("musl-gcc") {
        return;
    }
    let source = directory().join("musl.c");
    std::fs::write(&source, PROGRAM).unwrap();
    let path = directory().join("musl");
    let built = Command::new("musl-gcc")
        .arg(&source)
        .arg("-o")
        .arg(&path)
        .output();
    assert!(
        built.as_ref().is_ok_and(|o| o.status.success()),
        "{built:?}"
    );
    runs_as_bare(&path);
    told_by_the_launcher(&[path.to_str().unwrap()], "/lib/ld-musl-x86_64.so.1");
}
