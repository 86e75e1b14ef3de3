//! A set-user-ID program: what its caller's environment says is not done.

use std::ffi::OsStr;
use std::os::unix::fs::{PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Command, Output};

use gevent_tests::{compile, library};

/// Any user but root.
const USER: u32 = 65534;

/// Prints whether the loader is careful, and whether a thread is a guest.
const PROGRAM: &str = r#"
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/auxv.h>
#include <sys/syscall.h>
#include <unistd.h>
static int is_loaded(void)
{
	char line[1024];
	int found = 0;
	FILE *maps = fopen("/proc/self/maps", "r");
	while (maps && fgets(line, sizeof line, maps))
		found |= strstr(line, "libgevent_shim.so") || strstr(line, "libBrokenLocale");
	return found;
}
static void *body(void *arg)
{
	printf("secure %ld, loaded %d, %s\n", getauxval(AT_SECURE), is_loaded(),
		syscall(SYS_gettid) > 1 << 22 ? "guest" : "kernel thread");
	return arg;
}
int main(void)
{
	pthread_t thread;
	return pthread_create(&thread, NULL, body, NULL) || pthread_join(thread, NULL);
}
"#;

/// Writes a file as soon as it is loaded.
const PLUGIN: &str = r#"
#include <fcntl.h>
#include <stdlib.h>
#include <unistd.h>
__attribute__((constructor)) static void loaded(void)
{
	close(open(getenv("PLUGIN_LOG"), O_CREAT | O_WRONLY, 0666));
}
"#;

/// A directory that others may enter, with the library and the programs in it.
struct Place {
    directory: tempfile::TempDir,
    library: PathBuf,
}

fn set_mode(path: &Path, mode: u32) {
    std::fs::set_permissions(path, PermissionsExt::from_mode(mode)).unwrap();
}

impl Place {
    /// `None`: only root can make such a program.
    fn new() -> Option<Place> {
        // SAFETY: no preconditions.
        #[allow(unsafe_code)]
        if unsafe { libc::geteuid() } != 0 {
            println!("not tested: only root can make a set-user-ID program of another user");
            return None;
        }
        let directory = tempfile::tempdir().unwrap();
        set_mode(directory.path(), 0o755);
        let shared = directory.path().join("libgevent_shim.so");
        std::fs::copy(library::find().unwrap(), &shared).unwrap();
        // The loader demands it of a library that it is to preload in such a program.
        set_mode(&shared, 0o4755);
        Some(Place {
            directory,
            library: shared,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    fn build(&self, name: &str, text: &str, arguments: &[String], mode: u32) -> PathBuf {
        let source = self.path(name).with_extension("c");
        std::fs::write(&source, text).unwrap();
        let output = self.path(name);
        compile::build(&source, arguments, &output).unwrap();
        chown(&output, Some(0), Some(0)).unwrap();
        set_mode(&output, mode);
        output
    }

    /// What every variable asks for.
    fn hostile(&self, out: &Path, plugin: &Path) -> Vec<(&'static str, String)> {
        let shown = |path: PathBuf| path.display().to_string();
        vec![
            ("GEVENT_SHIM_EVENTS", "all".to_owned()),
            ("GEVENT_SHIM_EVENTS_FILE", shown(out.join("events"))),
            ("GEVENT_SHIM_PLUGINS", shown(plugin.to_owned())),
            ("GEVENT_SHIM_CONTROL", shown(out.join("control"))),
            ("GEVENT_SHIM_SUMMARY", "1".to_owned()),
            ("PLUGIN_LOG", shown(out.join("plugin"))),
            ("XDG_CACHE_HOME", shown(out.to_owned())),
        ]
    }
}

fn names(directory: &Path) -> Vec<String> {
    let entries = directory.read_dir().unwrap();
    let mut names: Vec<_> = entries
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();
    names.sort();
    names
}

/// Runs words as another user.
fn as_user<W: AsRef<OsStr>>(words: &[W], settings: &[(&str, String)]) -> Output {
    let user = USER.to_string();
    let mut command = Command::new("timeout");
    command.args([
        "-k",
        "2",
        "30",
        "setpriv",
        "--reuid",
        &user,
        "--regid",
        &user,
        "--clear-groups",
    ]);
    command.arg("env").args(
        settings
            .iter()
            .map(|(name, value)| format!("{name}={value}")),
    );
    command.args(words).env_remove(library::VARIABLE);
    command.output().unwrap()
}

#[test]
fn a_set_user_id_program_that_is_linked_with_the_library_is_left_alone() {
    let Some(place) = Place::new() else { return };
    let directory = place.directory.path().display();
    let linked = [
        format!("-L{directory}"),
        "-Wl,--no-as-needed".to_owned(),
        "-lgevent_shim".to_owned(),
        format!("-Wl,-rpath,{directory}"),
    ];
    let plain = place.build("plain", PROGRAM, &linked, 0o755);
    let privileged = place.build("privileged", PROGRAM, &linked, 0o4755);
    let shared = ["-shared".to_owned(), "-fPIC".to_owned()];
    let plugin = place.build("plugin.so", PLUGIN, &shared, 0o755);
    for (program, said, files) in [
        (
            &plain,
            "secure 0, loaded 1, guest\n",
            &["events", "gevent-shim"][..],
        ),
        (&privileged, "secure 1, loaded 1, kernel thread\n", &[]),
    ] {
        let out = place.path(&format!("out-{}", files.len()));
        std::fs::create_dir(&out).unwrap();
        chown(&out, Some(USER), Some(USER)).unwrap();
        let mut settings = place.hostile(&out, &plugin);
        if !files.is_empty() {
            // It is no plugin, and would leave the program bare.
            settings.retain(|(name, _)| *name != "GEVENT_SHIM_PLUGINS");
        }
        let output = as_user(&[program], &settings);
        assert!(output.status.success(), "{output:?}");
        assert_eq!(String::from_utf8(output.stdout).unwrap(), said);
        assert_eq!(output.stderr.is_empty(), files.is_empty());
        assert_eq!(names(&out), files);
    }
    // A variable that can't be meant is not even looked at.
    let settings = [("GEVENT_SHIM_PATCH", "nonsense".to_owned())];
    let output = as_user(&[&privileged], &settings);
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert!(!as_user(&[&plain], &settings).stderr.is_empty());
}

#[test]
fn a_set_user_id_program_with_the_library_in_a_system_directory_is_left_alone() {
    let Some(place) = Place::new() else { return };
    let plain = place.build("plain", PROGRAM, &[], 0o755);
    let privileged = place.build("privileged", PROGRAM, &[], 0o4755);
    // A file of libc's package that nothing here uses stands for a library installed there.
    const STANDS_FOR: &str = "libBrokenLocale.so.1";
    let found = Command::new("cc")
        .arg(format!("-print-file-name={STANDS_FOR}"))
        .output()
        .unwrap();
    let found = PathBuf::from(String::from_utf8(found.stdout).unwrap().trim());
    if !found.is_absolute() {
        println!("not tested: there is no {STANDS_FOR}");
        return;
    }
    let out = place.path("out");
    std::fs::create_dir(&out).unwrap();
    chown(&out, Some(USER), Some(USER)).unwrap();
    let plugin = place.build(
        "plugin.so",
        PLUGIN,
        &["-shared".to_owned(), "-fPIC".to_owned()],
        0o755,
    );
    let run = |program: &Path, settings: &[(&str, String)]| {
        let user = USER.to_string();
        let mut command = Command::new("timeout");
        command.args(["-k", "2", "30", "unshare", "--mount", "sh", "-c"]);
        command.arg("mount --bind \"$1\" \"$2\" && shift 2 && exec \"$@\"");
        command.arg("sh").arg(&place.library).arg(&found);
        command.args([
            "setpriv",
            "--reuid",
            &user,
            "--regid",
            &user,
            "--clear-groups",
            "env",
        ]);
        command.arg(format!("LD_PRELOAD={STANDS_FOR}"));
        command.args(
            settings
                .iter()
                .map(|(name, value)| format!("{name}={value}")),
        );
        command.arg(program).env_remove(library::VARIABLE);
        command.output().unwrap()
    };
    let output = run(&plain, &[]);
    let said = String::from_utf8_lossy(&output.stderr);
    if said.contains("Operation not permitted") || said.contains("permission denied") {
        println!("not tested: no mount namespace can be made: {said}");
        return;
    }
    assert_eq!(output.stdout, b"secure 0, loaded 1, guest\n", "{output:?}");
    let output = run(&privileged, &place.hostile(&out, &plugin));
    assert!(
        output.status.success() && output.stderr.is_empty(),
        "{output:?}"
    );
    assert_eq!(
        String::from_utf8(output.stdout).unwrap(),
        "secure 1, loaded 1, kernel thread\n"
    );
    assert!(names(&out).is_empty(), "{:?}", names(&out));
}
