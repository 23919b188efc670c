#pragma once
// Linux calls that Swift's Glibc module does not show: variadics, macros, newer system calls.
#include <sys/types.h>

/// The id of the calling thread (gettid(2)).
pid_t clinux_gettid(void);
