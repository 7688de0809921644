//! The user of a worker that root starts for another one: the daemon's user.

use nix::unistd::{Gid, Uid, setgid, setgroups, setuid};

/// The option that begins the ids in the arguments of the worker.
const USER_OPTION: &str = "--user";

/// A user with all of its groups.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WorkerUser {
    /// User id.
    pub user: u32,
    /// Ids of the groups. The first one is the main group.
    pub groups: Vec<u32>,
}

impl WorkerUser {
    /// Returns the arguments that make a worker this user.
    pub(in crate::probe) fn to_args(&self) -> Vec<String> {
        let ids = std::iter::once(&self.user).chain(&self.groups).map(u32::to_string);
        std::iter::once(USER_OPTION.to_owned()).chain(ids).collect()
    }

    /// Reads the arguments.
    ///
    /// # Errors
    /// The arguments are not those of [`WorkerUser::to_args`].
    fn from_args(mut args: impl Iterator<Item = String>) -> Result<Option<Self>, ()> {
        match args.next() {
            None => return Ok(None),
            Some(option) if option == USER_OPTION => {}
            Some(_) => return Err(()),
        }
        let ids: Vec<u32> = args.map(|id| id.parse().map_err(drop)).collect::<Result<_, ()>>()?;
        match ids.split_first() {
            Some((user, groups)) if !groups.is_empty() => {
                Ok(Some(Self { user: *user, groups: groups.to_vec() }))
            }
            _ => Err(()),
        }
    }
}

/// Makes this process that of the user in the arguments. Without arguments, the user stays.
///
/// # Errors
/// The arguments are wrong, or this process may not change its user.
pub(super) fn become_user(args: impl Iterator<Item = String>) -> Result<(), ()> {
    let Some(WorkerUser { user, groups }) = WorkerUser::from_args(args)? else { return Ok(()) };
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
        let user = WorkerUser { user: 64, groups: vec![65, 4] };
        assert_eq!(user.to_args(), ["--user", "64", "65", "4"]);
        assert_eq!(WorkerUser::from_args(user.to_args().into_iter()), Ok(Some(user)));
        let parse = |args: &[&str]| WorkerUser::from_args(args.iter().map(ToString::to_string));
        assert_eq!(parse(&[]), Ok(None));
        for wrong in [&["--user"][..], &["--user", "64"], &["64", "65"], &["--user", "a", "65"]] {
            assert_eq!(parse(wrong), Err(()), "{wrong:?}");
        }
    }
}
