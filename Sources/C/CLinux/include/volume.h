#pragma once
// What the volume store needs of Linux beyond Swift's Glibc module. Every function returns 0 (or
// what it says) on success and the negated errno on failure, so that no errno is lost on the way.
#include <stdint.h>
#include <sys/types.h>

/// Opens a name below a folder (openat(2)), never through a symbolic link; O_CLOEXEC is added.
int clinux_volume_open(int folder, const char *name, int flags, mode_t mode);

/// Puts an open file behind a free loop device, which lets go of it by itself once nothing uses
/// the device any more (LOOP_CONFIGURE with LO_FLAGS_AUTOCLEAR, Linux 5.8). Returns the device's
/// open descriptor and stores its number.
int clinux_volume_loop_attach(int file, int read_only, int *number);

/// 1 when the loop device of that number holds the open file, 0 when it does not or is free.
int clinux_volume_loop_holds(int number, int file);

/// Tells the loop device of that number that its file has another size (LOOP_SET_CAPACITY).
int clinux_volume_loop_resize(int number);

/// Mounts (mount(2)); `flags` are the MS_ constants.
int clinux_volume_mount(const char *source, const char *target, const char *kind,
                        unsigned long flags, const char *options);

/// Unmounts, without following a symbolic link (umount2(2) with UMOUNT_NOFOLLOW).
int clinux_volume_unmount(const char *target);

/// Stops and lets go on writing to the file system of an open folder (FIFREEZE, FITHAW).
int clinux_volume_freeze(int folder);
int clinux_volume_thaw(int folder);

/// Writes out everything of the file system that holds an open file (syncfs(2)).
int clinux_volume_sync(int file);

/// Lets an empty file share the blocks of another (FICLONE).
int clinux_volume_clone(int source, int target);

/// Free and total bytes of the file system that holds an open file; `unprivileged` counts what
/// others than root may still write.
int clinux_volume_space(int file, int64_t *unprivileged, int64_t *total, int64_t *used);

/// The device of a stat's st_dev or st_rdev as two numbers.
void clinux_volume_device(dev_t device, unsigned *major, unsigned *minor);

/// Takes a lock on an open file that its copies in children share (flock(2), LOCK_EX|LOCK_NB).
int clinux_volume_lock(int file);

/// 1 when two open files have the same extended attributes, ACLs among them; 0 when not.
int clinux_volume_same_attributes(int left, int right);

/// Device and inode of what a path leads to, without asking a server for news (statx(2) with
/// AT_STATX_DONT_SYNC), so that a dead network file system cannot hold us up.
int clinux_volume_identify(const char *path, unsigned *major, unsigned *minor, uint64_t *inode);

/// 1 when the file system of an open folder counts and limits by project; 0 when not.
int clinux_volume_has_project_quota(int folder);

/// Puts an open, empty folder and all that will be made in it under a project (FS_IOC_FSSETXATTR).
int clinux_volume_set_project(int folder, uint32_t project);

/// Limits a project of the file system of an open folder to so many bytes (quotactl_fd(2)).
int clinux_volume_limit_project(int folder, uint32_t project, uint64_t bytes);

/// The bytes that a project uses.
int64_t clinux_volume_project_usage(int folder, uint32_t project);

/// True when an open folder is on ext4.
int clinux_volume_is_ext4(int folder);

/// Makes the file system that is mounted at a path read-only or writable, for every mount of it,
/// and leaves the mounts' own flags as they are (fspick(2), fsconfig(2), Linux 5.2).
int clinux_volume_reconfigure(const char *path, int read_only);

/// Where the next data, or the next hole, of an open file begins (lseek(2)); -ENXIO at its end.
int64_t clinux_volume_next_data(int file, int64_t offset);
int64_t clinux_volume_next_hole(int file, int64_t offset);

/// Makes a part of an open file a hole of the same size (fallocate(2)).
int clinux_volume_punch(int file, int64_t offset, int64_t length);

/// Where a symbolic link in a folder leads (readlinkat(2)); the number of bytes.
int clinux_volume_read_link(int folder, const char *name, void *target, size_t size);

/// All extended attributes of an open file in one form, whatever order the file system has them in:
/// sorted by name, each its name with the zero, the size of its value in four bytes (most significant
/// first), and the value. Returns their length, or -ERANGE when `size` is too small for them.
int64_t clinux_volume_attributes(int file, void *target, size_t size);

/// Sets extended attributes that are in the form above; -EINVAL when they are not.
int clinux_volume_set_attributes(int file, const void *attributes, size_t size);
