/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_NUMBER_H
#define FWDCAP_SCAN_NUMBER_H

#include <errno.h>
#include <stdlib.h>

#include "abi.h"

/* Decimal digits and nothing else; -EINVAL where @text is no number up to @most. */
static inline int parse_number(const char *text, __u64 most, __u64 *value)
{
	char *end;

	errno = 0;
	*value = strtoull(text, &end, 10);
	return *text < '0' || *text > '9' || *end || errno || *value > most ? -EINVAL : 0;
}

#endif
