#define _GNU_SOURCE
#include "CLinux.h"
#include <pthread.h>
#include <unistd.h>
#include <sys/syscall.h>

pid_t clinux_gettid(void) { return gettid(); }

int clinux_close_on_exec_from(unsigned int first) {
    return (int)syscall(SYS_close_range, first, ~0U, 1U << 2 /* CLOSE_RANGE_CLOEXEC */);
}

int clinux_name_thread(const char *name) { return pthread_setname_np(pthread_self(), name); }
