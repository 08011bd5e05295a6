//! Systems that mount no images.

use std::os::fd::{AsFd, OwnedFd};

use rustix::io::{Errno, Result};

use crate::Node;

pub(super) fn mount_image(_image: impl AsFd) -> Result<OwnedFd> {
    Err(Errno::NODEV)
}

pub(super) fn mount_writable(
    _image: impl AsFd,
    _name: &str,
    _layers: impl AsFd,
    _root: &Node,
) -> Result<OwnedFd> {
    Err(Errno::NODEV)
}

pub(super) fn show(_mount: impl AsFd, _folder: impl AsFd) -> Result<()> {
    Err(Errno::NODEV)
}

pub(super) fn unmount(_parent: impl AsFd, _name: &[u8]) -> Result<()> {
    Err(Errno::NODEV)
}

pub(super) fn is_ours(_folder: impl AsFd) -> Result<bool> {
    Ok(false)
}
