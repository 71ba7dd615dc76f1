/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <linux/filter.h>
#include <linux/ioprio.h>
#include <linux/seccomp.h>
#include <sys/prctl.h>
#include <sys/resource.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "scan/confine.h"
#include "scan/say.h"

#define REFUSE_CALL(number) \
	BPF_JUMP(BPF_JMP | BPF_JEQ | BPF_K, number, 0, 1), \
	BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ERRNO | EPERM)

static int limit(__rlimit_resource_t resource, rlim_t soft, rlim_t hard)
{
	struct rlimit value = { .rlim_cur = soft, .rlim_max = hard };

	return setrlimit(resource, &value) ? -errno : 0;
}

static int take_limits(const struct options *options)
{
	int err = limit(RLIMIT_CORE, 0, 0);

	if (!err && options->memory_bytes)
		err = limit(RLIMIT_AS, options->memory_bytes, options->memory_bytes);
	if (!err && options->cpu_seconds)
		err = limit(RLIMIT_CPU, options->cpu_seconds, options->cpu_seconds + 1);
	if (!err && options->nice && setpriority(PRIO_PROCESS, 0, options->nice))
		err = -errno;
	if (!err && options->idle_io &&
	    syscall(SYS_ioprio_set, IOPRIO_WHO_PROCESS, 0,
		    IOPRIO_PRIO_VALUE(IOPRIO_CLASS_IDLE, 0)))
		err = -errno;
	return err ? refuse(err, "cannot take its limits: %m") : 0;
}

static int become(const struct options *options)
{
	if (!options->switch_user)
		return 0;
	if (setgroups(0, NULL) || setresgid(options->gid, options->gid, options->gid) ||
	    setresuid(options->uid, options->uid, options->uid))
		return refuse(-errno, "cannot become user %u: %m", options->uid);
	return 0;
}

static int give_up_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ||
	    syscall(SYS_capset, &header, none))
		return refuse(-errno, "cannot give up privileges: %m");
	return 0;
}

/* Not a wall, which the user it runs as is; a fence around what it never does. */
static int refuse_calls(void)
{
	struct sock_filter filter[] = {
		BPF_STMT(BPF_LD | BPF_W | BPF_ABS, offsetof(struct seccomp_data, nr)),
		REFUSE_CALL(SYS_socket),
		REFUSE_CALL(SYS_execve),
		REFUSE_CALL(SYS_execveat),
		REFUSE_CALL(SYS_io_uring_setup),
		BPF_STMT(BPF_RET | BPF_K, SECCOMP_RET_ALLOW),
	};
	struct sock_fprog program = {
		.len = sizeof(filter) / sizeof(filter[0]),
		.filter = filter,
	};

	if (prctl(PR_SET_SECCOMP, SECCOMP_MODE_FILTER, &program, 0, 0))
		return refuse(-errno, "cannot fence itself in: %m");
	return 0;
}

int confine(const struct options *options)
{
	int err;

	err = take_limits(options);
	if (!err)
		err = become(options);
	if (!err)
		err = give_up_capabilities();
	return err ? err : refuse_calls();
}
