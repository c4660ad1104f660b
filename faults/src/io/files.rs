//! File systems that are full, or may not be written.

use anyhow::{Result, anyhow, ensure};
use ipc_core::Error;
use nix::mount::{MsFlags, mount};
use nix::sched::{CloneFlags, unshare};
use nix::unistd::{getgid, getuid};

use super::{Outcome, typed, use_all};
use crate::evidence::{LONG, note, noted};
use crate::process::{self, Said};
use crate::structure::{Stage, Structure};

/// What an error begins with if there is no right to try it.
const SKIPPED: &str = "no right: ";

/// Does something in a namespace of mounts in which the stage's directory is a small file system.
fn on_file_system(stage: &Stage, options: &str, act: impl FnOnce() -> Result<()>) -> Result<Option<Outcome>> {
    let said = Said::new()?;
    let tried = process::survivor(&said, LONG, || {
        let (uid, gid) = (getuid(), getgid());
        if unshare(CloneFlags::CLONE_NEWNS).is_err() {
            unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWUSER)
                .map_err(|errno| anyhow!("{SKIPPED}unshare: {errno}"))?;
            std::fs::write("/proc/self/setgroups", "deny")?;
            std::fs::write("/proc/self/uid_map", format!("{uid} {uid} 1"))?;
            std::fs::write("/proc/self/gid_map", format!("{gid} {gid} 1"))?;
        }
        let nothing: Option<&str> = None;
        mount(nothing, "/", nothing, MsFlags::MS_REC | MsFlags::MS_PRIVATE, nothing)
            .and_then(|()| mount(Some("tmpfs"), stage.directory(), Some("tmpfs"), MsFlags::empty(), Some(options)))
            .map_err(|errno| anyhow!("{SKIPPED}mount: {errno}"))?;
        act()
    });
    match tried {
        Ok(()) => {
            let outcome = if noted(stage.stopping()) != 0 { Outcome::Refused } else { Outcome::Done };
            note(stage.stopping(), 0);
            Ok(Some(outcome))
        }
        Err(error) => match format!("{error:#}").strip_prefix(SKIPPED) {
            Some(why) => Ok(Some(Outcome::Skipped(why.to_owned()))),
            None => Err(error),
        },
    }
}

/// From no room at all to enough, a page more each time.
pub(super) fn full(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    if case >= 24 {
        return Ok(None);
    }
    let options = format!("size={}k,mode=0700", 4 + 4 * case);
    on_file_system(stage, &options, || {
        if let Err(error) = use_all(stage, structure) {
            let no_room = error.chain().any(|cause| matches!(cause.downcast_ref(), Some(Error::NoSpace { .. })));
            ensure!(no_room, "not for want of room: {error:#}");
            ensure!(stage.files()?.is_empty(), "left behind: {:?}", stage.files()?);
            typed(error)?;
            note(stage.stopping(), 1);
        }
        Ok(())
    })
}

/// A segment that was made before is looked at; all else is refused.
pub(super) fn read_only(stage: &Stage, structure: &'static dyn Structure, case: u64) -> Result<Option<Outcome>> {
    if case >= 1 {
        return Ok(None);
    }
    on_file_system(stage, "mode=0700", || {
        use_all(stage, structure)?;
        let nothing: Option<&str> = None;
        mount(nothing, stage.directory(), nothing, MsFlags::MS_REMOUNT | MsFlags::MS_RDONLY, nothing)
            .map_err(|errno| anyhow!("{SKIPPED}remount: {errno}"))?;
        ensure!(!stage.options().open_read_only()?.objects().is_empty(), "nothing is seen");
        let other = || structure.segment("another").directory(stage.directory());
        for refused in [stage.options().open(), other().create(), other().open_or_create()] {
            typed(refused.err().ok_or_else(|| anyhow!("not refused"))?.into())?;
        }
        typed(stage.options().unlink().err().ok_or_else(|| anyhow!("not refused"))?.into())?;
        note(stage.stopping(), 1);
        Ok(())
    })
}
