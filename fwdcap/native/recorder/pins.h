/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_PINS_H
#define FWDCAP_PINS_H

#include <linux/bpf.h>

#include "abi.h"

/*
 * Opens the directory of pins and makes this process the one consumer of what
 * is in it. Returns the directory's descriptor, which holds the lock.
 */
int pins_lock(const char *pins);

/* Opens the pinned map @name and checks its type; returns its descriptor. */
int pins_map(const char *pins, const char *name, __u32 type, struct bpf_map_info *info);

/* Maps `cpu_state` for reading. */
int pins_cpu_states(const char *pins, const struct fwdcap_cpu_state **states, __u32 *nr_cpus);

/* What the program is told, from `capture`; its nr_rings is at least 1. */
int pins_capture(const char *pins, struct fwdcap_capture_control *control);

#endif
