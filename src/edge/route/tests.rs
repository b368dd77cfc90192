//! Where requests go, by host and path.
use super::*;
use proptest::prelude::*;

fn routes() -> Routes {
    Routes::new(&["https://Mill.Lab:8443/x".to_owned(), "other.lab.".to_owned()]).unwrap()
}

fn ask(hosts: &[&str], uri: &str, local: &str) -> Result<Route, NoRoute> {
    let mut request = Request::builder().uri(uri);
    for host in hosts {
        request = request.header(HOST, *host);
    }
    routes().find(&request.body(()).unwrap(), local.parse().unwrap())
}

#[test]
fn ours() {
    for (host, local) in [
        ("mill.lab", "10.0.0.7"),
        ("MILL.LAB:99", "10.0.0.7"),
        ("mill.lab.", "10.0.0.7"),
        ("other.lab", "10.0.0.7"),
        ("10.0.0.7:8443", "10.0.0.7"),
        ("10.0.0.7", "::ffff:10.0.0.7"),
        ("localhost:9000", "127.0.0.1"),
        ("127.0.0.1", "::1"),
        ("[::1]:80", "127.0.0.1"),
        ("[2001:db8::1]", "2001:db8::1"),
    ] {
        assert!(ask(&[host], "/", local).is_ok(), "{host} at {local}");
    }
    assert!(ask(&[], "https://mill.lab/", "10.0.0.7").is_ok(), "as HTTP/2 names it");
}

#[test]
fn not_ours() {
    for (host, local) in [
        ("evil.lab", "10.0.0.7"),
        ("localhost", "10.0.0.7"),
        ("127.0.0.1", "10.0.0.7"),
        ("10.0.0.8", "10.0.0.7"),
        ("mill.lab.evil", "10.0.0.7"),
        ("notmill.lab", "127.0.0.1"),
    ] {
        assert!(matches!(ask(&[host], "/", local), Err(NoRoute::Foreign { .. })), "{host} at {local}");
    }
    for hosts in [&[][..], &["mill.lab", "mill.lab"], &["user@mill.lab"], &["mill.lab/x"], &[""]] {
        assert_eq!(ask(hosts, "/", "127.0.0.1"), Err(NoRoute::BadHost), "{hosts:?}");
    }
    assert_eq!(ask(&["mill.lab"], "http://other.lab/", "127.0.0.1"), Err(NoRoute::BadHost), "contradiction");
}

#[test]
fn settings_are_read_or_refused() {
    for bad in ["", "https://", "two words", "a@b", "*.lab", "m\u{fc}hle.lab"] {
        assert!(Routes::new(&[bad.to_owned()]).is_err(), "{bad}");
    }
    assert!(Routes::new(&["::1".to_owned(), "[::1]:80".to_owned()]).is_ok());
}

proptest! {
    #[test]
    fn any_host_is_answered(host in "\\PC{0,40}") {
        if let Ok(value) = hyper::header::HeaderValue::from_str(&host) {
            let request = Request::builder().uri("/").header(HOST, value).body(()).unwrap();
            let _ = routes().find(&request, IpAddr::from([10, 0, 0, 7]));
        }
        let _ = configured_name(&host);
    }
}
