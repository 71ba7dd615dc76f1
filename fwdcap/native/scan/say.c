/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "scan/say.h"

int refuse(int error, const char *format, ...)
{
	char sentence[1024];
	va_list arguments;

	errno = -error;
	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	fprintf(stderr, "fwdcap-scan: %s\n", sentence);
	return error;
}
