//! What a workload cannot reach: this machine's own addresses, and the parts of the kernel that no job needs.
use std::net::{IpAddr, TcpListener, TcpStream, UdpSocket};

use super::bench::{Bench, ended};
use gristmill::wire::lease::ExitKind;

/// An address of this machine that other machines could know.
fn own_address() -> IpAddr {
    let socket = UdpSocket::bind("0.0.0.0:0").unwrap();
    // Nothing is sent: this only asks the kernel which address it would send from.
    socket.connect("198.51.100.1:9").expect("this machine has a network besides its loopback");
    let own = socket.local_addr().unwrap().ip();
    assert!(!own.is_loopback() && !own.is_unspecified());
    own
}

#[tokio::test]
async fn services_of_this_machine_cannot_be_reached() {
    let own = own_address();
    let listener = TcpListener::bind("0.0.0.0:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    // From outside it is there.
    let outside = TcpStream::connect((own, port)).unwrap();
    listener.accept().unwrap();
    drop(outside);
    listener.set_nonblocking(true).unwrap();
    let bench = Bench::batch(&format!(
        "for host in {own} 10.0.2.2 10.0.2.3; do \
           timeout 3 bash -c \"echo attack > /dev/tcp/$host/{port}\" 2>/dev/null && echo reached $host; done; \
         ip route get {own} 2>&1 | head -1; \
         for host in 203.0.113.9 10.0.2.3; do ip route get $host | grep -o 'dev tap0'; done; echo done"
    ));
    bench.start().await;
    let state = bench.end().await;
    assert_eq!(state.enforcement.lacking, [] as [&str; 0]);
    assert_eq!(bench.log(), "RTNETLINK answers: Permission denied\ndev tap0\ndev tap0\ndone\n");
    assert!(listener.accept().is_err(), "a connection arrived at this machine");
}

/// What a system call answers inside: zero, or the number of its error.
fn ask(call: &str) -> String {
    format!("perl -e '$! = 0; syscall({call}); print $! + 0, \"\\n\"'")
}

#[cfg(target_arch = "x86_64")]
#[tokio::test]
async fn system_calls_that_no_job_needs_are_refused() {
    let refused = [
        // KEYCTL_GET_KEYRING_ID of the session's keyring, which anybody may ask elsewhere.
        "250, 0, -3, 0",
        "321, 0, 0, 0", // bpf
        "298, 0, 0, 0, 0, 0",
        "323, 0",
        "165, 0, 0, 0, 0, 0",
        "272, 0x10000000",
        "56, 0x10000011, 0, 0, 0, 0",
        "425, 1, 0",
    ];
    let mut script: Vec<String> = refused.iter().map(|call| ask(call)).collect();
    // clone3; a socket of the kernel's ciphers; one into the hypervisor's host; and getpid, which is as ever.
    script.extend(["435, 0, 0", "41, 38, 5, 0", "41, 40, 1, 0", "39"].map(ask));
    let bench = Bench::batch(&script.join("; "));
    bench.start().await;
    assert_eq!(ended(&bench.end().await).0, &ExitKind::Code(0), "{}", bench.log());
    let wanted = [&["1"; 8][..], &["38", "97", "97", "0"]].concat();
    assert_eq!(bench.log().lines().collect::<Vec<_>>(), wanted);
}
