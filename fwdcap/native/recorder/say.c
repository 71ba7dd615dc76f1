/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <stdarg.h>
#include <stdio.h>

#include "recorder/say.h"

int refuse(int error, const char *format, ...)
{
	char sentence[512];
	va_list arguments;

	errno = -error;
	va_start(arguments, format);
	vsnprintf(sentence, sizeof(sentence), format, arguments);
	va_end(arguments);
	fprintf(stderr, "fwdcap-recorder: %s\n", sentence);
	return error;
}
