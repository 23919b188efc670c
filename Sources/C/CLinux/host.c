#define _GNU_SOURCE
#include "host.h"
#include <linux/magic.h>
#include <sched.h>
#include <sys/vfs.h>
#include <unistd.h>

int clinux_processor_count(void) {
    // 1,024 processors fit a fixed set; larger machines get the count that ignores affinity.
    cpu_set_t mask;
    if (sched_getaffinity(0, sizeof mask, &mask) == 0 && CPU_COUNT(&mask) > 0) {
        return CPU_COUNT(&mask);
    }
    long count = sysconf(_SC_NPROCESSORS_ONLN);
    return count > 0 ? (int)count : 1;
}

bool clinux_is_namespace(const char *path) {
    struct statfs information;
    return statfs(path, &information) == 0 && information.f_type == NSFS_MAGIC;
}

bool clinux_is_fuse(const char *path) {
    struct statfs information;
    return statfs(path, &information) == 0 && information.f_type == FUSE_SUPER_MAGIC;
}
