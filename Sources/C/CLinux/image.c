#define _GNU_SOURCE
#include "image.h"
#include <errno.h>
#include <fcntl.h>
#include <locale.h>
#include <sched.h>
#include <sys/mount.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/sysmacros.h>
#include <sys/xattr.h>
#include <unistd.h>

static int result(int status) { return status < 0 ? -errno : status; }

int clinux_image_private_folder(void) { return result(unshare(CLONE_FS)); }

int clinux_image_open(int folder, const char *name, int flags, mode_t mode) {
    return result(openat(folder, name, flags | O_CLOEXEC, mode));
}

int clinux_image_make_node(int folder, const char *name, mode_t mode, uint32_t major,
                           uint32_t minor) {
    return result(mknodat(folder, name, mode, makedev(major, minor)));
}

int clinux_image_set_attribute(int file, const char *name, const void *value, size_t size) {
    return result(fsetxattr(file, name, value, size, 0));
}

ssize_t clinux_image_get_attribute(int file, const char *name, void *value, size_t size) {
    ssize_t length = fgetxattr(file, name, value, size);
    return length < 0 ? -errno : length;
}

int clinux_image_sync(int file) { return result(syncfs(file)); }

int clinux_image_mount_overlay(const char *target, const char *options) {
    return result(mount("overlay", target, "overlay", 0, options));
}

int clinux_image_unmount(const char *target) {
    return result(umount2(target, UMOUNT_NOFOLLOW));
}

int64_t clinux_image_free_bytes(int file) {
    struct statvfs facts;
    if (fstatvfs(file, &facts) < 0) return -errno;
    return (int64_t)(facts.f_bavail * facts.f_frsize);
}

int clinux_image_is_whiteout(mode_t mode, dev_t device) {
    return S_ISCHR(mode) && major(device) == 0 && minor(device) == 0;
}

void clinux_image_plain_locale(void) {
    locale_t plain = newlocale(LC_ALL_MASK, "C", (locale_t)0);
    if (plain) uselocale(plain);
}

void clinux_image_name_thread(pthread_t thread, const char *name) {
    pthread_setname_np(thread, name);
}
