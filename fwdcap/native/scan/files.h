/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_FILES_H
#define FWDCAP_SCAN_FILES_H

#include <sys/types.h>

#include "abi.h"

/* Opens a file for reading, without waiting and only if it is an ordinary one; -errno. */
int open_regular(const char *path);

/* Reads @length bytes, fewer only at the end of the file. Returns how many, or -errno. */
ssize_t read_at(int fd, void *data, size_t length, __u64 offset);

#endif
