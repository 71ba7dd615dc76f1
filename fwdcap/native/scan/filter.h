/* SPDX-License-Identifier: Apache-2.0 */
#ifndef FWDCAP_SCAN_FILTER_H
#define FWDCAP_SCAN_FILTER_H

#include <pcap/pcap.h>

/*
 * Compiles @text, tcpdump's language for Ethernet frames in a file. A mistake is
 * -EINVAL and said as "filter @number at POSITION: SENTENCE": the position counts
 * bytes from 0, the sentence is libpcap's.
 */
int filter_compile(struct bpf_program *program, const char *text, size_t number);

#endif
