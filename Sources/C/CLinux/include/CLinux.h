#pragma once
// Linux calls that Swift's Glibc module does not show: variadics, macros, newer system calls.
#include <sys/types.h>
#include "host.h"
#include "image.h"
#include "network.h"
#include "runtime.h"
#include "volume.h"

/// The id of the calling thread (gettid(2)).
pid_t clinux_gettid(void);

/// Marks every open descriptor from `first` up as close-on-exec (close_range(2), Linux 5.11);
/// 0, or -1 with errno set.
int clinux_close_on_exec_from(unsigned int first);

/// Names the calling thread, at most 15 bytes (pthread_setname_np(3)); 0 or an errno.
int clinux_name_thread(const char *name);
