//! `gristmill attach` as a person has it: on a terminal of its own, which changes its size and must be as before afterwards.
use std::fs::File;
use std::io::{Read as _, Write as _};
use std::os::fd::OwnedFd;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, kill_process};
use rustix::pty::{OpenptFlags, grantpt, ioctl_tiocgptpeer, openpt, unlockpt};
use rustix::termios::{LocalModes, Winsize, tcgetattr, tcsetwinsize};

use crate::mill::{Mill, PATIENCE, PROGRAM};

/// A terminal with somebody before it.
struct Tty {
    master: File,
    terminal: OwnedFd,
    screen: Arc<Mutex<String>>,
}

impl Tty {
    fn new(cols: u16, rows: u16) -> Self {
        let master = openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC).unwrap();
        grantpt(&master).unwrap();
        unlockpt(&master).unwrap();
        let flags = OpenptFlags::RDWR | OpenptFlags::NOCTTY | OpenptFlags::CLOEXEC;
        let terminal = ioctl_tiocgptpeer(&master, flags).unwrap();
        let (master, screen) = (File::from(master), Arc::new(Mutex::new(String::new())));
        let (mut reader, shown) = (master.try_clone().unwrap(), screen.clone());
        std::thread::spawn(move || {
            let mut piece = [0; 4096];
            while let Ok(length @ 1..) = reader.read(&mut piece) {
                shown.lock().unwrap().push_str(&String::from_utf8_lossy(&piece[..length]));
            }
        });
        let tty = Self { master, terminal, screen };
        tty.resize(cols, rows);
        tty
    }

    fn resize(&self, cols: u16, rows: u16) {
        let size = Winsize { ws_row: rows, ws_col: cols, ws_xpixel: 0, ws_ypixel: 0 };
        tcsetwinsize(&self.master, size).unwrap();
    }

    /// Starts `gristmill attach` with this terminal as the one that it belongs to.
    fn attach(&self, mill: &Mill, id: &str) -> Child {
        self.clear();
        let mut command = Command::new("setsid");
        let program = mill.program("admin");
        for (name, value) in program.get_envs() {
            match value {
                Some(value) => command.env(name, value),
                None => command.env_remove(name),
            };
        }
        command.current_dir(&mill.dir);
        command.args(["--ctty", PROGRAM, "attach", id]);
        let end = || Stdio::from(self.terminal.try_clone().unwrap());
        let child = command.stdin(end()).stdout(end()).stderr(end()).spawn().unwrap();
        self.see(&format!("Attached to {id}"));
        child
    }

    fn type_in(&self, keys: &str) {
        (&self.master).write_all(keys.as_bytes()).unwrap();
    }

    fn clear(&self) {
        self.screen.lock().unwrap().clear();
    }

    fn see(&self, wanted: &str) {
        let begun = Instant::now();
        while !self.screen.lock().unwrap().contains(wanted) {
            assert!(begun.elapsed() < PATIENCE, "{wanted:?} never came on:\n{}", self.screen.lock().unwrap());
            std::thread::sleep(Duration::from_millis(20));
        }
    }

    /// Everything that raw mode changes.
    fn modes(&self) -> String {
        let modes = tcgetattr(&self.terminal).unwrap();
        format!("{:?} {:?} {:?} {:?}", modes.input_modes, modes.output_modes, modes.control_modes, modes.local_modes)
    }

    fn is_raw(&self) -> bool {
        !tcgetattr(&self.terminal)
            .unwrap()
            .local_modes
            .intersects(LocalModes::ICANON | LocalModes::ECHO | LocalModes::ISIG)
    }
}

fn ended(mut child: Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        assert!(begun.elapsed() < PATIENCE, "attach does not end");
        std::thread::sleep(Duration::from_millis(20));
    }
}

#[test]
fn a_terminal_is_carried_whole_and_left_as_it_was() {
    let mill = Mill::new();
    let id = mill.run(&["book", "--gpus", "1", "--for", "1h"]).ok();
    let id = id.trim();
    mill.until("it runs", |mill| mill.json(&["show", id])["state"] == "active");
    let tty = Tty::new(100, 30);
    let before = tty.modes();
    assert!(!tty.is_raw());

    let child = tty.attach(&mill, id);
    assert!(tty.is_raw());
    tty.type_in("echo answer=$((6*7)); mark=kept\r");
    tty.see("answer=42");
    tty.type_in("stty size\r");
    tty.see("30 100");
    tty.resize(132, 40);
    tty.type_in("until [ \"$(stty size)\" = '40 132' ]; do sleep 0.1; done; echo resized=$((40+132))\r");
    tty.see("resized=172");
    // Ctrl-C is the shell's and not this program's.
    tty.type_in("echo going=$((1+2)); sleep 600\r");
    tty.see("going=3");
    tty.clear();
    tty.type_in("\x03");
    tty.see("$ ");
    tty.type_in("echo interrupted=$((1+1))\r");
    tty.see("interrupted=2");
    tty.type_in("\x1d");
    assert!(ended(child).success());
    tty.see("Left; the shell goes on.");
    assert_eq!(tty.modes(), before, "the terminal is as it was");

    // Asked to end from outside, it leaves the terminal as it was too, and the shell lives.
    let child = tty.attach(&mill, id);
    tty.type_in("echo mark=$mark=${#mark}\r");
    tty.see("mark=kept=4");
    kill_process(Pid::from_raw(i32::try_from(child.id()).unwrap()).unwrap(), Signal::TERM).unwrap();
    assert!(ended(child).success());
    assert_eq!(tty.modes(), before, "a signal leaves the terminal as it was");

    let child = tty.attach(&mill, id);
    tty.type_in("exit\r");
    tty.see("This shell has ended.");
    assert!(ended(child).success());
    assert_eq!(tty.modes(), before);
}
