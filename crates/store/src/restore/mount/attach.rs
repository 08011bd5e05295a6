//! Mounting an image, and a layer for changes above it, without a path that somebody could replace meanwhile.

use std::{
    ffi::OsStr,
    os::{
        fd::{AsFd, AsRawFd as _, OwnedFd},
        unix::ffi::OsStrExt as _,
    },
    path::Path,
};

use rustix::{
    fs::{self, AtFlags, Mode, OFlags, StatxAttributes, StatxFlags},
    io::Result,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, UnmountFlags, fsconfig_create,
        fsconfig_set_fd, fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};

use crate::{Node, dir_handles};

/// What mounts are said to be of, by which they are known again.
const SOURCE: &str = "headstart";

/// Mounts the image in an open file, out of sight: the kernel reads the file as long as the mount is used.
pub(super) fn mount_image(image: impl AsFd) -> Result<OwnedFd> {
    let context = fsopen("erofs", FsOpenFlags::FSOPEN_CLOEXEC)?;
    let source = format!("/proc/self/fd/{}", image.as_fd().as_raw_fd());
    fsconfig_set_string(&context, "source", source)?;
    fsconfig_set_flag(&context, "ro")?;
    fsconfig_create(&context)?;
    let attributes = MountAttrFlags::MOUNT_ATTR_RDONLY
        | MountAttrFlags::MOUNT_ATTR_NOSUID
        | MountAttrFlags::MOUNT_ATTR_NODEV;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, attributes)
}

/// Mounts folder `name` of a mounted image, out of sight, with two new folders in `layers` for what is changed.
pub(super) fn mount_writable(
    image: impl AsFd,
    name: &str,
    layers: impl AsFd,
    root: &Node,
) -> Result<OwnedFd> {
    let lower = fs::openat(
        &image,
        name,
        OFlags::PATH | OFlags::DIRECTORY | OFlags::CLOEXEC,
        Mode::empty(),
    )?;
    let make = |name: &str| {
        fs::mkdirat(&layers, name, Mode::RWXU)?;
        fs::openat(&layers, name, dir_handles::DIRECTORY, Mode::empty())
    };
    let (upper, work) = (make("upper")?, make("work")?);
    // The mounted folder itself has the mode and time of the upper one.
    dir_handles::set_meta(&upper, root)?;
    let context = fsopen("overlay", FsOpenFlags::FSOPEN_CLOEXEC)?;
    fsconfig_set_string(&context, "source", SOURCE)?;
    fsconfig_set_fd(&context, "lowerdir+", &lower)?;
    fsconfig_set_fd(&context, "upperdir", &upper)?;
    fsconfig_set_fd(&context, "workdir", &work)?;
    // Folders of the image can be renamed, and a file and a folder say that they are on the same device.
    fsconfig_set_string(&context, "redirect_dir", "on")?;
    fsconfig_set_string(&context, "xino", "auto")?;
    fsconfig_create(&context)?;
    fsmount(&context, FsMountFlags::FSMOUNT_CLOEXEC, MountAttrFlags::empty())
}

/// Shows a mount in an open folder.
pub(super) fn show(mount: impl AsFd, folder: impl AsFd) -> Result<()> {
    let flags = MoveMountFlags::MOVE_MOUNT_F_EMPTY_PATH | MoveMountFlags::MOVE_MOUNT_T_EMPTY_PATH;
    move_mount(mount, "", folder, "", flags)
}

/// Takes away the mount at `name` in an open folder, if nobody uses it.
pub(super) fn unmount(parent: impl AsFd, name: &[u8]) -> Result<()> {
    let parent = format!("/proc/self/fd/{}", parent.as_fd().as_raw_fd());
    let path = Path::new(&parent).join(OsStr::from_bytes(name));
    rustix::mount::unmount(path, UnmountFlags::NOFOLLOW)
}

/// Whether an open folder is the top of a tree that was mounted here.
pub(super) fn is_ours(folder: impl AsFd) -> Result<bool> {
    let wanted = StatxFlags::BASIC_STATS | StatxFlags::MNT_ID;
    let stat = fs::statx(&folder, "", AtFlags::EMPTY_PATH, wanted)?;
    if !stat.stx_attributes.contains(StatxAttributes::MOUNT_ROOT) {
        return Ok(false);
    }
    let Ok(mounts) = std::fs::read("/proc/self/mountinfo") else {
        return Ok(false);
    };
    Ok(source(&mounts, stat.stx_mnt_id) == Some(SOURCE.as_bytes()))
}

/// The source of the mount with this number. Lines of `mountinfo` begin with the number and have type and source after a dash.
fn source(mounts: &[u8], number: u64) -> Option<&[u8]> {
    let number = number.to_string();
    let fields = |line| <[u8]>::split(line, |byte| *byte == b' ');
    let line = mounts
        .split(|byte| *byte == b'\n')
        .find(|line| fields(line).next() == Some(number.as_bytes()))?;
    fields(line).skip_while(|field| *field != b"-").nth(2)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_source_of_a_mount_is_found_by_its_number() {
        let mounts = b"22 1 254:0 / / rw,relatime - ext4 /dev/vda rw\n\
            122 22 0:40 / /a\\040b rw master:1 shared:7 - overlay headstart rw,lowerdir+=/0\n\
            2 22 0:41 / /c rw -";
        assert_eq!(source(mounts, 22), Some(&b"/dev/vda"[..]));
        assert_eq!(source(mounts, 122), Some(&b"headstart"[..]));
        assert_eq!(source(mounts, 2), None);
        assert_eq!(source(mounts, 1), None);
    }
}
