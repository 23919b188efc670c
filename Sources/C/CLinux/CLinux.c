#define _GNU_SOURCE
#include "CLinux.h"
#include <unistd.h>

pid_t clinux_gettid(void) { return gettid(); }
