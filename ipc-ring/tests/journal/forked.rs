//! What a fork child does with the journal that it finds open.

use std::io::{Read, Write};

use ipc_core::Error;
use ipc_ring::journal::{Acknowledge, JournalError};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::{ForkResult, fork};

use crate::{read_all, scratch};

/// It looked for claims of the dead before it looked whose process it is: its parent's appender came after the fork, so that it knew nothing of it.
#[test]
fn a_fork_child_that_flushes_leaves_the_claims_of_its_parent_alone() {
    let (_directory, _path, journal) = scratch();
    let (mut from_parent, mut to_child) = std::io::pipe().unwrap();
    #[expect(unsafe_code, reason = "fork")]
    // SAFETY: the child takes no lock of this process's other threads, and ends in `_exit`.
    match unsafe { fork() }.unwrap() {
        ForkResult::Child => {
            let told = from_parent.read_exact(&mut [0]).is_ok();
            let refused = |flushed| matches!(flushed, Err(JournalError::Segment(Error::WrongProcess)));
            let soon = std::time::Instant::now();
            let all = told && refused(journal.flush()) && refused(journal.flush_deadline(soon));
            // SAFETY: ends the process at once.
            unsafe { nix::libc::_exit(i32::from(!all)) }
        }
        ForkResult::Parent { child } => {
            let mut appender = journal.appender(Acknowledge::Async).unwrap();
            let mut grant = appender.claim(8).unwrap();
            to_child.write_all(&[1]).unwrap();
            assert_eq!(waitpid(child, None).unwrap(), WaitStatus::Exited(child, 0));
            grant.copy_from_slice(b"a record");
            grant.commit().unwrap();
        }
    }
    assert_eq!(read_all(&journal), [b"a record"]);
}
