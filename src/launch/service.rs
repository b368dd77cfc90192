//! `gristmill install-service`: a systemd unit for this program and data directory. It refuses hardening that would break
//! what nodes need (sandboxes, devices, control groups), and says so in the unit itself.
use std::fs;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;

use clap::Args;
use serde::Serialize;

use crate::config;

const NAME: &str = "gristmill.service";

/// What `gristmill install-service` takes.
#[derive(Clone, Debug, Args)]
pub struct ServiceArgs {
    /// Where the database, keys and logs lie
    #[arg(long, env = "GRISTMILL_DATA", default_value_os_t = config::default_data())]
    pub data: PathBuf,
    /// Address of the front door. Off loopback it speaks TLS
    #[arg(long, default_value = "127.0.0.1:8080")]
    pub listen: SocketAddr,
    /// Address that nodes dial
    #[arg(long, default_value = "127.0.0.1:8443")]
    pub gateway: SocketAddr,
    /// Where people reach this server
    #[arg(long)]
    pub public_url: Option<String>,
    /// Only print the unit
    #[arg(long)]
    pub print: bool,
}

/// Why no service was installed.
#[derive(Debug, thiserror::Error)]
pub enum ServiceError {
    #[error("this program's own path is not known: {0}")]
    Program(std::io::Error),
    #[error("{} cannot be written: {source}. Run it as root, or print the unit with --print.", path.display())]
    Write { path: PathBuf, source: std::io::Error },
    #[error("“{command}” failed: {why}. The unit lies at {}; mend the cause and run that command again.", path.display())]
    Systemd { command: String, why: String, path: PathBuf },
    #[error("neither HOME nor XDG_CONFIG_HOME is set, so there is no place for a unit of yours. Run it as root.")]
    NoHome,
}

/// What was done.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Installed {
    pub unit: String,
    /// Where it was written; `None` when it was only printed.
    pub path: Option<PathBuf>,
    pub running: bool,
    pub next: String,
}

/// Writes the unit and starts it where systemd runs; prints it otherwise.
pub fn run(args: &ServiceArgs) -> Result<Installed, ServiceError> {
    let program = std::env::current_exe().map_err(ServiceError::Program)?;
    let root = rustix::process::geteuid().is_root();
    // A service starts in another directory.
    let data = std::path::absolute(&args.data).unwrap_or_else(|_| args.data.clone());
    let unit = unit(&program, &ServiceArgs { data, ..args.clone() }, root);
    let path = place(root)?;
    let manual = format!("{0} daemon-reload && {0} enable --now {NAME}", systemctl(root).join(" "));
    if args.print || !Path::new("/run/systemd/system").exists() {
        let why = if args.print { "" } else { "systemd does not run here. " };
        let next = format!("{why}To install it: save the unit as {}, then run: {manual}", path.display());
        return Ok(Installed { unit, path: None, running: false, next });
    }
    let failed = |source| ServiceError::Write { path: path.clone(), source };
    path.parent().map_or(Ok(()), fs::create_dir_all).and_then(|()| fs::write(&path, &unit)).map_err(failed)?;
    for words in [&["daemon-reload"][..], &["enable", "--now", NAME]] {
        call(root, words, &path)?;
    }
    let journal = if root { "journalctl -u" } else { "journalctl --user -u" };
    let linger = if root { "" } else { " It stops when you log out, unless you run: loginctl enable-linger." };
    let next = format!("It runs and starts with the machine. Its log, with the setup link: {journal} {NAME}.{linger}");
    Ok(Installed { unit, path: Some(path), running: true, next })
}

fn systemctl(root: bool) -> Vec<&'static str> {
    if root { vec!["systemctl"] } else { vec!["systemctl", "--user"] }
}

fn call(root: bool, words: &[&str], path: &Path) -> Result<(), ServiceError> {
    let line: Vec<&str> = systemctl(root).into_iter().chain(words.iter().copied()).collect();
    let failed = |why: String| ServiceError::Systemd { command: line.join(" "), why, path: path.to_owned() };
    let done = Command::new(line[0]).args(&line[1..]).output().map_err(|why| failed(why.to_string()))?;
    if done.status.success() {
        return Ok(());
    }
    Err(failed(String::from_utf8_lossy(&done.stderr).trim().to_owned()))
}

fn place(root: bool) -> Result<PathBuf, ServiceError> {
    if root {
        return Ok(Path::new("/etc/systemd/system").join(NAME));
    }
    let config = std::env::var_os("XDG_CONFIG_HOME").map(PathBuf::from);
    let config = config.or_else(|| std::env::var_os("HOME").map(|home| PathBuf::from(home).join(".config")));
    Ok(config.ok_or(ServiceError::NoHome)?.join("systemd/user").join(NAME))
}

/// The unit's text.
fn unit(program: &Path, args: &ServiceArgs, root: bool) -> String {
    let mut words = vec![program.display().to_string(), "serve".to_owned()];
    words.extend(["--data".to_owned(), args.data.display().to_string()]);
    words.extend(["--listen".to_owned(), args.listen.to_string(), "--gateway".to_owned(), args.gateway.to_string()]);
    words.extend(args.public_url.iter().flat_map(|url| ["--public-url".to_owned(), url.clone()]));
    let line = words.iter().map(|word| quoted(word)).collect::<Vec<_>>().join(" ");
    // A user's own systemd may not change what its services see of the file system.
    let system = if root { "ProtectSystem=full\nProtectHostname=yes\nDelegate=yes\n" } else { "" };
    let target = if root { "multi-user.target" } else { "default.target" };
    format!(
        "# Written by: gristmill install-service\n\
         [Unit]\n\
         Description=Gristmill, the organisation's own GPU cloud\n\
         Wants=network-online.target\n\
         After=network-online.target\n\
         \n\
         [Service]\n\
         Type=exec\n\
         ExecStart={line}\n\
         Restart=on-failure\n\
         RestartSec=3\n\
         # Stopping the server ends neither this machine's agent nor its workloads: the next start adopts them.\n\
         KillMode=process\n\
         TimeoutStopSec=30\n\
         LimitNOFILE=1048576\n\
         UMask=0077\n\
         # The agent starts sandboxes from here. Options that hide devices, /proc or control groups, forbid namespaces or\n\
         # set no-new-privileges would reach into them and are left out on purpose.\n\
         LockPersonality=yes\n\
         RestrictRealtime=yes\n\
         {system}\
         \n\
         [Install]\n\
         WantedBy={target}\n"
    )
}

/// A word of a command line as systemd reads it.
fn quoted(word: &str) -> String {
    let escaped = word.replace('\\', "\\\\").replace('"', "\\\"").replace('%', "%%").replace('$', "$$");
    let plain = escaped.chars().all(|c| c.is_ascii_alphanumeric() || "/._-:@=+,[]".contains(c));
    if plain && !escaped.is_empty() { escaped } else { format!("\"{escaped}\"") }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn args() -> ServiceArgs {
        ServiceArgs {
            data: "/var/lib/my mill".into(),
            listen: "0.0.0.0:8443".parse().unwrap(),
            gateway: "0.0.0.0:9443".parse().unwrap(),
            public_url: Some("https://mill.lab".into()),
            print: true,
        }
    }

    #[test]
    fn the_unit_starts_what_was_asked_for_and_spares_workloads() {
        let text = unit(Path::new("/usr/local/bin/gristmill"), &args(), true);
        let line = "ExecStart=/usr/local/bin/gristmill serve --data \"/var/lib/my mill\" --listen 0.0.0.0:8443 \
                    --gateway 0.0.0.0:9443 --public-url https://mill.lab\n";
        assert!(text.contains(line), "{text}");
        for needed in ["KillMode=process", "LimitNOFILE=", "Restart=on-failure", "WantedBy=multi-user.target"] {
            assert!(text.contains(needed), "{needed}");
        }
        for breaks_sandboxes in
            ["NoNewPrivileges=", "PrivateDevices=", "RestrictNamespaces=", "ProtectProc=", "ProtectClock="]
        {
            assert!(!text.contains(breaks_sandboxes), "{breaks_sandboxes}");
        }
        let own = unit(Path::new("/home/ada/gristmill"), &args(), false);
        assert!(own.contains("WantedBy=default.target") && !own.contains("ProtectSystem"));
    }

    #[test]
    fn words_are_quoted_as_systemd_reads_them() {
        assert_eq!(quoted("/srv/mill"), "/srv/mill");
        assert_eq!(quoted("a b\"$%\\"), "\"a b\\\"$$%%\\\\\"");
        assert_eq!(quoted(""), "\"\"");
    }

    #[test]
    fn printing_changes_nothing() {
        let printed = run(&args()).unwrap();
        assert!(printed.path.is_none() && !printed.running && printed.unit.starts_with("# Written by"));
    }
}
