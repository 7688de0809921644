/* Linked into the static program only (docs/decisions/0009-static-program.md). The C library of a static program
 * loads the modules that /etc/nsswitch.conf names from the system, and ends the process with a signal if they
 * belong to another version. This selects the services that are part of the program, before main(). */

#include <features.h>
#include <nss.h>

#if !__GLIBC_PREREQ(2, 34)
#error "before version 2.34, glibc loads the module of DNS too"
#endif

static const char *const users_and_names[] = {
    "aliases", "ethers", "group", "gshadow", "initgroups", "netgroup", "networks",
    "passwd", "protocols", "publickey", "rpc", "services", "shadow",
};

__attribute__((constructor)) static void use_built_in_services(void)
{
    for (unsigned i = 0; i < sizeof users_and_names / sizeof *users_and_names; i++)
        __nss_configure_lookup(users_and_names[i], "files");
    __nss_configure_lookup("hosts", "files dns");
}
