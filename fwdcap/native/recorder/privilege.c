/* SPDX-License-Identifier: Apache-2.0 */
#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/syscall.h>
#include <unistd.h>

#include "recorder/privilege.h"
#include "recorder/say.h"

struct identity {
	uid_t uid;
	gid_t gid;
};

static bool number(const char *text, unsigned int *value)
{
	char *end;

	*value = (unsigned int)strtoul(text, &end, 10);
	return *text && !*end;
}

static int find_group(const char *text, gid_t *gid)
{
	struct group *group;

	if (number(text, gid))
		return 0;
	group = getgrnam(text);
	if (!group)
		return refuse(-ENOENT, "there is no group %s", text);
	*gid = group->gr_gid;
	return 0;
}

/* A number that nobody has a name for is its own group. */
static void identify(uid_t uid, const struct passwd *passwd, struct identity *identity)
{
	identity->uid = passwd ? passwd->pw_uid : uid;
	identity->gid = passwd ? passwd->pw_gid : uid;
}

static int find_identity(const char *user, struct identity *identity)
{
	struct passwd *passwd;
	char name[256], *colon;
	uid_t uid = 0;

	snprintf(name, sizeof(name), "%s", user);
	colon = strchr(name, ':');
	if (colon)
		*colon++ = '\0';
	if (number(name, &uid)) {
		passwd = getpwuid(uid);
	} else {
		passwd = getpwnam(name);
		if (!passwd)
			return refuse(-ENOENT, "there is no user %s", name);
	}
	identify(uid, passwd, identity);
	return colon ? find_group(colon, &identity->gid) : 0;
}

static int become(const struct identity *identity, gid_t group)
{
	/* Group 0 would open root's own files: it is never kept. */
	int nr_groups = group != 0 && group != identity->gid;

	if (setgroups((size_t)nr_groups, &group) ||
	    setresgid(identity->gid, identity->gid, identity->gid) ||
	    setresuid(identity->uid, identity->uid, identity->uid))
		return -errno;
	return 0;
}

static int give_up_capabilities(void)
{
	struct __user_cap_header_struct header = { .version = _LINUX_CAPABILITY_VERSION_3 };
	struct __user_cap_data_struct none[_LINUX_CAPABILITY_U32S_3] = {};

	if (prctl(PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0) ||
	    prctl(PR_CAP_AMBIENT, PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0) ||
	    syscall(SYS_capset, &header, none))
		return -errno;
	return 0;
}

int privilege_drop(const char *user, const struct stat *directory)
{
	struct identity identity;
	int err = 0;

	if (user)
		err = find_identity(user, &identity);
	else
		identify(directory->st_uid, getpwuid(directory->st_uid), &identity);
	if (err)
		return err;
	if (geteuid() == 0) {
		/* Fails at the first number the kernel has no capability for. */
		for (int capability = 0; prctl(PR_CAPBSET_DROP, capability, 0, 0, 0) == 0;)
			capability++;
		err = become(&identity, directory->st_gid);
	} else if (user && identity.uid != geteuid()) {
		err = -EPERM;
	}
	if (!err)
		err = give_up_capabilities();
	if (err)
		return refuse(err, "cannot drop privileges to %s: %m", user ? user : "nobody else");
	return 0;
}
