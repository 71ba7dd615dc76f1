/* SPDX-License-Identifier: Apache-2.0 */
/*
 * Preloaded into the recorder by a test: while the file DISTURB_WHILE exists,
 * calls of DISTURB_CALL on files whose name ends in DISTURB_NAME fail with
 * DISTURB_ERRNO, or hang until it is gone when that is 0. With DISTURB_LOG, a
 * line per call says what was done to which file.
 */
#define _GNU_SOURCE
#include <dlfcn.h>
#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/types.h>
#include <time.h>
#include <unistd.h>

#define NEXT(name) ((__typeof__(&name))dlsym(RTLD_NEXT, #name))

static const char *setting(const char *name)
{
	const char *value = getenv(name);

	return value ? value : "";
}

static void name_of(int fd, char *name, size_t size)
{
	char link[64];
	ssize_t length;

	snprintf(link, sizeof(link), "/proc/self/fd/%d", fd);
	length = readlink(link, name, size - 1);
	name[length < 0 ? 0 : length] = '\0';
}

static bool ends_with(const char *text, const char *end)
{
	size_t length = strlen(text), tail = strlen(end);

	return length >= tail && !strcmp(text + length - tail, end);
}

static void log_call(const char *call, const char *name)
{
	static int file = -2;
	char line[PATH_MAX + 32];
	int length;

	if (file == -2)
		file = open(setting("DISTURB_LOG"), O_WRONLY | O_APPEND | O_CREAT | O_CLOEXEC, 0666);
	if (file < 0)
		return;
	length = snprintf(line, sizeof(line), "%s %s\n", call, name);
	if (write(file, line, (size_t)length) < 0)
		abort();
}

static bool active(void)
{
	return access(setting("DISTURB_WHILE"), F_OK) == 0;
}

/* Whether the call is to fail; errno says how. */
static bool disturbed(const char *call, int fd)
{
	struct timespec pause = { .tv_nsec = 10000000 };
	char name[PATH_MAX] = "";
	int error;

	if (fd >= 0)
		name_of(fd, name, sizeof(name));
	if (fd >= 0)
		log_call(call, name);
	if (strcmp(call, setting("DISTURB_CALL")) || !ends_with(name, setting("DISTURB_NAME")) ||
	    !active())
		return false;
	error = atoi(setting("DISTURB_ERRNO"));
	while (!error && active())
		NEXT(nanosleep)(&pause, NULL);
	errno = error;
	return error;
}

ssize_t pwrite(int fd, const void *from, size_t length, off_t offset)
{
	return disturbed("pwrite", fd) ? -1 : NEXT(pwrite)(fd, from, length, offset);
}

int fdatasync(int fd)
{
	return disturbed("fdatasync", fd) ? -1 : NEXT(fdatasync)(fd);
}

int fsync(int fd)
{
	return disturbed("fsync", fd) ? -1 : NEXT(fsync)(fd);
}

/* The thread that reads the rings sleeps; the one that writes does not. */
int nanosleep(const struct timespec *duration, struct timespec *left)
{
	return disturbed("nanosleep", -1) ? -1 : NEXT(nanosleep)(duration, left);
}
