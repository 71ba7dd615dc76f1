/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_MODES_H
#define FWDCAP_SCAN_MODES_H

#include <string.h>

#include "abi.h"

/* The word for one enum fwdcap_mode; a tag may hold anything. */
static inline const char *mode_name(unsigned int mode)
{
	switch (mode) {
	case FWDCAP_MODE_INGRESS:
		return "ingress";
	case FWDCAP_MODE_INLINE:
		return "inline";
	case FWDCAP_MODE_EGRESS:
		return "egress";
	default:
		return "unknown";
	}
}

/* The mode of that name, 0 where there is none. */
static inline unsigned int mode_of(const char *name)
{
	for (unsigned int mode = FWDCAP_MODE_INGRESS; mode <= FWDCAP_MODE_EGRESS; mode <<= 1)
		if (!strcmp(name, mode_name(mode)))
			return mode;
	return 0;
}

#endif
