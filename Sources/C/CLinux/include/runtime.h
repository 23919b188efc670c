#pragma once
// Linux calls of the container runtime: process descriptors, waiting for many descriptors, and
// opening files inside a root that is not trusted.
#include <stdint.h>
#include <sys/types.h>

/// A descriptor that becomes readable when the process ends (pidfd_open(2), Linux 5.3);
/// close-on-exec; -1 with errno set.
int clinux_pidfd_open(pid_t pid);

/// Sends a signal to the process the descriptor stands for, never to a later one of the same
/// number (pidfd_send_signal(2)); 0, or -1 with errno set.
int clinux_pidfd_send_signal(int pidfd, int signal);

/// Opens a file for reading with `root` as the root of every step, symbolic links included
/// (openat2(2) with RESOLVE_IN_ROOT, Linux 5.6). Never blocks on a FIFO; -1 with errno set.
int clinux_open_in_root(int root, const char *path);

/// A descriptor of a folder to resolve paths in, close-on-exec; -1 with errno set.
int clinux_open_root(const char *path);

/// A new epoll(7) descriptor, close-on-exec; -1 with errno set.
int clinux_epoll_create(void);

/// Watches a descriptor for being readable or hung up; events carry `token`.
int clinux_epoll_add(int epoll, int descriptor, uint64_t token);

/// Ends a watch.
int clinux_epoll_remove(int epoll, int descriptor);

/// Waits for up to `maximum` (at most 64) events and stores their tokens; milliseconds, -1 for
/// ever. The number of events; 0 at the timeout or when a signal came; -1 with errno set.
int clinux_epoll_wait(int epoll, uint64_t *tokens, int maximum, int milliseconds);

/// A counter to wake a waiting thread with (eventfd(2)), non-blocking, close-on-exec.
int clinux_eventfd(void);

/// A pipe of two close-on-exec descriptors; the reading end (first) does not block.
int clinux_pipe(int descriptors[2]);

/// The most files this process may have open and hand on (RLIMIT_NOFILE, hard).
int64_t clinux_open_files_max(void);
