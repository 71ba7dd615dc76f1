/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into the recorder by a test: CLOCK_REALTIME differs from the
 * machine's by the nanoseconds in the file STEP_FILE, as if it had been set.
 * The file is opened at once, since the recorder gives up its privileges.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <fcntl.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static int step_fd = -1;

__attribute__((constructor)) static void open_step(void)
{
	step_fd = open(getenv("STEP_FILE"), O_RDONLY | O_CLOEXEC);
}

static long long step_ns(void)
{
	char text[32] = "";

	return pread(step_fd, text, sizeof(text) - 1, 0) > 0 ? atoll(text) : 0;
}

int clock_gettime(clockid_t clock, struct timespec *now)
{
	__typeof__(&clock_gettime) next = (__typeof__(&clock_gettime))dlsym(RTLD_NEXT, __func__);
	int err = next(clock, now);
	long long ns;

	if (err || clock != CLOCK_REALTIME)
		return err;
	ns = now->tv_sec * 1000000000LL + now->tv_nsec + step_ns();
	now->tv_sec = ns / 1000000000;
	now->tv_nsec = ns % 1000000000;
	return 0;
}
