//! A process under ptrace, stopped at one of its instructions.

use std::collections::HashMap;

use anyhow::{Result, bail, ensure};
use nix::libc;
use nix::sys::ptrace;
use nix::sys::signal::{Signal, raise};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::process::{Child, Said, start};
use crate::structure::Act;

/// `int3`.
const BREAKPOINT: i64 = 0xCC;
/// `syscall`, as the first two bytes of what is read at it.
const SYSCALL: i64 = 0x050F;

/// A process that does one act, stopped before it.
pub(super) struct Traced<'a> {
    child: Child,
    said: &'a Said,
    code: HashMap<u64, i64>,
}

/// Where a process that was let go on came to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum At {
    /// Before the instruction at this address.
    Instruction(u64),
    /// The act is done.
    End,
}

impl<'a> Traced<'a> {
    /// Starts a process that prepares the act, and stops it where the act begins.
    pub(super) fn start(said: &'a Said, prepare: impl FnOnce() -> Result<Act>) -> Result<Self> {
        let child = start(said, || {
            let mut act = prepare()?;
            ptrace::traceme()?;
            raise(Signal::SIGSTOP)?;
            act()?;
            raise(Signal::SIGSTOP)?;
            // Nothing is dropped: what the act holds it holds until it is killed.
            std::mem::forget(act);
            bail!("let go on behind its end")
        })?;
        let traced = Self { child, said, code: HashMap::new() };
        match traced.wait()? {
            At::End => Ok(traced),
            At::Instruction(address) => bail!("a trap at {address:#x} before the act"),
        }
    }

    fn pid(&self) -> Pid {
        self.child.pid()
    }

    /// Its next stop. The first SIGSTOP is the beginning of the act, the next its end.
    fn wait(&self) -> Result<At> {
        match waitpid(self.pid(), None)? {
            WaitStatus::Stopped(_, Signal::SIGTRAP) => Ok(At::Instruction(self.address()?)),
            WaitStatus::Stopped(_, Signal::SIGSTOP) => Ok(At::End),
            WaitStatus::Exited(..) => bail!("the act failed: {}", self.said.take()),
            other => bail!("the act ended by {other:?}"),
        }
    }

    /// Where it stands.
    pub(super) fn address(&self) -> Result<u64> {
        Ok(ptrace::getregs(self.pid())?.rip)
    }

    /// Does one instruction.
    pub(super) fn step(&self) -> Result<At> {
        ptrace::step(self.pid(), None)?;
        self.wait()
    }

    /// Whether the instruction at that address, at which it stands, calls the kernel.
    pub(super) fn calls_kernel(&mut self, address: u64) -> Result<bool> {
        let word = match self.code.get(&address) {
            Some(word) => *word,
            None => {
                let word = ptrace::read(self.pid(), address as ptrace::AddressType)?;
                self.code.insert(address, word);
                word
            }
        };
        Ok(word & 0xFFFF == SYSCALL)
    }

    /// Lets it go on until it comes to that address for that many times, from where the act began; `false` if it comes to the end of the act first.
    pub(super) fn run_to(&self, address: u64, times: u64) -> Result<bool> {
        let place = address as ptrace::AddressType;
        let code = ptrace::read(self.pid(), place)?;
        let trap = code & !0xFF | BREAKPOINT;
        let mut here = self.address()?;
        let mut met = u64::from(here == address);
        while met < times {
            let stopped = if here == address {
                // The trap is not there while the instruction is done.
                self.step()?
            } else {
                ptrace::write(self.pid(), place, trap)?;
                ptrace::cont(self.pid(), None)?;
                let stopped = self.wait()?;
                if let At::Instruction(behind) = stopped {
                    ensure!(behind == address + 1, "a trap at {behind:#x}, not {address:#x}");
                    let mut registers = ptrace::getregs(self.pid())?;
                    registers.rip = address;
                    ptrace::setregs(self.pid(), registers)?;
                }
                ptrace::write(self.pid(), place, code)?;
                stopped
            };
            if stopped == At::End {
                return Ok(false);
            }
            here = self.address()?;
            met += u64::from(here == address);
        }
        Ok(true)
    }

    /// Does so many instructions; `false` if it comes to the end of the act first.
    pub(super) fn run_steps(&self, steps: u64) -> Result<bool> {
        for _ in 0..steps {
            if self.step()? == At::End {
                return Ok(false);
            }
        }
        Ok(true)
    }

    /// Kills it where it stands.
    pub(super) fn kill(mut self) {
        self.child.kill();
    }
}

const _: () = assert!(size_of::<libc::c_long>() == 8, "a word of code is read at a time");
