//! Who the capture becomes once its sockets are open.

use std::{fs, io};

use crate::{
    CaptureError,
    console::warning,
    sys::{self, Account},
};

/// The user of root's captures, as in 1.0.1.
const USER: &str = "nobody";
/// Its group, by the names that systems have for it.
const GROUPS: [&str; 2] = ["nogroup", "nobody"];

/// An account to become, and the name of its user where it was given by name.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Target {
    pub(super) account: Account,
    pub(super) name: Option<String>,
}

/// Finds the account: as the flags say; else nobody and nogroup for root, as 1.0.1 does; else who we are.
///
/// # Errors
/// A name that no database has.
pub(super) fn find(uid: Option<&str>, gid: Option<&str>) -> Result<Target, CaptureError> {
    let now = Account::current();
    let (user, name) = match uid {
        Some(text) => user("--uid", text)?,
        None if now.uid == 0 && is_mapped("uid", USER) => user("--uid", USER)?,
        None => (now.uid, None),
    };
    let group = match gid {
        Some(text) => group("--gid", text)?,
        None if now.gid == 0 && user != now.uid => {
            let found = GROUPS.iter().find_map(|name| sys::group_by_name(name).ok().flatten());
            found.ok_or_else(|| no_account("--gid", "nogroup", "group"))?
        }
        None => now.gid,
    };
    if uid.is_none() && now.uid == 0 && user == 0 {
        warning!("this user namespace has no user {USER}: the capture stays user 0 of it");
    }
    Ok(Target { account: Account { uid: user, gid: group }, name })
}

/// Whether the user exists in this user namespace (user_namespaces(7)): in one that an ordinary user makes, only that user
/// does, as root.
fn is_mapped(kind: &str, name: &str) -> bool {
    let Ok(Some(account)) = sys::user_by_name(name) else { return true };
    match fs::read_to_string(format!("/proc/self/{kind}_map")) {
        Ok(map) => maps(&map, account.uid),
        Err(_) => true,
    }
}

/// Whether an id lies in a range of `/proc/self/uid_map`: first id inside, first id outside, how many.
fn maps(map: &str, id: u32) -> bool {
    map.lines().any(|line| {
        let fields: Vec<u64> = line.split_whitespace().filter_map(|field| field.parse().ok()).collect();
        matches!(fields.as_slice(), &[first, _, count] if (first..first.saturating_add(count)).contains(&id.into()))
    })
}

fn user(flag: &'static str, text: &str) -> Result<(u32, Option<String>), CaptureError> {
    if let Ok(number) = text.parse() {
        return Ok((number, None));
    }
    let account = sys::user_by_name(text).map_err(look_up_failed)?.ok_or_else(|| no_account(flag, text, "user"))?;
    Ok((account.uid, Some(text.to_owned())))
}

fn group(flag: &'static str, text: &str) -> Result<u32, CaptureError> {
    if let Ok(number) = text.parse() {
        return Ok(number);
    }
    sys::group_by_name(text).map_err(look_up_failed)?.ok_or_else(|| no_account(flag, text, "group"))
}

fn no_account(flag: &'static str, name: &str, kind: &'static str) -> CaptureError {
    CaptureError::NoAccount { flag, name: name.to_owned(), kind }
}

fn look_up_failed(source: io::Error) -> CaptureError {
    CaptureError::System { what: "look an account up", source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accounts_are_taken_by_name_and_by_number() {
        let target = find(Some("root"), Some("root")).unwrap();
        assert_eq!(target, Target { account: Account { uid: 0, gid: 0 }, name: Some("root".to_owned()) });
        let target = find(Some("12345"), Some("54321")).unwrap();
        assert_eq!(target, Target { account: Account { uid: 12_345, gid: 54_321 }, name: None });
    }

    #[test]
    fn an_unknown_name_says_which_flag_and_what() {
        let error = find(Some("no-such-user"), None).unwrap_err().to_string();
        assert_eq!(error, "--uid=no-such-user: there is no such user on this machine");
        let error = find(Some("root"), Some("no-such-group")).unwrap_err().to_string();
        assert_eq!(error, "--gid=no-such-group: there is no such group on this machine");
    }

    #[test]
    fn maps_of_user_namespaces_are_read() {
        assert!(maps("         0          0 4294967295\n", 65_534));
        assert!(!maps("         0       1000          1\n", 65_534));
        assert!(maps("0 1000 1\n1 100000 65536\n", 65_534));
        assert!(!maps("", 0));
    }
}
