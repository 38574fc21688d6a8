//! Values in the form in which a program takes them.

use std::ffi::{OsStr, OsString};
use std::fs::File;
use std::io::{Seek as _, Write as _};
use std::os::fd::AsRawFd as _;
use std::os::unix::ffi::OsStrExt as _;
use std::os::unix::fs::FileExt as _;
use std::process::Command;

use rustix::fs::{MemfdFlags, memfd_create};

use super::supply::Value;
use super::wanted::By;
use crate::error::Error;

/// The program with `values` in its environment or in files that it inherits, and without the
/// variables in `withheld`.
pub(super) fn prepare(
    command: &[OsString],
    values: &[Value<'_>],
    withheld: &[String],
) -> Result<(Command, Vec<File>), Error> {
    let Some((program, arguments)) = command.split_first() else {
        return Err(Error::Usage("no program to run".into()));
    };
    let mut command = Command::new(program);
    command.args(arguments);
    for variable in withheld {
        command.env_remove(variable);
    }
    let mut files = Vec::new();
    for Value { wanted, bytes, .. } in values {
        let variable = &wanted.variable;
        match wanted.by {
            By::Environment if bytes.contains(&0) => {
                let why = "the value has a NUL byte, which no environment can hold: use --file";
                return Err(Error::Client(format!("--env {variable}: {why}")));
            }
            By::Environment => {
                command.env(variable, OsStr::from_bytes(bytes));
            }
            By::File => {
                let file = in_memory(bytes).map_err(|source| Error::System {
                    what: "cannot make a file in memory",
                    source,
                })?;
                command.env(variable, format!("/dev/fd/{}", file.as_raw_fd()));
                files.push(file);
            }
        }
    }
    Ok((command, files))
}

/// Writes the files of a running program anew, in the order in which they were made.
pub(super) fn rewrite(files: &mut [File], values: &[Value<'_>]) {
    let values = values.iter().filter(|value| value.wanted.by == By::File);
    for (file, value) in files.iter_mut().zip(values) {
        // In one piece, and the length after it: who reads in between may see the end of a longer
        // value behind a shorter one, and is signalled once it is whole. The position is one with
        // that of a program that reads what it inherited without opening it again.
        let _ = file.write_all_at(&value.bytes, 0);
        let _ = file.set_len(value.bytes.len() as u64).and_then(|()| file.rewind());
    }
}

/// Without a name in any file system, and inherited by the program.
fn in_memory(bytes: &[u8]) -> std::io::Result<File> {
    let mut file = File::from(memfd_create("sidekey", MemfdFlags::empty())?);
    file.write_all(bytes)?;
    file.rewind()?;
    Ok(file)
}
