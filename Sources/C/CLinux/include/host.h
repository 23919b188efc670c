#pragma once
// Linux calls about the machine that Swift's Glibc module does not show.
#include <stdbool.h>

/// How many processors this process may use (sched_getaffinity(2)), at least 1.
int clinux_processor_count(void);

/// True when the path is a mounted namespace (statfs(2) says nsfs).
bool clinux_is_namespace(const char *path);

/// True when the path lies in a file system that a program serves (statfs(2) says fuse).
bool clinux_is_fuse(const char *path);

/// The speed of a network device in Mbit/s (ethtool, netdevice(7)); 0 when it has none or is not there.
unsigned int clinux_link_megabits(const char *device);
