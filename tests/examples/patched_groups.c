/* Groups that the environment leaves out (it says GEVENT_SHIM_PATCH=socket,thread here) are
 * patched when the program asks for them; they add to each other. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <stdlib.h>
#include <time.h>
#include <unistd.h>

static double now(void) {
    struct timespec at;
    clock_gettime(CLOCK_MONOTONIC, &at);
    return at.tv_sec + at.tv_nsec / 1e9;
}

static void *sleeps(void *unused) {
    usleep(400000); /* libc's own */
    return unused;
}

/* Three sleepers at once. */
static int at_the_same_time(void) {
    gevent_greenlet_t *all[3];
    double begin = now();
    for (int i = 0; i < 3; i++)
        gevent_spawn(sleeps, NULL, &all[i]);
    gevent_joinall(all, 3, -1);
    for (int i = 0; i < 3; i++)
        gevent_greenlet_free(all[i]);
    return now() - begin < 1.19;
}

int main(void) {
    IS(gevent_patch(NULL), -EINVAL);
    IS(gevent_patch(""), -EINVAL);
    IS(gevent_patch(","), -EINVAL);
    IS(gevent_patch("select,"), -EINVAL);
    IS(gevent_patch("sockets"), -EINVAL);
    IS(gevent_patch("\xff"), -EINVAL);
    IS(gevent_is_patched("select"), 0);
    IS(gevent_patch("select"), 0);
    IS(gevent_hub(NULL), 1);
    IS(gevent_is_patched("socket"), 1);
    IS(gevent_is_patched("select"), 1);
    IS(gevent_is_patched("time"), 0);
    IS(at_the_same_time(), 0);
    IS(gevent_patch("Time, queue"), 0);
    IS(gevent_patch("time"), 0);
    IS(gevent_is_patched("time"), 1);
    IS(gevent_is_patched("queue"), 1);
    IS(gevent_is_patched("select"), 1);
    IS(gevent_is_patched("file"), 0);
    IS(at_the_same_time(), 1);
    IS(gevent_patch_all(), 0);
    IS(gevent_is_patched("file"), 1);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
