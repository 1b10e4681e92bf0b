//! A real broker on a free port.

#![allow(dead_code, missing_docs, unreachable_pub, reason = "each test program uses its part")]

use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use async_nats::Client;

/// A directory that goes away with its owner.
pub struct Directory(pub PathBuf);

impl Directory {
    pub fn new() -> Self {
        let path = std::env::temp_dir().join(format!("npufleet-test-{}", nuid::next()));
        std::fs::create_dir(&path).unwrap();
        Self(path)
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// A nats-server that is killed with its owner.
pub struct Broker {
    pub url: String,
    pub port: String,
    child: Child,
    _store: Directory,
}

impl Broker {
    pub fn start(options: &[&str]) -> Self {
        let store = Directory::new();
        let mut child = Command::new(server())
            .args(["--addr", "127.0.0.1", "--port", "-1", "--store_dir"])
            .arg(&store.0)
            .args(options)
            .stderr(Stdio::piped())
            .spawn()
            .unwrap();
        let mut log = BufReader::new(child.stderr.take().unwrap());
        let (mut port, mut line) = (None, String::new());
        while log.read_line(&mut line).unwrap() > 0 {
            if let Some((_, address)) = line.trim().split_once("Listening for client connections on ") {
                port = address.rsplit_once(':').map(|(_, port)| port.to_owned());
            }
            if line.contains("Server is ready") {
                break;
            }
            line.clear();
        }
        std::thread::spawn(move || std::io::copy(&mut log.by_ref(), &mut std::io::sink()));
        let port = port.expect("the broker's port");
        Self {
            url: format!("nats://127.0.0.1:{port}"),
            port,
            child,
            _store: store,
        }
    }

    /// Starts one with a configuration file.
    pub fn configured(text: &str) -> Self {
        let folder = Directory::new();
        let path = folder.0.join("server.conf");
        std::fs::write(&path, text).unwrap();
        Self::start(&["--config", path.to_str().unwrap()])
    }

    /// Sends it a signal, such as `STOP`.
    pub fn signal(&self, name: &str) {
        let status = Command::new("kill")
            .args(["-s", name, &self.child.id().to_string()])
            .status()
            .unwrap();
        assert!(status.success());
    }

    pub async fn client(&self) -> Client {
        async_nats::connect(&self.url).await.unwrap()
    }
}

impl Drop for Broker {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn server() -> PathBuf {
    if let Some(path) = std::env::var_os("NPUFLEET_NATS_SERVER") {
        return path.into();
    }
    let here = Path::new(env!("CARGO_MANIFEST_DIR"));
    let ours = here.join("../../../.venv/bin/nats-server");
    if ours.exists() { ours } else { "nats-server".into() }
}
