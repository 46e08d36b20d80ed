//! The configuration file: [`steno_daemon::config::parse`], and what a client reads of it.
//!
//! A configuration that holds is written so that the same is read again, and a client that looks into it finds the sensor
//! where it listens. What is wrong with one that does not is told in lines that can be printed.

#![no_main]

use libfuzzer_sys::fuzz_target;
use steno_cli::fuzzing::location;
use steno_daemon::config::parse;

fuzz_target!(|text: &str| {
    let loaded = match parse(text) {
        Ok(loaded) => loaded,
        Err(error) => {
            let said = error.to_string();
            assert!(!said.is_empty() && !said.contains(|c: char| c.is_control() && c != '\n'), "{said:?}");
            return;
        }
    };
    for warning in &loaded.warnings {
        let said = warning.to_string();
        assert!(!said.contains(char::is_control), "{said:?}");
    }
    let written = loaded.config.to_json();
    let again = parse(&written).unwrap_or_else(|error| panic!("{written} is no configuration: {error}"));
    assert_eq!(again.config.to_json(), written);

    let (host, port, certs) = location(text).unwrap_or_else(|error| panic!("a client does not find it: {error}"));
    assert_eq!(port, loaded.config.port);
    assert_eq!(certs, loaded.config.cert_path.display().to_string());
    let listens_on = loaded.config.host;
    assert!(listens_on.is_unspecified() || host.parse() == Ok(listens_on), "{host} is called, not {listens_on}");
});
