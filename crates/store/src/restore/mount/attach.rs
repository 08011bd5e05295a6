//! Mounting an image, and a layer for changes above it, without a path that somebody could replace meanwhile.

use std::os::fd::{AsFd, AsRawFd as _, OwnedFd};

use rustix::{
    fs::{self, Mode, OFlags},
    io::Result,
    mount::{
        FsMountFlags, FsOpenFlags, MountAttrFlags, MoveMountFlags, fsconfig_create, fsconfig_set_fd,
        fsconfig_set_flag, fsconfig_set_string, fsmount, fsopen, move_mount,
    },
};

use crate::{Node, dir_handles};

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
