//! Where segments live: names, and directories that can be trusted.

use std::ffi::OsString;
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};

use nix::errno::Errno;
use nix::fcntl::{OFlag, open};
use nix::sys::stat::{Mode, SFlag, fstat};
use nix::unistd::geteuid;

use crate::error::{Error, Result};

/// The variable that names the directory of named segments, where the builder does not.
pub(crate) const DIRECTORY_VARIABLE: &str = "IPC_DIRECTORY";

/// The longest name of a segment, in bytes: leaves room in a file name for what stands around it while it is made.
pub(crate) const MAX_NAME: usize = 200;

/// Checks the name of a segment: it becomes a file name, and nothing else.
pub(crate) fn check_name(name: &str) -> Result<()> {
    let reason = if name.is_empty() {
        "it is empty"
    } else if name.len() > MAX_NAME {
        "it is longer than 200 bytes"
    } else if name.starts_with('.') {
        "it begins with a dot"
    } else if name.contains('/') {
        "it contains '/'"
    } else if name.contains(char::is_control) {
        "it contains NUL or another control character"
    } else {
        return Ok(());
    };
    Err(Error::InvalidName { name: name.to_owned(), reason })
}

/// An open directory, checked, and the path for messages.
#[derive(Debug)]
pub(crate) struct Directory {
    fd: OwnedFd,
    path: PathBuf,
}

/// One file in a directory.
#[derive(Debug)]
pub(crate) struct Place {
    pub(crate) directory: Directory,
    pub(crate) file: OsString,
}

impl Place {
    /// The path, for messages.
    pub(crate) fn path(&self) -> PathBuf {
        self.directory.path.join(&self.file)
    }
}

impl Directory {
    pub(crate) fn path(&self) -> &Path {
        &self.path
    }

    /// Makes durable which names are in it.
    pub(crate) fn sync(&self) -> std::io::Result<()> {
        Ok(nix::unistd::fsync(&self.fd)?)
    }

    pub(crate) fn try_clone(&self) -> std::io::Result<Self> {
        Ok(Self { fd: self.fd.try_clone()?, path: self.path.clone() })
    }

    /// The directory of named segments: the builder's choice, or the environment's, or our own under /dev/shm.
    /// Only our own is made if it is missing, and only if `make`.
    pub(crate) fn for_names(chosen: Option<&Path>, make: bool) -> Result<Self> {
        if let Some(path) = chosen {
            return Self::open_existing(path);
        }
        if let Some(path) = std::env::var_os(DIRECTORY_VARIABLE).filter(|path| !path.is_empty()) {
            return Self::open_existing(Path::new(&path));
        }
        let path = PathBuf::from(format!("/dev/shm/ipc-{}", geteuid()));
        if make {
            match nix::unistd::mkdir(&path, Mode::S_IRWXU) {
                Ok(()) | Err(Errno::EEXIST) => {}
                Err(errno) => return Err(Error::system("mkdir", Some(path), errno)),
            }
        }
        let directory = Self::open(&path, OFlag::O_NOFOLLOW)?;
        let stat = directory.stat()?;
        if stat.st_uid != geteuid().as_raw() || stat.st_mode & 0o077 != 0 {
            return Err(directory.unsafe_directory(
                format!("owner {} and mode 0700", geteuid()),
                stat.st_uid,
                stat.st_mode,
            ));
        }
        Ok(directory)
    }

    /// A directory that the user names: nobody but its owner may replace files in it that are not their own, and its owner is
    /// this user or root.
    pub(crate) fn open_existing(path: &Path) -> Result<Self> {
        let directory = Self::open(path, OFlag::empty())?;
        let stat = directory.stat()?;
        let others_may_write =
            stat.st_mode & 0o022 != 0 && stat.st_mode & SFlag::S_IFMT.bits() == SFlag::S_IFDIR.bits();
        let sticky = stat.st_mode & Mode::S_ISVTX.bits() != 0;
        let trusted_owner = stat.st_uid == 0 || stat.st_uid == geteuid().as_raw();
        if !trusted_owner || (others_may_write && !sticky) {
            let expected = format!("owner 0 or {}, and no write permission for others unless sticky", geteuid());
            return Err(directory.unsafe_directory(expected, stat.st_uid, stat.st_mode));
        }
        Ok(directory)
    }

    /// The directory and file name of a path.
    pub(crate) fn split(path: &Path) -> Result<Place> {
        let invalid = |reason| Error::InvalidName { name: path.display().to_string(), reason };
        let file = path.file_name().ok_or_else(|| invalid("the path does not end in a file name"))?;
        if path.as_os_str().as_encoded_bytes().contains(&0) {
            return Err(invalid("it contains NUL"));
        }
        let parent = path.parent().filter(|parent| !parent.as_os_str().is_empty()).unwrap_or(Path::new("."));
        Ok(Place { directory: Self::open_existing(parent)?, file: file.to_owned() })
    }

    fn open(path: &Path, more: OFlag) -> Result<Self> {
        let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC | more;
        match open(path, flags, Mode::empty()) {
            Ok(fd) => Ok(Self { fd, path: path.to_owned() }),
            Err(Errno::ENOENT) => Err(Error::NotFound { path: path.to_owned() }),
            Err(errno) => Err(Error::system("open of the directory", Some(path.to_owned()), errno)),
        }
    }

    fn stat(&self) -> Result<nix::sys::stat::FileStat> {
        fstat(&self.fd).map_err(|errno| Error::system("fstat", Some(self.path.clone()), errno))
    }

    fn unsafe_directory(&self, expected: String, owner: u32, mode: u32) -> Error {
        Error::UnsafeDirectory { path: self.path.clone(), expected, owner, mode: mode & 0o7777 }
    }
}

impl AsFd for Directory {
    fn as_fd(&self) -> std::os::fd::BorrowedFd<'_> {
        self.fd.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::fs::PermissionsExt;

    #[test]
    fn names_that_cannot_be() {
        for name in ["", ".", "..", ".hidden", "a/b", "/", "a\0b", "a\nb", &"x".repeat(201)] {
            assert!(matches!(check_name(name), Err(Error::InvalidName { .. })), "{name:?}");
        }
        for name in ["a", "orders", "a.b", "a b", "größe", &"x".repeat(200)] {
            assert!(check_name(name).is_ok(), "{name:?}");
        }
    }

    #[test]
    fn a_directory_that_others_may_write_is_refused_unless_sticky() {
        let directory = tempfile::tempdir().unwrap();
        for (mode, good) in [(0o700, true), (0o755, true), (0o777, false), (0o775, false), (0o1777, true)] {
            std::fs::set_permissions(directory.path(), std::fs::Permissions::from_mode(mode)).unwrap();
            let result = Directory::open_existing(directory.path());
            assert_eq!(result.is_ok(), good, "{mode:o}: {result:?}");
        }
    }

    #[test]
    fn paths_without_a_file_name() {
        for path in ["/", "..", "/tmp/.."] {
            assert!(matches!(Directory::split(Path::new(path)), Err(Error::InvalidName { .. })), "{path}");
        }
    }
}
