//! What the service manager hears, by a socket in its place.

use std::{
    os::unix::net::UnixDatagram,
    process::{Command, Stdio},
    time::Duration,
};

use steno_daemon::notify;

/// The part that runs with a service manager in its environment.
#[test]
fn a_daemon_that_tells() {
    if std::env::var_os("STENO_TEST_TELL").is_none() {
        // Without a service manager nothing happens.
        notify::ready("x");
        assert_eq!(notify::alive_every(), None);
        return;
    }
    notify::ready("answering on 127.0.0.1:1234");
    notify::alive();
    notify::status("capturing");
    notify::stopping(Duration::from_secs(2));
    assert_eq!(notify::alive_every(), Some(Duration::from_secs(30)));
}

#[test]
fn the_service_manager_hears_ready_alive_and_stopping() {
    let dir = tempfile::tempdir().unwrap();
    let path = dir.path().join("notify");
    let socket = UnixDatagram::bind(&path).unwrap();
    socket.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    let told = Command::new(std::env::current_exe().unwrap())
        .args(["--exact", "a_daemon_that_tells", "--nocapture"])
        .env("STENO_TEST_TELL", "1")
        .env("NOTIFY_SOCKET", &path)
        .env("WATCHDOG_USEC", "60000000")
        .env_remove("WATCHDOG_PID")
        .stdout(Stdio::null())
        .status()
        .unwrap();
    assert!(told.success());
    let mut heard = Vec::new();
    let mut bytes = [0; 256];
    while heard.len() < 4 {
        let n = socket.recv(&mut bytes).unwrap();
        heard.push(String::from_utf8(bytes[..n].to_vec()).unwrap());
    }
    assert_eq!(heard[0].lines().collect::<Vec<_>>(), ["READY=1", "STATUS=answering on 127.0.0.1:1234"]);
    assert_eq!(heard[1].trim(), "WATCHDOG=1");
    assert_eq!(heard[2].trim(), "STATUS=capturing");
    assert_eq!(heard[3].lines().collect::<Vec<_>>(), ["STOPPING=1", "EXTEND_TIMEOUT_USEC=2000000"]);
}
