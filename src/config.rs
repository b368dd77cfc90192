//! The server's settings: flags and environment, one typed struct, read once and passed down. Every value has a documented
//! default. It refuses globals and settings that would open the mill to the network without TLS.
use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;

/// What `gristmill serve` takes.
#[derive(Clone, Debug, Args)]
pub struct ServeSettings {
    /// Where the database, keys and logs lie; made when missing
    #[arg(long, env = "GRISTMILL_DATA", default_value_os_t = default_data())]
    pub data: PathBuf,
    /// Address of the front door. Off loopback it speaks TLS
    #[arg(long, env = "GRISTMILL_LISTEN", default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address that nodes dial, always with mutual TLS
    #[arg(long, env = "GRISTMILL_GATEWAY", default_value = "127.0.0.1:8443")]
    pub gateway: SocketAddr,
    /// Where people reach this server, such as https://mill.lab; links in mails and invitations use it
    #[arg(long, env = "GRISTMILL_PUBLIC_URL")]
    pub public_url: Option<String>,
    /// What machines dial to reach the gateway, such as https://mill.lab:8443, where that is not the public URL's host with the gateway's port
    #[arg(long, env = "GRISTMILL_GATEWAY_URL")]
    pub gateway_url: Option<String>,
    /// Certificate chain (PEM) for the front door; without it the mill's own CA signs one off loopback. The files are
    /// read again when they change, and at once on SIGHUP; open connections go on
    #[arg(long, env = "GRISTMILL_TLS_CERT", requires = "tls_key")]
    pub tls_cert: Option<PathBuf>,
    /// Private key (PEM) of --tls-cert
    #[arg(long, env = "GRISTMILL_TLS_KEY", requires = "tls_cert")]
    pub tls_key: Option<PathBuf>,
    /// Do not run this machine as a node
    #[arg(long, env = "GRISTMILL_NO_LOCAL_NODE")]
    pub no_local_node: bool,
    /// Refuse writes when less than this many MiB are free on the data directory's disk
    #[arg(long, env = "GRISTMILL_DISK_FLOOR_MIB", default_value_t = 256)]
    pub disk_floor_mib: u64,
    /// Readings of GPUs may take so many MiB on disk (samples.redb); the default keeps 1,000 GPUs for 13 months. Beyond, they
    /// are kept more coarsely, which the GPUs' pages say
    #[arg(long, env = "GRISTMILL_SAMPLES_MIB", default_value_t = 1280)]
    pub samples_mib: u64,
    /// Log as JSON, one object a line
    #[arg(long, env = "GRISTMILL_LOG_JSON")]
    pub log_json: bool,
}

/// `/var/lib/gristmill` for root, else the XDG data directory.
pub fn default_data() -> PathBuf {
    if rustix::process::geteuid().is_root() {
        return PathBuf::from("/var/lib/gristmill");
    }
    let base = std::env::var_os("XDG_DATA_HOME")
        .map(PathBuf::from)
        .or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".local/share")));
    base.unwrap_or_else(|| PathBuf::from(".")).join("gristmill")
}

impl ServeSettings {
    /// Whether the front door speaks TLS: with files always, with the mill's own CA off loopback or where the public URL
    /// says https.
    pub fn tls(&self) -> bool {
        self.tls_cert.is_some() || !self.listen.ip().is_loopback()
    }

    /// The public URL without a trailing slash; derived from the address the door really listens on.
    pub fn url(&self, listening: SocketAddr) -> String {
        match &self.public_url {
            Some(url) => url.trim_end_matches('/').to_owned(),
            None => {
                let scheme = if self.tls() { "https" } else { "http" };
                let ip = listening.ip();
                let host = match ip.is_unspecified() {
                    true => hostname().unwrap_or_else(|| "localhost".to_owned()),
                    false if ip.is_ipv6() => format!("[{ip}]"),
                    false => ip.to_string(),
                };
                format!("{scheme}://{host}:{}", listening.port())
            }
        }
    }

    /// The names under which people reach this server: the public URL's, else this machine's own where it listens for all.
    pub fn hosts(&self) -> Vec<String> {
        match &self.public_url {
            Some(url) => vec![url.clone()],
            None if self.listen.ip().is_unspecified() => hostname().into_iter().collect(),
            None => Vec::new(),
        }
    }

    /// What other machines dial, and whether only this one can: the address that was given, else the one the gateway
    /// listens on, else the public URL's host with its port.
    pub fn gateway_url(&self, url: &str, listening: SocketAddr) -> (String, bool) {
        if let Some(given) = &self.gateway_url {
            return (given.trim_end_matches('/').to_owned(), false);
        }
        if !listening.ip().is_unspecified() {
            return (format!("https://{listening}"), listening.ip().is_loopback());
        }
        let authority = url.split_once("://").map_or(url, |(_, rest)| rest).split('/').next().unwrap_or_default();
        let host = match authority.rsplit_once(':') {
            Some((host, port)) if port.bytes().all(|b| b.is_ascii_digit()) => host,
            _ => authority,
        };
        (format!("https://{host}:{}", listening.port()), false)
    }

    /// The names that the mill's own certificate carries.
    pub fn certificate_names(&self) -> Vec<String> {
        let mut names = vec!["localhost".to_owned(), "127.0.0.1".to_owned()];
        if let Some(url) = &self.public_url {
            let host = url.trim_start_matches("https://").trim_start_matches("http://");
            let host = host.split(['/', ':']).next().unwrap_or_default();
            names.push(host.to_owned());
        }
        if self.listen.ip().is_unspecified() {
            names.extend(hostname());
        } else {
            names.push(self.listen.ip().to_string());
        }
        names.sort();
        names.dedup();
        names.retain(|name| !name.is_empty());
        names
    }
}

/// This machine's name.
pub fn hostname() -> Option<String> {
    let name = rustix::system::uname().nodename().to_string_lossy().into_owned();
    Some(name).filter(|name| !name.is_empty())
}
