//! The fault of a worker process that could not be started: a limit of the system, or a file that
//! its environment lacks.

use std::io;
use std::path::Path;

use nix::errno::Errno;
use nix::unistd::{AccessFlags, access};

use super::agent_fault;
use crate::model::{Fault, ImageDir, Remedy};

/// The file that a worker has as its stderr.
const NULL_DEVICE: &str = "/dev/null";

/// Returns the fault of a worker that could not be started with `program`. The call looks at the
/// two files that every worker needs.
pub(super) fn spawn_fault(error: &io::Error, program: &Path, dir: &ImageDir) -> Fault {
    let null = access(NULL_DEVICE, AccessFlags::R_OK | AccessFlags::W_OK).err();
    let program = access(program, AccessFlags::X_OK).err();
    let details = |why: &str| format!("a worker process cannot be started: {why}");
    match lacking_file(null, program) {
        Some(LackingFile { problem, remedy }) => {
            agent_fault(details(&format!("{problem} ({error})")), dir).with_remedy(remedy)
        }
        None => {
            agent_fault(details(&error.to_string()), dir).with_remedy(Remedy::CheckServiceLimits)
        }
    }
}

/// A file that every worker needs and that the environment of the daemon lacks.
#[derive(Debug, PartialEq, Eq)]
struct LackingFile {
    problem: String,
    remedy: Remedy,
}

/// Decides which file is lacking, from the errors of accessing them, or `None` if both are usable.
fn lacking_file(null: Option<Errno>, program: Option<Errno>) -> Option<LackingFile> {
    if let Some(errno) = null {
        let what = if errno == Errno::ENOENT { "does not exist" } else { "cannot be used" };
        return Some(LackingFile {
            problem: format!("{NULL_DEVICE} {what}"),
            remedy: Remedy::CreateNullDevice,
        });
    }
    program.map(|errno| match errno {
        Errno::ENOENT => LackingFile {
            problem: "/proc/self/exe does not exist".to_owned(),
            remedy: Remedy::MountProc,
        },
        _ => LackingFile {
            problem: "the program cannot be executed".to_owned(),
            remedy: Remedy::PermitExecution,
        },
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalog::{Language, fault_action};

    #[test]
    fn a_file_that_is_lacking_is_named_before_any_limit() {
        for (null, program, expected) in [
            (None, None, None),
            (Some(Errno::ENOENT), None, Some("/dev/null does not exist")),
            (Some(Errno::EACCES), None, Some("/dev/null cannot be used")),
            (Some(Errno::ENOENT), Some(Errno::ENOENT), Some("/dev/null does not exist")),
            (None, Some(Errno::ENOENT), Some("/proc/self/exe does not exist")),
            (None, Some(Errno::EACCES), Some("the program cannot be executed")),
        ] {
            let found = lacking_file(null, program);
            assert_eq!(found.as_ref().map(|file| file.problem.as_str()), expected);
            assert!(found.is_none_or(|file| file.remedy != Remedy::CheckServiceLimits));
        }
    }

    #[test]
    fn a_limit_is_the_cause_if_no_file_is_lacking() {
        let dir = ImageDir::parse("/srv/images").unwrap();
        let error = io::Error::from(Errno::EAGAIN);
        let fault = spawn_fault(&error, Path::new("/proc/self/exe"), &dir);
        assert!(fault_action(&fault, Language::English).contains("limits"), "{fault}");
        let fault = spawn_fault(&io::Error::from(Errno::ENOENT), Path::new("/absent"), &dir);
        assert!(fault_action(&fault, Language::English).contains("mount /proc"), "{fault}");
    }
}
