/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_PRIVILEGE_H
#define FWDCAP_PRIVILEGE_H

#include <sys/stat.h>

/*
 * Becomes @user (name or number, with ":group" if wanted) and gives up every
 * capability for good. Without @user, root becomes the owner of the stream's
 * directory and anybody else stays. The directory's group is kept as a
 * supplementary one: the files are made for it to read.
 */
int privilege_drop(const char *user, const struct stat *directory);

#endif
