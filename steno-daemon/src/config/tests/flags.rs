//! The command line, as Go reads it.

use super::*;

fn parse(arguments: &[&str]) -> Result<Flags, String> {
    let arguments: Vec<String> = arguments.iter().map(|a| (*a).to_owned()).collect();
    Flags::parse(&arguments).map_err(|e| e.to_string())
}

#[test]
fn one_dash_or_two_and_both_ways_to_give_a_value() {
    let default = parse(&[]).unwrap();
    assert_eq!(default.config.to_str(), Some("/etc/stenographer/config"));
    assert_eq!((default.syslog, default.verbosity, default.check, default.interface), (true, -1, false, None));
    for arguments in [
        ["-config", "/c", "-v", "3", "-syslog=false"].as_slice(),
        &["--config", "/c", "--v", "3", "--syslog=false"],
        &["-config=/c", "-v=3", "-syslog=0"],
        &["--config=/c", "--v=3", "--syslog=F"],
        &["-config=/x", "-config=/c", "-v", "9", "-v", "3", "-syslog", "-syslog=f"],
    ] {
        let flags = parse(arguments).unwrap();
        assert_eq!((flags.config.to_str(), flags.verbosity, flags.syslog), (Some("/c"), 3, false), "{arguments:?}");
    }
    assert_eq!(parse(&["-v", "-1"]).unwrap().verbosity, -1);
    assert_eq!(parse(&["-config", "-syslog=false"]).unwrap().config.to_str(), Some("-syslog=false"), "as in Go");
    assert!(parse(&["-syslog"]).unwrap().syslog);
    assert!(parse(&["-check"]).unwrap().check);
    assert!(parse(&["--help"]).unwrap().help && parse(&["-h"]).unwrap().help);
    assert!(parse(&["-version"]).unwrap().version);
}

#[test]
fn the_embedded_default_logs_where_one_sees_it() {
    let flags = parse(&["-interface", "eth0"]).unwrap();
    assert_eq!(
        (flags.interface.as_deref(), flags.data.to_str(), flags.syslog),
        (Some("eth0"), Some("steno-data"), false)
    );
    let flags = parse(&["-interface=eth0", "-data", "/d", "-syslog"]).unwrap();
    assert_eq!((flags.data.to_str(), flags.syslog), (Some("/d"), true));
}

#[test]
fn what_is_wrong_is_named() {
    for (arguments, expected) in [
        (["-confg=/c"].as_slice(), "unknown flag -confg; did you mean -config?"),
        (&["--sysl", "x"], "unknown flag --sysl"),
        (&["-bogus"], "unknown flag -bogus"),
        (&["-config"], "flag -config needs a value"),
        (&["-v", "x"], "bad value \"x\" for flag -v: it takes a whole number"),
        (&["-v="], "bad value \"\" for flag -v: it takes a whole number"),
        (&["-v", "1.5"], "bad value \"1.5\" for flag -v: it takes a whole number"),
        (&["-v=99999999999999999999"], "bad value \"99999999999999999999\" for flag -v: it takes a whole number"),
        (&["-v"], "flag -v needs a value"),
        (&["-sylog=false"], "unknown flag -sylog; did you mean -syslog?"),
        (&["--interfce", "e"], "unknown flag --interfce; did you mean -interface?"),
        (&["---config=/c"], "unknown flag ---config; did you mean -config?"),
        (&["-=/c"], "unexpected argument \"-=/c\""),
        (&["-syslog=maybe"], "bad value \"maybe\" for flag -syslog: it takes true or false"),
        (&["-syslog", "false"], "unexpected argument \"false\""),
        (&["file"], "unexpected argument \"file\""),
        (&["-"], "unexpected argument \"-\""),
        (&["--"], "unexpected argument \"--\""),
        (&["-config=/c", "-interface=e"], "-config and -interface do not go together"),
        (&["-data=/d"], "-data needs -interface"),
        (&["-interface="], "bad value \"\" for flag -interface: it takes the name of an interface"),
    ] {
        assert_eq!(parse(arguments).unwrap_err(), expected);
    }
}
