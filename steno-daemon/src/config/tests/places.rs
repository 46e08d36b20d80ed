//! Where in the file a problem is.

use super::*;

fn said(text: &str) -> Vec<String> {
    let problems = match parse(text) {
        Ok(loaded) => loaded.warnings,
        Err(ConfigError::Bad(problems)) => problems,
        Err(e) => panic!("{text}: {e}"),
    };
    problems.iter().map(Problem::to_string).collect()
}

#[test]
fn a_typo_has_its_place_and_the_nearest_name() {
    let text = "{\n  \"Threads\": [\n    {\"PacketsDirectory\": \"/p\", \"IndexDirectory\": \"/i\", \"DiskFreePercent\": 5}\n  ],\n  \
                \"Interfac\": \"eth1\", \"Interface\": \"eth0\"\n}";
    assert_eq!(
        said(text),
        [
            "Interfac (line 5, column 3): unknown key, ignored; did you mean \"Interface\"?",
            "Threads[0].DiskFreePercent (line 3, column 56): unknown key, ignored; did you mean \
             \"Threads[0].DiskFreePercentage\"?",
        ]
    );
}

#[test]
fn a_bad_value_is_where_the_one_is_that_counts() {
    let text = "{\"Threads\": [{\"PacketsDirectory\":\"/p\",\"IndexDirectory\":\"/i\"}, 5],\n\"Interface\":\"e\",\n\"Port\":1,\n\"PORT\":0,\n\
                \"rpc\":{\"serverport\":true}}";
    assert_eq!(
        said(text),
        [
            "Threads[1] (line 1, column 2): it is 5; it must be an object",
            "Port (line 4, column 1): 0 will not do; it takes a whole number from 1 to 65535",
            "Rpc.CaCert: missing; it takes a PEM file",
            "Rpc.ServerCert: missing; it takes a PEM file",
            "Rpc.ServerKey: missing; it takes a PEM file",
            "Rpc.ServerPort (line 5, column 8): true will not do; it takes a whole number from 1 to 65535",
        ]
    );
}

#[test]
fn what_is_of_no_use_is_said_once() {
    let rpc = r#""Rpc":{"CaCert":"/c","ServerKey":"/k","ServerCert":"/s","ServerPort":8443,"ServerPcapPath":"/tmp"}"#;
    let expected =
        "Rpc.ServerPcapPath (line 1, column 155): not used: answers are streamed, and no file is made of them";
    assert_eq!(said(&with(rpc)), [expected]);
}
