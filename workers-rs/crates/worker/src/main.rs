//! The worker as a program: command line and environment in, exit code out.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Parser;
use npufleet_worker::Config;

/// Serve tensor operations on the call subjects of a fleet, until SIGTERM or SIGINT.
#[derive(Parser)]
#[command(name = "npufleet-worker", version)]
struct Options {
    /// Address of the broker; several separated by commas.
    #[arg(
        long,
        env = "NPUFLEET_URL",
        hide_env_values = true,
        default_value = "nats://127.0.0.1:4222"
    )]
    url: String,
    /// User name for the broker.
    #[arg(long, env = "NPUFLEET_USER")]
    user: Option<String>,
    /// Password for the broker; prefer the variable, which other users cannot read.
    #[arg(long, env = "NPUFLEET_PASSWORD", hide_env_values = true)]
    password: Option<String>,
    /// Token for the broker; prefer the variable.
    #[arg(long, env = "NPUFLEET_TOKEN", hide_env_values = true)]
    token: Option<String>,
    /// NATS credentials file (JWT and seed).
    #[arg(long, env = "NPUFLEET_CREDENTIALS")]
    credentials: Option<PathBuf>,
    /// PEM file with the authorities that may sign the broker's certificate.
    #[arg(long, env = "NPUFLEET_TLS_CA")]
    tls_ca: Option<PathBuf>,
    /// PEM file with this worker's certificate.
    #[arg(long, env = "NPUFLEET_TLS_CERTIFICATE")]
    tls_certificate: Option<PathBuf>,
    /// PEM file with the key of the certificate.
    #[arg(long, env = "NPUFLEET_TLS_KEY")]
    tls_key: Option<PathBuf>,
    /// First token of this worker's own reply subjects, instead of `_INBOX_<user>`.
    #[arg(long)]
    inbox_prefix: Option<String>,
    /// First token of every subject of the fleet.
    #[arg(long, default_value = "npu")]
    prefix: String,
    /// Requests that may wait; one more is answered `overloaded`.
    #[arg(long, default_value_t = 4096)]
    queue_limit: usize,
    /// Threads that execute; 0 means one per core.
    #[arg(long, default_value_t = 0)]
    executors: usize,
    /// Devices for models, in order of preference.
    #[arg(long, value_delimiter = ',', default_value = "NPU,GPU,CPU")]
    devices: Vec<String>,
    /// CPU threads of all models together; 0 means one per core.
    #[arg(long, default_value_t = 0)]
    threads: usize,
    /// Directory for model files and compiled models.
    #[arg(long, env = "NPUFLEET_CACHE_DIR")]
    cache_dir: Option<PathBuf>,
    /// Path of `libopenvino_c.so*`, instead of searching it.
    #[arg(long, env = "NPUFLEET_OPENVINO_LIBRARY")]
    openvino_library: Option<PathBuf>,
    /// Write events to stdout as JSON lines.
    #[arg(long)]
    json: bool,
    /// Seconds that accepted requests may take to finish when the worker is told to stop.
    #[arg(long, default_value_t = 30.0)]
    drain_timeout: f64,
    /// Seconds until a silent NPU or GPU is lost.
    #[arg(long, default_value_t = 10.0)]
    device_timeout: f64,
    /// Seconds until a lost NPU or GPU is tried again.
    #[arg(long, default_value_t = 30.0)]
    device_retry: f64,
}

impl From<Options> for Config {
    fn from(options: Options) -> Self {
        Self {
            url: options.url,
            user: options.user,
            password: options.password,
            token: options.token,
            credentials: options.credentials,
            tls_ca: options.tls_ca,
            tls_certificate: options.tls_certificate,
            tls_key: options.tls_key,
            inbox_prefix: options.inbox_prefix,
            prefix: options.prefix,
            queue_limit: options.queue_limit,
            executors: options.executors,
            devices: options.devices,
            threads: options.threads,
            cache_dir: options.cache_dir,
            openvino_library: options.openvino_library,
            json: options.json,
            drain_timeout: options.drain_timeout,
            device_timeout: options.device_timeout,
            device_retry: options.device_retry,
        }
    }
}

fn main() -> ExitCode {
    match npufleet_worker::run(Options::parse().into()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("npufleet-worker: {error}");
            ExitCode::FAILURE
        }
    }
}
