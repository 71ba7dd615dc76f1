/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <sys/stat.h>
#include <unistd.h>

#include "recorder/files.h"

#define FILE_MODE 0640

int open_file(int directory, const char *name, int flags, gid_t group)
{
	int fd;

	fd = openat(directory, name, O_RDWR | O_CLOEXEC | O_NOFOLLOW | flags, FILE_MODE);
	if (fd < 0)
		return -errno;
	/* Not ours to give away when it is not our group: the owner still reads. */
	if ((flags & O_CREAT) && fchown(fd, (uid_t)-1, group) && errno != EPERM) {
		close(fd);
		return -errno;
	}
	return fd;
}

int write_at(int fd, const void *from, size_t length, __u64 offset, size_t unit)
{
	const unsigned char *bytes = from;
	ssize_t got;

	while (length) {
		got = pwrite(fd, bytes, length, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got < 0)
			return -errno;
		got -= got % (ssize_t)unit;
		if (got == 0)
			return -ENOSPC;
		bytes += got;
		length -= (size_t)got;
		offset += (size_t)got;
	}
	return 0;
}

bool file_removed(int fd)
{
	struct stat facts;

	return fstat(fd, &facts) == 0 && facts.st_nlink == 0;
}

int read_at(int fd, void *to, size_t length, __u64 offset)
{
	unsigned char *bytes = to;
	ssize_t got;

	while (length) {
		got = pread(fd, bytes, length, (off_t)offset);
		if (got < 0 && errno == EINTR)
			continue;
		if (got <= 0)
			return got < 0 ? -errno : -EIO;
		bytes += got;
		length -= (size_t)got;
		offset += (size_t)got;
	}
	return 0;
}
