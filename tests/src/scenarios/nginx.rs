//! nginx with thread pools, under siege; and the documents that web servers serve.

use crate::mode::Mode;
use crate::root::Root;
use crate::run::Outcome;
use crate::serving::{Place, Serving, is_root, siege, succeed, succeed_in};
use std::process::Command;

/// A directory with documents.
///
/// # Errors
/// What the system said.
pub fn documents() -> Result<Place, String> {
    let place = Place::new()?;
    std::fs::create_dir(place.path("www")).map_err(|error| error.to_string())?;
    place.write("www/small", "hello\n")?;
    place.write("www/large", &"0123456789abcdef\n".repeat(20_000))?;
    Ok(place)
}

/// Fetches `path` and tells its size and sum.
///
/// # Errors
/// What curl said.
pub fn fetch(serving: &mut Serving, path: &str) -> Result<(), String> {
    let url = format!("http://127.0.0.1:{}/{path}", serving.port());
    let mut curl = Command::new("curl");
    curl.args([
        "--silent",
        "--show-error",
        "--noproxy",
        "*",
        "--include",
        &url,
    ]);
    let answer = succeed(&Mode::Bare, &mut curl)?.stdout;
    let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
    let status = head.lines().next().unwrap_or_default().to_owned();
    let sum = body
        .bytes()
        .fold(0u32, |sum, byte| sum.rotate_left(5) ^ u32::from(byte));
    serving.say(&format!(
        "{path}: {status}, {} bytes, {sum:08x}",
        body.len()
    ));
    Ok(())
}

/// Has siege fetch the documents, and tells what came of it.
///
/// # Errors
/// What siege said.
pub fn load(serving: &mut Serving, mode: &Mode, requests: u32) -> Result<(), String> {
    let urls = ["small", "large"].map(|path| format!("http://127.0.0.1:{}/{path}", serving.port()));
    let line = siege(mode, &serving.place.path(""), &urls, 40, requests)?;
    serving.say(&line);
    Ok(())
}

/// Its workers read files in thread pools. The server is that of `system`; its clients are the
/// machine's own.
///
/// # Errors
/// What failed besides.
pub fn nginx(system: &Root, server_mode: &Mode, siege_mode: &Mode) -> Result<Outcome, String> {
    let place = documents()?;
    let root = place.path("");
    let root = root.display();
    let user = if is_root() { "user root;" } else { "" };
    let settings = place.write(
        "nginx.conf",
        &format!(
            "daemon off; worker_processes 2; pid {root}/run/pid; error_log {root}/log warn; {user}
            thread_pool default threads=8 max_queue=65536;
            events {{ worker_connections 512; }}
            http {{
                access_log off; sendfile off; output_buffers 2 64k;
                aio threads; aio_write on;
                client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;
                fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi;
                scgi_temp_path {root}/scgi;
                server {{ listen {}; root {root}/www; }}
            }}\n",
            place.address
        ),
    )?;
    let mut help = Command::new("/usr/sbin/nginx");
    let knows_e = succeed_in(system, &Mode::Bare, help.arg("-h"))?
        .stderr
        .contains("-e filename");
    let mut nginx = Command::new("/usr/sbin/nginx");
    nginx
        .args(knows_e.then_some(["-e", "stderr"]).into_iter().flatten())
        .arg("-c")
        .arg(settings);
    let mut serving = place.start_in(system, server_mode, &mut nginx)?;
    for path in ["small", "large", "missing"] {
        fetch(&mut serving, path)?;
    }
    load(&mut serving, siege_mode, 50)?;
    let log = std::fs::read_to_string(serving.place.path("log")).unwrap_or_default();
    let missing = log.lines().filter(|line| line.contains("/missing")).count();
    serving.say(&format!(
        "log: {} lines, {missing} of the missing",
        log.lines().count()
    ));
    serving.stop(libc::SIGTERM, |line| {
        // Before 1.19.5 it opens the usual log at first.
        (!line.contains("/var/log/nginx/error.log")).then(|| line.to_owned())
    })
}
