/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_FILES_H
#define FWDCAP_FILES_H

#include <fcntl.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "abi.h"

/*
 * Opens @name in @directory for reading and writing, 0640 and of @group;
 * @flags may add O_CREAT and O_TRUNC. Returns the descriptor or -errno.
 */
int open_file(int directory, const char *name, int flags, gid_t group);

/*
 * Writes all of @length bytes at @offset. A short write goes on at the last
 * whole @unit (what O_DIRECT asks for; 1 otherwise).
 */
int write_at(int fd, const void *from, size_t length, __u64 offset, size_t unit);

/* Whether the file has been removed from its directory. */
bool file_removed(int fd);

/* Reads exactly @length bytes; a file that ends earlier is -EIO. */
int read_at(int fd, void *to, size_t length, __u64 offset);

#endif
