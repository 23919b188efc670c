#pragma once
// Network namespaces, configured without a process for each: rtnetlink(7), netdevice(7).
#include <stdint.h>

/// Switches on `lo` and `eth0` in the network namespace that a file stands for, gives `eth0` the
/// address, and sets the default route; doing it again changes nothing. Numbers are in
/// the machine's own byte order. 0, or a negated errno and in `step` what failed.
int clinux_network_configure(const char *path, uint32_t address, unsigned prefix_length,
                             uint32_t gateway, const char **step);
