/* Watching the hub and children: monitors, stretches without a switch, forks; and what is
 * patched. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <sys/wait.h>
#include <unistd.h>

static atomic_int looks;
static void look(const gevent_statistics_t *counts, void *argument) {
    if (counts->guests > 0 && argument == &looks)
        atomic_fetch_add(&looks, 1);
}

static void monitors(void) {
    gevent_monitor_t *monitor;
    IS(gevent_monitor_new(0, NULL, NULL, &monitor), -EINVAL);
    IS(gevent_monitor_new(-1, look, NULL, &monitor), -EINVAL);
    IS(gevent_monitor_new(NAN, look, NULL, &monitor), -EINVAL);
    IS(gevent_monitor_new(1, look, NULL, NULL), -EINVAL);
    IS(gevent_monitor_new(0, look, &looks, &monitor), 0);
    /* It looks from a kernel thread of its own, also while nobody gives way here. */
    while (atomic_load(&looks) < 3)
        ;
    gevent_monitor_free(monitor);
    gevent_monitor_free(NULL);
}

static void *keeps(void *value) { return value; }
static void *gives_way(void *value) {
    gevent_sleep(0.001);
    return value;
}
static void unwound(void *flag) { *(int *)flag = 1; }
static int was_unwound;
static void *sleeps(void *unused) {
    pthread_cleanup_push(unwound, &was_unwound);
    gevent_sleep(3600);
    pthread_cleanup_pop(0);
    return unused;
}
static void *is_watched(void *unused) {
    gevent_assert_switches(0, sleeps, unused, NULL);
    return "never";
}

static void switches(void) {
    void *value = NULL;
    gevent_greenlet_t *greenlet;
    IS(gevent_assert_switches(0, keeps, "a", &value), -EBUSY);
    IS(value != NULL, 1);
    IS(gevent_assert_switches(3600, keeps, NULL, NULL), 0);
    IS(gevent_assert_switches(-1, keeps, NULL, NULL), 0);
    IS(gevent_assert_switches(0, gives_way, NULL, &value), 0);
    IS(value, 0);
    IS(gevent_assert_switches(0, NULL, NULL, NULL), -EINVAL);
    IS(gevent_assert_switches(NAN, keeps, NULL, NULL), -EINVAL);
    /* A kill in there unwinds through it. */
    gevent_spawn(is_watched, NULL, &greenlet);
    gevent_yield();
    IS(gevent_kill(greenlet, -1), 0);
    IS(was_unwound, 1);
    IS(gevent_result(greenlet, NULL), -ECANCELED);
    gevent_greenlet_free(greenlet);
}

static gevent_event_t *ended;
static int child_id, child_status;
static void child_ended(int child, int status, void *argument) {
    child_id = child;
    child_status = status;
    gevent_event_set(argument);
}

static void *is_left_behind(void *unused) {
    gevent_sleep(3600);
    return unused;
}

static void forks(void) {
    gevent_greenlet_t *other;
    gevent_pool_t *pool;
    gevent_event_new(&ended);
    gevent_pool_new(1, &pool);
    gevent_pool_spawn(pool, is_left_behind, NULL, -1, &other);
    int child = gevent_fork_and_watch(child_ended, ended);
    if (child == 0) {
        /* The caller alone is here; what the others had is given back. */
        int good = gevent_ready(other) == 1 && gevent_join(other, -1) == 0 &&
                   gevent_kill(other, -1) == 0 && gevent_pool_len(pool) == 0 &&
                   gevent_pool_free_count(pool) == 1 && gevent_pool_join(pool, -1) == 0 &&
                   gevent_wait_all(-1) == 0;
        _exit(good ? 7 : 1);
    }
    IS(child > 0, 1);
    IS(gevent_event_wait(ended, 60), 0);
    IS(child_id, child);
    IS(WIFEXITED(child_status) ? WEXITSTATUS(child_status) : -1, 7);
    IS(waitpid(child, NULL, 0), -1);
    /* Nobody has to be told. */
    child = gevent_fork_and_watch(NULL, NULL);
    if (child == 0)
        _exit(0);
    IS(gevent_kill(other, -1), 0);
    IS(gevent_pool_join(pool, 60), 0);
    IS(gevent_wait_all(60), 0);
    IS(waitpid(child, NULL, WNOHANG), -1);
    gevent_greenlet_free(other);
    gevent_pool_free(pool);
    gevent_event_free(ended);
}

static void what_is_patched(void) {
    IS(gevent_is_patched("socket"), 1);
    IS(gevent_is_patched("recvfrom"), 1);
    IS(gevent_is_patched("nosuch"), -1);
    long (*original)(int, void *, size_t) =
        (long (*)(int, void *, size_t))gevent_get_original("read");
    errno = 0;
    IS(original(-1, NULL, 0), -1);
    IS(errno, EBADF);
    IS(gevent_get_original("nosuch") == NULL, 1);
}

int main(void) {
    IS(gevent_patch_all(), 0);
    monitors();
    switches();
    forks();
    what_is_patched();
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
