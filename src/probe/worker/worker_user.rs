//! The user of a worker that root starts for another one: the daemon's user.

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

use crate::common::SystemUser;

/// The option that begins the ids in the arguments of the worker.
const USER_OPTION: &str = "--user";

/// Returns the arguments that make a worker this user. The first group is the main group.
pub(in crate::probe) fn user_args(user: &SystemUser) -> Vec<String> {
    let ids = std::iter::once(&user.user).chain(&user.groups).map(u32::to_string);
    std::iter::once(USER_OPTION.to_owned()).chain(ids).collect()
}

/// Reads the arguments.
///
/// # Errors
/// The arguments are not those of [`user_args`].
fn parse_user(mut args: impl Iterator<Item = String>) -> Result<Option<SystemUser>, ()> {
    match args.next() {
        None => return Ok(None),
        Some(option) if option == USER_OPTION => {}
        Some(_) => return Err(()),
    }
    let ids: Vec<u32> = args.map(|id| id.parse().map_err(drop)).collect::<Result<_, ()>>()?;
    match ids.split_first() {
        Some((user, groups)) if !groups.is_empty() => {
            Ok(Some(SystemUser { user: *user, groups: groups.to_vec() }))
        }
        _ => Err(()),
    }
}

/// Makes this process that of the user in the arguments. Without arguments, the user stays.
///
/// # Errors
/// The arguments are wrong, or this process may not change its user.
pub(super) fn become_user(args: impl Iterator<Item = String>) -> Result<(), ()> {
    let Some(SystemUser { user, groups }) = parse_user(args)? else { return Ok(()) };
    let groups: Vec<Gid> = groups.into_iter().map(Gid::from_raw).collect();
    let main = groups.first().copied().ok_or(())?;
    // The user comes last: it may not change the groups.
    let changed = setgroups(&groups).and_then(|()| setgid(main));
    changed.and_then(|()| setuid(Uid::from_raw(user))).map_err(drop)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_arguments_name_the_user_and_its_groups() {
        let user = SystemUser { user: 64, groups: vec![65, 4] };
        assert_eq!(user_args(&user), ["--user", "64", "65", "4"]);
        assert_eq!(parse_user(user_args(&user).into_iter()), Ok(Some(user)));
        let parse = |args: &[&str]| parse_user(args.iter().map(ToString::to_string));
        assert_eq!(parse(&[]), Ok(None));
        for wrong in [&["--user"][..], &["--user", "64"], &["64", "65"], &["--user", "a", "65"]] {
            assert_eq!(parse(wrong), Err(()), "{wrong:?}");
        }
    }
}
