#pragma once
// What the image store needs of Linux beyond Swift's Glibc module. Every function returns 0 (or a
// descriptor) on success and the negated errno on failure, so that no errno is lost on the way.
#include <pthread.h>
#include <stdint.h>
#include <sys/types.h>

/// Gives the calling thread a working folder of its own (unshare(2) with CLONE_FS).
int clinux_image_private_folder(void);

/// Opens a name below a folder (openat(2)); O_CLOEXEC is always added.
int clinux_image_open(int folder, const char *name, int flags, mode_t mode);

/// Makes a character or block device or a fifo (mknodat(2)).
int clinux_image_make_node(int folder, const char *name, mode_t mode, uint32_t major,
                           uint32_t minor);

/// Sets an extended attribute of an open file (fsetxattr(2)).
int clinux_image_set_attribute(int file, const char *name, const void *value, size_t size);

/// Reads an extended attribute of an open file (fgetxattr(2)); returns its size.
ssize_t clinux_image_get_attribute(int file, const char *name, void *value, size_t size);

/// Writes out everything of the file system that holds an open file (syncfs(2)).
int clinux_image_sync(int file);

/// Mounts an overlay file system (mount(2)).
int clinux_image_mount_overlay(const char *target, const char *options);

/// Unmounts, without following a symbolic link (umount2(2) with UMOUNT_NOFOLLOW).
int clinux_image_unmount(const char *target);

/// Bytes that an unprivileged process may still write to the file system of an open file.
int64_t clinux_image_free_bytes(int file);

/// True when a device number is 0:0, overlayfs's mark of a deleted name.
int clinux_image_is_whiteout(mode_t mode, dev_t device);

/// The calling thread uses the C locale from here on, whatever the process chose: names in
/// archives are bytes, and must reach us unchanged (newlocale(3), uselocale(3)).
void clinux_image_plain_locale(void);

/// Names a thread for tools such as top(1); 15 bytes at most (pthread_setname_np(3)).
void clinux_image_name_thread(pthread_t thread, const char *name);
