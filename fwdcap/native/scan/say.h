/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_SAY_H
#define FWDCAP_SCAN_SAY_H

/*
 * Says one sentence on stderr and hands back @error (0 or -errno), so that the
 * place that knows what went wrong is the one that says it. %m is @error's text.
 */
__attribute__((format(printf, 2, 3))) int refuse(int error, const char *format, ...);

#endif
