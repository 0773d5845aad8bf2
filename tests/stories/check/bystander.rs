//! Who else may be on the way: nginx, another HAProxy, a firewall.

use std::fs;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::process::{Command, Stdio};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use spoacme_tests::process::Process;
use spoacme_tests::wait::until;

use super::Scene;

/// Starts nginx at `address`, every request answered as `rule` says.
pub(super) fn nginx(scene: &mut Scene, address: &str, rule: &str) -> Result<(), String> {
    let root = scene.stage.path("nginx");
    fs::create_dir_all(&root).map_err(|error| error.to_string())?;
    let root = root.display();
    let text = format!(
        "daemon off; master_process off; user root; pid {root}/pid; error_log {root}/error.log;\n\
         events {{}}\n\
         http {{\n\
           access_log off; client_body_temp_path {root}/body; proxy_temp_path {root}/proxy;\n\
           fastcgi_temp_path {root}/fastcgi; uwsgi_temp_path {root}/uwsgi; scgi_temp_path {root}/scgi;\n\
           server {{ listen {address}; server_tokens off; location / {{ {rule} }} }}\n\
         }}\n"
    );
    let file = scene.stage.write("nginx.conf", &text)?;
    let mut command = Command::new("/usr/sbin/nginx");
    command
        .arg("-c")
        .arg(&file)
        .arg("-e")
        .arg(format!("{root}/error.log"));
    let mut nginx = Process::start("nginx", scene.stage.root(), &mut command)?;
    until("nginx", || {
        nginx.expect_running()?;
        TcpStream::connect(address)
            .map(drop)
            .map_err(|error| error.to_string())
    })?;
    scene.running.push(Box::new(nginx));
    Ok(())
}

/// Starts HAProxy with a configuration of its own, listening at `address`.
pub(super) fn haproxy(scene: &mut Scene, address: &str, text: &str) -> Result<(), String> {
    let file = scene.stage.write("other.cfg", text)?;
    let mut command = Command::new(&scene.stage.release.path);
    command.arg("-db").arg("-f").arg(file);
    let mut haproxy = Process::start("other-haproxy", scene.stage.root(), &mut command)?;
    until("another HAProxy", || {
        haproxy.expect_running()?;
        TcpStream::connect(address)
            .map(drop)
            .map_err(|error| error.to_string())
    })?;
    scene.running.push(Box::new(haproxy));
    Ok(())
}

/// A rule of the firewall, gone when dropped.
struct Rule(String);

impl Drop for Rule {
    fn drop(&mut self) {
        // It fails only if the table is gone.
        let _ = nft(&format!("delete table inet {}", self.0));
    }
}

/// Lets the firewall drop what goes to `ip` and the port of plain HTTP.
pub(super) fn drop_packets(scene: &mut Scene, ip: &str) -> Result<(), String> {
    let port = scene.stage.http;
    let table = format!("spoacme_test_{port}");
    let rule = Rule(table.clone());
    nft(&format!(
        "table inet {table} {{ chain input {{ type filter hook input priority 0; \
         ip daddr {ip} tcp dport {port} drop; }}; }}"
    ))?;
    scene.running.push(Box::new(rule));
    Ok(())
}

fn nft(rules: &str) -> Result<(), String> {
    let output = Command::new("/usr/sbin/nft")
        .arg(rules)
        .stdin(Stdio::null())
        .output()
        .map_err(|error| format!("nft: {error}"))?;
    match output.status.success() {
        true => Ok(()),
        false => Err(format!("nft: {}", String::from_utf8_lossy(&output.stderr))),
    }
}

/// Ends a greeter when dropped.
struct Greeter(Arc<AtomicBool>);

impl Drop for Greeter {
    fn drop(&mut self) {
        self.0.store(true, Ordering::SeqCst);
    }
}

/// Starts something that says `greeting` to everybody, and reads on.
pub(super) fn greeter(
    scene: &mut Scene,
    address: &str,
    greeting: &'static str,
) -> Result<(), String> {
    let listener = TcpListener::bind(address).map_err(|error| format!("{address}: {error}"))?;
    listener
        .set_nonblocking(true)
        .map_err(|error| error.to_string())?;
    let ended = Arc::new(AtomicBool::new(false));
    scene.running.push(Box::new(Greeter(Arc::clone(&ended))));
    thread::spawn(move || {
        while !ended.load(Ordering::SeqCst) {
            match listener.accept() {
                Ok((stream, _)) => drop(thread::spawn(move || greet(stream, greeting))),
                Err(_) => thread::sleep(Duration::from_millis(5)),
            }
        }
    });
    Ok(())
}

fn greet(mut stream: TcpStream, greeting: &str) -> std::io::Result<()> {
    stream.set_nonblocking(false)?;
    stream.set_read_timeout(Some(Duration::from_secs(5)))?;
    stream.write_all(greeting.as_bytes())?;
    while stream.read(&mut [0; 1024])? > 0 {}
    Ok(())
}
