/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_CLOCK_H
#define FWDCAP_CLOCK_H

#include "abi.h"

#define NS_PER_SECOND 1000000000ULL

__u64 monotonic_ns(void);

/* What to add to CLOCK_MONOTONIC to get UTC, as of now. */
__u64 clock_offset_ns(void);

void sleep_ns(__u64 duration_ns);

#endif
