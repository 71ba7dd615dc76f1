/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_CONFINE_H
#define FWDCAP_SCAN_CONFINE_H

#include "scan/options.h"

/*
 * Gives up what reading needs not: every capability, new privileges, sockets,
 * other programs, core dumps; and takes the limits and the place behind others
 * that the options name. Without sockets a filter's host name is what /etc/hosts
 * says, or unknown at once: no page waits for a name server. Errors are said.
 */
int confine(const struct options *options);

#endif
