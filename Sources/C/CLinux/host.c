#define _GNU_SOURCE
#include "host.h"
#include <linux/ethtool.h>
#include <linux/magic.h>
#include <linux/sockios.h>
#include <net/if.h>
#include <sched.h>
#include <stdint.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/socket.h>
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

unsigned int clinux_link_megabits(const char *device) {
    struct ethtool_cmd command = {.cmd = ETHTOOL_GSET};
    struct ifreq request = {.ifr_data = (char *)&command};
    if (strlen(device) >= sizeof request.ifr_name) { return 0; }
    strcpy(request.ifr_name, device);
    int socket_ = socket(AF_INET, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (socket_ < 0) { return 0; }
    int result = ioctl(socket_, SIOCETHTOOL, &request);
    close(socket_);
    if (result != 0) { return 0; }
    unsigned int speed = ethtool_cmd_speed(&command);
    // SPEED_UNKNOWN is -1.
    return speed > INT32_MAX ? 0 : speed;
}
