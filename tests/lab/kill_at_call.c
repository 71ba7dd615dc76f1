/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into the recorder by a test: the process dies just before its
 * KILL_AT-th call that changes a file, as a power cut or a kill would have it.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <signal.h>
#include <stdlib.h>
#include <sys/types.h>
#include <unistd.h>

static void count_call(void)
{
	static int calls;
	const char *kill_at = getenv("KILL_AT");

	if (kill_at && __atomic_add_fetch(&calls, 1, __ATOMIC_RELAXED) == atoi(kill_at))
		kill(getpid(), SIGKILL);
}

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

ssize_t pwrite(int fd, const void *from, size_t length, off_t offset)
{
	count_call();
	return NEXT(pwrite)(fd, from, length, offset);
}

int ftruncate(int fd, off_t length)
{
	count_call();
	return NEXT(ftruncate)(fd, length);
}

int fallocate(int fd, int mode, off_t offset, off_t length)
{
	count_call();
	return NEXT(fallocate)(fd, mode, offset, length);
}

int fsync(int fd)
{
	count_call();
	return NEXT(fsync)(fd);
}
