/* SPDX-License-Identifier: Apache-2.0 */
#include <ctype.h>
#include <errno.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "abi.h"
#include "scan/filter.h"
#include "scan/options.h"
#include "scan/say.h"

/*
 * libpcap says what is wrong with a filter and not where. This number is too
 * large for its lexer, which says so as soon as the parser asks for it: behind
 * the beginning of a filter it tells whether the parser came that far.
 */
#define BEACON " 99999999999"

/* A handle that compiles as tcpdump -r does: no live interface to ask. */
static pcap_t *open_handle(char *error)
{
	struct fwdcap_pcap_file_header header = {
		.magic = FWDCAP_PCAP_MAGIC_NS,
		.version_major = 2,
		.version_minor = 4,
		.snaplen = FWDCAP_PCAP_SNAPLEN,
		.link_type = FWDCAP_LINKTYPE_ETHERNET,
	};
	FILE *file = fmemopen(&header, sizeof(header), "r");
	pcap_t *handle;

	if (!file) {
		snprintf(error, PCAP_ERRBUF_SIZE, "%s", strerror(errno));
		return NULL;
	}
	/* The header is read here and not looked at again. */
	handle = pcap_fopen_offline(file, error);
	if (!handle)
		fclose(file);
	return handle;
}

/* Compiles @text; its error, empty if there is none, goes to @error. */
static int try(struct bpf_program *program, const char *text, bool optimise, char *error)
{
	pcap_t *handle = open_handle(error);
	int err;

	if (!handle)
		return -EINVAL;
	err = pcap_compile(handle, program, text, optimise, PCAP_NETMASK_UNKNOWN);
	snprintf(error, PCAP_ERRBUF_SIZE, "%s", err ? pcap_geterr(handle) : "");
	pcap_close(handle);
	return err ? -EINVAL : 0;
}

/* Does the parser get through the first @length bytes of @text? */
static bool is_good(const char *text, size_t length, char *scratch)
{
	char error[PCAP_ERRBUF_SIZE], beacon[PCAP_ERRBUF_SIZE];
	struct bpf_program program;

	memcpy(scratch, text, length);
	strcpy(scratch + length, BEACON);
	if (!try(&program, scratch, false, error)) {
		pcap_freecode(&program);
		return true;
	}
	return try(&program, BEACON, false, beacon) && !strcmp(error, beacon);
}

static bool is_word(char c)
{
	return isalnum((unsigned char)c) || (c && strchr("_.:-/\\", c));
}

static bool is_operator(char c)
{
	return c && strchr("=<>!&|", c);
}

/* May a token of the language end before @text[@at]? */
static bool is_border(const char *text, size_t at)
{
	char before = text[at - 1], after = text[at];

	if (isspace((unsigned char)before))
		return false;
	return !(is_word(before) && is_word(after)) &&
	       !(is_operator(before) && is_operator(after));
}

/* Where the first token begins that cannot stand where it stands. */
static size_t find_mistake(const char *text)
{
	size_t length = strlen(text), nr_borders = 0, good = 0, bad, at = 0;
	size_t *borders = calloc(length + 1, sizeof(*borders));
	char *scratch = malloc(length + sizeof(BEACON));

	if (borders && scratch) {
		for (size_t i = 1; i <= length; i++)
			if (is_border(text, i))
				borders[nr_borders++] = i;
		/* borders[good - 1] is good, borders[bad - 1] is not */
		for (bad = nr_borders + 1; bad - good > 1;) {
			size_t middle = good + (bad - good) / 2;

			if (is_good(text, borders[middle - 1], scratch))
				good = middle;
			else
				bad = middle;
		}
		at = good ? borders[good - 1] : 0;
		while (isspace((unsigned char)text[at]))
			at++;
	}
	free(scratch);
	free(borders);
	return at;
}

int filter_compile(struct bpf_program *program, const char *text, size_t number)
{
	char error[PCAP_ERRBUF_SIZE];

	if (!try(program, text, true, error))
		return 0;
	/* What it says at the end of its memory. */
	if (!strcmp(error, "malloc"))
		return refuse(-EINVAL, "filter %zu at 0: it takes too much memory", number);
	for (char *c = error; *c; c++)
		if (iscntrl((unsigned char)*c))
			*c = ' ';
	return refuse(-EINVAL, "filter %zu at %zu: %s", number, find_mistake(text), error);
}
