//! Extended attributes of files and folders, in the `user.` namespace only: the others mean rights, which no cache hands
//! out, or belong to the system.

use std::os::fd::AsFd;

use rustix::{
    buffer::spare_capacity,
    fs::{self, XattrFlags},
    io::Errno,
};

use crate::Xattr;

const NAMESPACE: &[u8] = b"user.";

/// Reads the attributes of the open file `node`, by name. A file system without attributes has none.
pub(crate) fn read(file: impl AsFd, node: u32) -> rustix::io::Result<Vec<Xattr>> {
    let file = file.as_fd();
    let names = match retried(
        || fs::flistxattr_query(file),
        |names| fs::flistxattr(file, spare_capacity(names)),
    ) {
        Ok(names) => names,
        Err(Errno::NOTSUP) => return Ok(Vec::new()),
        Err(error) => return Err(error),
    };
    let mut attributes = Vec::new();
    for name in names.split(|byte| *byte == 0) {
        if !name.starts_with(NAMESPACE) {
            continue;
        }
        let value = match retried(
            || fs::fgetxattr_query(file, name),
            |value| fs::fgetxattr(file, name, spare_capacity(value)),
        ) {
            Ok(value) => value,
            // Taken away since the names were listed.
            Err(Errno::NODATA) => continue,
            Err(error) => return Err(error),
        };
        attributes.push(Xattr {
            node,
            name: name.into(),
            value: value.into(),
        });
    }
    attributes.sort_unstable_by(|a, b| a.name.cmp(&b.name));
    Ok(attributes)
}

/// Sets an attribute of an open file. One outside the namespace is refused as not supported.
pub(crate) fn write(file: impl AsFd, attribute: &Xattr) -> rustix::io::Result<()> {
    if !attribute.name.starts_with(NAMESPACE) {
        return Err(Errno::NOTSUP);
    }
    fs::fsetxattr(file, &*attribute.name, &attribute.value, XattrFlags::empty())
}

/// Asks for the length, then for the value, and again when it grew in between.
fn retried(
    length: impl Fn() -> rustix::io::Result<usize>,
    value: impl Fn(&mut Vec<u8>) -> rustix::io::Result<usize>,
) -> rustix::io::Result<Vec<u8>> {
    loop {
        let mut buffer = match length()? {
            0 => return Ok(Vec::new()),
            length => Vec::with_capacity(length),
        };
        match value(&mut buffer) {
            Err(Errno::RANGE) => {}
            Err(error) => return Err(error),
            Ok(_) => return Ok(buffer),
        }
    }
}
