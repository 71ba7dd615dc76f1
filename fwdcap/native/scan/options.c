/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <getopt.h>
#include <stdio.h>
#include <string.h>

#include "scan/modes.h"
#include "scan/number.h"
#include "scan/options.h"
#include "scan/say.h"

static int usage(void)
{
	fprintf(stderr, "usage: fwdcap-scan [--format pcap|pcapng] [--start NS] [--stop NS]\n"
			"                   [--filter EXPRESSION]... [--mode ingress|inline|egress]...\n"
			"                   [--direction to-server|to-client] [--snaplen N] [--gzip 1-9]\n"
			"                   [--statistics] [--user UID:GID] [--nice N] [--idle-io]\n"
			"                   [--memory-bytes N] [--seconds N] < PLAN > FILE\n"
			"       fwdcap-scan --check-filter EXPRESSION\n");
	return -EINVAL;
}

static int number(const char *text, __u64 most, __u64 *value)
{
	if (parse_number(text, most, value))
		return refuse(-EINVAL, "%.64s is not a number from 0 to %llu", text,
			      (unsigned long long)most);
	return 0;
}

static int add_filter(struct options *options, const char *text)
{
	if (options->nr_filters == OPTIONS_FILTERS)
		return refuse(-EINVAL, "there are more than %d filters", OPTIONS_FILTERS);
	if (strlen(text) > OPTIONS_FILTER_BYTES)
		return refuse(-EINVAL, "a filter is longer than %d bytes", OPTIONS_FILTER_BYTES);
	options->filters[options->nr_filters++] = text;
	return 0;
}

static int set_word(struct options *options, int option, const char *word)
{
	unsigned int mode = mode_of(word);

	if (option == 'f' && !strcmp(word, "pcap"))
		options->format = FORMAT_PCAP;
	else if (option == 'f' && !strcmp(word, "pcapng"))
		options->format = FORMAT_PCAPNG;
	else if (option == 'd' && !strcmp(word, "to-server"))
		options->direction = FWDCAP_DIRECTION_TO_SERVER;
	else if (option == 'd' && !strcmp(word, "to-client"))
		options->direction = FWDCAP_DIRECTION_TO_CLIENT;
	else if (option == 'm' && mode)
		options->modes |= mode;
	else
		return usage();
	return 0;
}

/* Both as numbers: there is nothing to look up for who names a file's owner. */
static int set_user(struct options *options, char *text)
{
	char *colon = strchr(text, ':');
	__u64 uid, gid;

	if (!colon)
		return usage();
	*colon = '\0';
	if (parse_number(text, INT32_MAX, &uid) || parse_number(colon + 1, INT32_MAX, &gid))
		return usage();
	options->switch_user = true;
	options->uid = (__u32)uid;
	options->gid = (__u32)gid;
	return 0;
}

static int set_number(struct options *options, int option, const char *text)
{
	__u64 value = 0;
	int err;

	switch (option) {
	case 's':
		return number(text, UINT64_MAX, &options->start_ns);
	case 'e':
		return number(text, UINT64_MAX, &options->stop_ns);
	case 'l':
		err = number(text, FWDCAP_PCAP_SNAPLEN, &value);
		options->snaplen = (__u32)value;
		return err;
	case 'z':
		err = number(text, 9, &value);
		options->gzip = (int)value;
		return err;
	case 'n':
		err = number(text, 19, &value);
		options->nice = (int)value;
		return err;
	case 'b':
		return number(text, INT64_MAX, &options->memory_bytes);
	default:
		return number(text, INT32_MAX, &options->cpu_seconds);
	}
}

static int set_option(struct options *options, int option)
{
	switch (option) {
	case '?':
		return usage();
	case 'c':
		options->check_only = true;
		return add_filter(options, optarg);
	case 'x':
		return add_filter(options, optarg);
	case 'f':
	case 'd':
	case 'm':
		return set_word(options, option, optarg);
	case 'u':
		return set_user(options, optarg);
	case 't':
		options->statistics = true;
		return 0;
	case 'i':
		options->idle_io = true;
		return 0;
	default:
		return set_number(options, option, optarg);
	}
}

int options_parse(struct options *options, int argc, char **argv)
{
	static const struct option known[] = {
		{ "check-filter", required_argument, NULL, 'c' },
		{ "format", required_argument, NULL, 'f' },
		{ "start", required_argument, NULL, 's' },
		{ "stop", required_argument, NULL, 'e' },
		{ "filter", required_argument, NULL, 'x' },
		{ "mode", required_argument, NULL, 'm' },
		{ "direction", required_argument, NULL, 'd' },
		{ "snaplen", required_argument, NULL, 'l' },
		{ "gzip", required_argument, NULL, 'z' },
		{ "statistics", no_argument, NULL, 't' },
		{ "user", required_argument, NULL, 'u' },
		{ "nice", required_argument, NULL, 'n' },
		{ "idle-io", no_argument, NULL, 'i' },
		{ "memory-bytes", required_argument, NULL, 'b' },
		{ "seconds", required_argument, NULL, 'p' },
		{},
	};
	int option, err = 0;

	*options = (struct options){ .stop_ns = UINT64_MAX, .direction = OPTIONS_ANY_DIRECTION };
	while (!err && (option = getopt_long(argc, argv, "", known, NULL)) != -1)
		err = set_option(options, option);
	if (!err && optind != argc)
		err = usage();
	return err;
}
