#define _GNU_SOURCE
#include "volume.h"

#include <errno.h>
#include <fcntl.h>
#include <linux/fs.h>
#include <linux/dqblk_xfs.h>
#include <linux/loop.h>
#include <linux/magic.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/file.h>
#include <sys/ioctl.h>
#include <sys/mount.h>
#include <sys/quota.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/syscall.h>
#include <sys/sysmacros.h>
#include <sys/vfs.h>
#include <sys/xattr.h>
#include <unistd.h>

static int result(int status) { return status < 0 ? -errno : status; }

int clinux_volume_open(int folder, const char *name, int flags, mode_t mode) {
    return result(openat(folder, name, flags | O_CLOEXEC | O_NOFOLLOW, mode));
}

static int open_loop(int number, int flags) {
    char path[32];
    snprintf(path, sizeof path, "/dev/loop%d", number);
    int device = open(path, flags | O_CLOEXEC);
    if (device < 0 && errno == ENOENT) {
        // A /dev that the kernel does not fill itself, as in many containers. Major 7: loop.
        if (mknod(path, S_IFBLK | 0600, makedev(7, number)) == 0 || errno == EEXIST) {
            device = open(path, flags | O_CLOEXEC);
        }
    }
    return result(device);
}

int clinux_volume_loop_attach(int file, int read_only, int *number) {
    int control = open("/dev/loop-control", O_RDWR | O_CLOEXEC);
    if (control < 0) return -errno;
    int status = -EBUSY;
    // Others may take the free device before us: the kernel says so, and there is a next one.
    for (int attempt = 0; attempt < 64 && status == -EBUSY; attempt++) {
        int found = ioctl(control, LOOP_CTL_GET_FREE);
        if (found < 0) {
            status = -errno;
            break;
        }
        int device = open_loop(found, read_only ? O_RDONLY : O_RDWR);
        if (device < 0) {
            status = device;
            break;
        }
        struct loop_config config;
        memset(&config, 0, sizeof config);
        config.fd = (__u32)file;
        // Direct: what is cached is cached once, and what is written is on its way to the disk.
        config.info.lo_flags =
            LO_FLAGS_AUTOCLEAR | LO_FLAGS_DIRECT_IO | (read_only ? LO_FLAGS_READ_ONLY : 0);
        if (ioctl(device, LOOP_CONFIGURE, &config) == 0) {
            *number = found;
            status = device;
        } else {
            status = -errno;
            close(device);
        }
    }
    close(control);
    return status;
}

int clinux_volume_loop_holds(int number, int file) {
    struct stat facts;
    if (fstat(file, &facts) != 0) return -errno;
    int device = open_loop(number, O_RDONLY);
    if (device < 0) return device == -ENXIO || device == -ENOENT ? 0 : device;
    struct loop_info64 info;
    int status = ioctl(device, LOOP_GET_STATUS64, &info);
    int code = errno;
    close(device);
    if (status != 0) return code == ENXIO ? 0 : -code;
    // The kernel's encoding of device numbers: 12 bits of major, 20 of minor.
    unsigned major_number = (info.lo_device >> 8) & 0xfff;
    unsigned minor_number = (info.lo_device & 0xff) | ((info.lo_device >> 12) & 0xfff00);
    return info.lo_inode == facts.st_ino && major_number == major(facts.st_dev) &&
           minor_number == minor(facts.st_dev);
}

int clinux_volume_loop_resize(int number) {
    int device = open_loop(number, O_RDWR);
    if (device < 0) return device;
    int status = result(ioctl(device, LOOP_SET_CAPACITY, 0));
    close(device);
    return status;
}

int clinux_volume_mount(const char *source, const char *target, const char *kind,
                        unsigned long flags, const char *options) {
    return result(mount(source, target, kind, flags, options));
}

int clinux_volume_unmount(const char *target) {
    return result(umount2(target, UMOUNT_NOFOLLOW));
}

int clinux_volume_freeze(int folder) { return result(ioctl(folder, FIFREEZE, 0)); }

int clinux_volume_thaw(int folder) { return result(ioctl(folder, FITHAW, 0)); }

int clinux_volume_sync(int file) { return result(syncfs(file)); }

int clinux_volume_clone(int source, int target) { return result(ioctl(target, FICLONE, source)); }

int clinux_volume_space(int file, int64_t *unprivileged, int64_t *total, int64_t *used) {
    struct statvfs facts;
    if (fstatvfs(file, &facts) < 0) return -errno;
    *unprivileged = (int64_t)(facts.f_bavail * facts.f_frsize);
    *total = (int64_t)(facts.f_blocks * facts.f_frsize);
    *used = (int64_t)((facts.f_blocks - facts.f_bfree) * facts.f_frsize);
    return 0;
}

void clinux_volume_device(dev_t device, unsigned *major_number, unsigned *minor_number) {
    *major_number = major(device);
    *minor_number = minor(device);
}

int clinux_volume_lock(int file) { return result(flock(file, LOCK_EX | LOCK_NB)); }

// The kernel's bound for a value, and for the list of names.
enum { attribute_bytes_max = 65536 };

struct attribute_buffers {
    char left_names[attribute_bytes_max], right_names[attribute_bytes_max];
    char left_value[attribute_bytes_max], right_value[attribute_bytes_max];
};

static ssize_t attribute_names(int file, char *names) {
    ssize_t length = flistxattr(file, names, attribute_bytes_max);
    return length < 0 ? (errno == EOPNOTSUPP ? 0 : -errno) : length;
}

static int same_attributes(int left, int right, struct attribute_buffers *buffers) {
    ssize_t left_length = attribute_names(left, buffers->left_names);
    if (left_length < 0) return (int)left_length;
    ssize_t right_length = attribute_names(right, buffers->right_names);
    if (right_length < 0) return (int)right_length;
    // The same names take the same room, in whatever order; so it is enough to look from one side.
    if (left_length != right_length) return 0;
    for (ssize_t at = 0; at < left_length;) {
        const char *name = buffers->left_names + at;
        ssize_t left_size = fgetxattr(left, name, buffers->left_value, attribute_bytes_max);
        if (left_size < 0) return -errno;
        ssize_t right_size = fgetxattr(right, name, buffers->right_value, attribute_bytes_max);
        if (right_size < 0) return errno == ENODATA ? 0 : -errno;
        if (left_size != right_size ||
            memcmp(buffers->left_value, buffers->right_value, (size_t)left_size) != 0) {
            return 0;
        }
        at += (ssize_t)strlen(name) + 1;
    }
    return 1;
}

int clinux_volume_same_attributes(int left, int right) {
    struct attribute_buffers *buffers = malloc(sizeof *buffers);
    if (!buffers) return -ENOMEM;
    int status = same_attributes(left, right, buffers);
    free(buffers);
    return status;
}

int clinux_volume_identify(const char *path, unsigned *major_number, unsigned *minor_number,
                           uint64_t *inode) {
    struct statx facts;
    if (statx(AT_FDCWD, path, AT_STATX_DONT_SYNC, STATX_INO, &facts) != 0) return -errno;
    *major_number = facts.stx_dev_major;
    *minor_number = facts.stx_dev_minor;
    *inode = facts.stx_ino;
    return 0;
}

static int project_quota(int folder, int command, uint32_t project, void *data) {
    // Linux 5.14; works for ext4 as well as xfs, in xfs's form.
    return result((int)syscall(SYS_quotactl_fd, folder, QCMD(command, PRJQUOTA), project, data));
}

int clinux_volume_has_project_quota(int folder) {
    struct fs_quota_stat state;
    memset(&state, 0, sizeof state);
    if (project_quota(folder, Q_XGETQSTAT, 0, &state) != 0) return 0;
    return (state.qs_flags & FS_QUOTA_PDQ_ENFD) != 0;
}

int clinux_volume_set_project(int folder, uint32_t project) {
    struct fsxattr attributes;
    if (ioctl(folder, FS_IOC_FSGETXATTR, &attributes) != 0) return -errno;
    attributes.fsx_projid = project;
    attributes.fsx_xflags |= FS_XFLAG_PROJINHERIT;
    return result(ioctl(folder, FS_IOC_FSSETXATTR, &attributes));
}

int clinux_volume_limit_project(int folder, uint32_t project, uint64_t bytes) {
    struct fs_disk_quota limit;
    memset(&limit, 0, sizeof limit);
    limit.d_version = FS_DQUOT_VERSION;
    limit.d_flags = FS_PROJ_QUOTA;
    limit.d_id = project;
    limit.d_fieldmask = FS_DQ_BHARD | FS_DQ_BSOFT;
    limit.d_blk_hardlimit = bytes / 512;
    return project_quota(folder, Q_XSETQLIM, project, &limit);
}

int64_t clinux_volume_project_usage(int folder, uint32_t project) {
    struct fs_disk_quota usage;
    memset(&usage, 0, sizeof usage);
    int status = project_quota(folder, Q_XGETQUOTA, project, &usage);
    if (status == -ENOENT) return 0;
    return status < 0 ? status : (int64_t)usage.d_bcount * 512;
}

int clinux_volume_is_ext4(int folder) {
    struct statfs facts;
    return fstatfs(folder, &facts) == 0 && facts.f_type == EXT4_SUPER_MAGIC;
}

int clinux_volume_reconfigure(const char *path, int read_only) {
    // FSPICK_CLOEXEC and FSPICK_SYMLINK_NOFOLLOW; FSCONFIG_SET_FLAG and FSCONFIG_CMD_RECONFIGURE.
    int context = (int)syscall(SYS_fspick, AT_FDCWD, path, 1 | 2);
    if (context < 0) return -errno;
    int status = (int)syscall(SYS_fsconfig, context, 0, read_only ? "ro" : "rw", NULL, 0);
    if (status == 0) status = (int)syscall(SYS_fsconfig, context, 7, NULL, NULL, 0);
    status = result(status);
    close(context);
    return status;
}

int64_t clinux_volume_next_data(int file, int64_t offset) {
    off_t found = lseek(file, offset, SEEK_DATA);
    return found < 0 ? -errno : found;
}

int64_t clinux_volume_next_hole(int file, int64_t offset) {
    off_t found = lseek(file, offset, SEEK_HOLE);
    return found < 0 ? -errno : found;
}

int clinux_volume_punch(int file, int64_t offset, int64_t length) {
    return result(fallocate(file, FALLOC_FL_PUNCH_HOLE | FALLOC_FL_KEEP_SIZE, offset, length));
}

int clinux_volume_read_link(int folder, const char *name, void *target, size_t size) {
    return result((int)readlinkat(folder, name, target, size));
}

static int compare_names(const void *left, const void *right) {
    return strcmp(*(const char *const *)left, *(const char *const *)right);
}

static int64_t gather_attributes(int file, const char **names, size_t count, unsigned char *target,
                                 size_t size) {
    size_t used = 0;
    for (size_t index = 0; index < count; index++) {
        size_t length = strlen(names[index]) + 1;
        if (size - used < length + 4) return -ERANGE;
        memcpy(target + used, names[index], length);
        used += length + 4;
        // A size of 0 asks for the length alone, and would not tell a full buffer from an empty value.
        char none;
        size_t room = size - used;
        ssize_t value = room ? fgetxattr(file, names[index], target + used, room)
                             : fgetxattr(file, names[index], &none, 0);
        if (value < 0) return -errno;
        if ((size_t)value > room) return -ERANGE;
        for (int byte = 0; byte < 4; byte++) {
            target[used - 4 + (size_t)byte] = (unsigned char)(value >> (24 - 8 * byte));
        }
        used += (size_t)value;
    }
    return (int64_t)used;
}

int64_t clinux_volume_attributes(int file, void *target, size_t size) {
    char *list = malloc(attribute_bytes_max);
    if (!list) return -ENOMEM;
    ssize_t length = attribute_names(file, list);
    if (length <= 0) {
        free(list);
        return length;
    }
    size_t count = 0;
    for (ssize_t at = 0; at < length; at++) count += list[at] == 0;
    const char **names = malloc(count * sizeof *names);
    if (!names) {
        free(list);
        return -ENOMEM;
    }
    size_t index = 0;
    for (const char *name = list; index < count; name += strlen(name) + 1) names[index++] = name;
    qsort(names, count, sizeof *names, compare_names);
    int64_t status = gather_attributes(file, names, count, target, size);
    free(names);
    free(list);
    return status;
}

int clinux_volume_set_attributes(int file, const void *attributes, size_t size) {
    const unsigned char *at = attributes, *end = at + size;
    while (at < end) {
        const char *name = (const char *)at;
        const unsigned char *zero = memchr(at, 0, (size_t)(end - at));
        if (!zero || end - zero < 5) return -EINVAL;
        size_t length = (size_t)zero[1] << 24 | (size_t)zero[2] << 16 | (size_t)zero[3] << 8 | zero[4];
        at = zero + 5;
        if ((size_t)(end - at) < length) return -EINVAL;
        if (fsetxattr(file, name, at, length, 0) != 0) return -errno;
        at += length;
    }
    return 0;
}
