/* Several greenlets at once: waiting for them as they end, groups, pools, kernel threads. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdlib.h>

static void *waits(void *event) {
    gevent_event_wait(event, -1);
    return event;
}
static void *squared(void *number) {
    gevent_yield();
    return (void *)((long)number * (long)number);
}
static void *kills_itself(void *unused) {
    gevent_greenlet_t *own;
    gevent_getcurrent(&own);
    gevent_greenlet_free(own);
    pthread_exit(unused);
}
static atomic_int done;
static void *doubled(void *number) { return (void *)((long)number * 2); }
static void tell(void *number) { atomic_fetch_add(&done, (int)(long)number); }

static void as_they_end(void) {
    enum { N = 3 };
    gevent_event_t *gates[N];
    gevent_greenlet_t *jobs[N];
    gevent_greenlet_t *const *all = jobs;
    gevent_iwait_t *iwait;
    for (int i = 0; i < N; i++) {
        gevent_event_new(&gates[i]);
        gevent_spawn(waits, gates[i], &jobs[i]);
    }
    IS(gevent_wait(all, N, 0.001, 1), 0);
    IS(gevent_iwait_new(all, N, -1, &iwait), 0);
    for (int i = N; i-- > 0;) {
        gevent_event_set(gates[i]);
        IS(gevent_iwait_next(iwait), i);
    }
    IS(gevent_iwait_next(iwait), -ENODATA);
    gevent_iwait_free(iwait);
    IS(gevent_iwait_new(all, N, 0, &iwait), 0);
    IS(gevent_iwait_next(iwait) >= 0, 1);
    gevent_iwait_free(iwait);
    IS(gevent_iwait_new(NULL, 1, -1, &iwait), -EINVAL);
    IS(gevent_iwait_new(all, N, NAN, &iwait), -EINVAL);
    IS(gevent_iwait_new(all, N, -1, NULL), -EINVAL);
    IS(gevent_iwait_next(NULL), -EINVAL);
    IS(gevent_wait(all, N, -1, 2), 2);
    IS(gevent_wait(all, N, -1, 0), 0);
    IS(gevent_wait(all, N, -1, 99), 3);
    for (int i = 0; i < N; i++) {
        gevent_greenlet_free(jobs[i]);
        gevent_event_free(gates[i]);
    }
}

static void groups_and_pools(void) {
    enum { N = 50 };
    gevent_pool_t *group, *pool;
    gevent_event_t *gate;
    gevent_greenlet_t *one, *two;
    void *items[N], *results[N];
    IS(gevent_group_new(&group), 0);
    IS(gevent_group_new(NULL), -EINVAL);
    IS(gevent_pool_free_count(group), INT_MAX);
    IS(gevent_pool_wait_available(group, -1), INT_MAX);
    gevent_event_new(&gate);
    gevent_spawn(waits, gate, &one);
    IS(gevent_pool_add(group, one), 0);
    IS(gevent_pool_len(group), 1);
    IS(gevent_pool_discard(group, one), 0);
    IS(gevent_pool_discard(group, one), 0);
    IS(gevent_pool_len(group), 0);
    IS(gevent_pool_add(group, NULL), -EINVAL);
    IS(gevent_pool_new(2, &pool), 0);
    IS(gevent_pool_spawn(pool, waits, gate, -1, &two), 0);
    IS(gevent_pool_free_count(pool), 1);
    IS(gevent_pool_spawn(pool, waits, gate, -1, NULL), 0);
    IS(gevent_pool_wait_available(pool, 0.001), 0);
    /* One that is taken out gives its place back, and goes on. */
    IS(gevent_pool_discard(pool, two), 0);
    IS(gevent_pool_wait_available(pool, -1), 1);
    IS(gevent_ready(two), 0);
    gevent_event_set(gate);
    IS(gevent_pool_join(pool, -1), 0);
    IS(gevent_join(two, -1), 0);
    for (long i = 0; i < N; i++)
        items[i] = (void *)i;
    IS(gevent_pool_map(pool, squared, items, N, results), 0);
    for (long i = 0; i < N; i++)
        IS(results[i], i * i);
    IS(gevent_pool_map(pool, squared, items, N, NULL), 0);
    IS(gevent_pool_map(pool, squared, NULL, 0, NULL), 0);
    IS(gevent_pool_map(pool, squared, NULL, 1, NULL), -EINVAL);
    IS(gevent_pool_map(pool, NULL, items, N, NULL), -EINVAL);
    IS(gevent_pool_map(pool, kills_itself, items, 1, results), -ECANCELED);
    IS(results[0], 0);
    IS(gevent_join(one, -1), 0);
    gevent_greenlet_free(one);
    gevent_greenlet_free(two);
    gevent_event_free(gate);
    gevent_pool_free(pool);
    gevent_pool_free(group);
}

static void kernel_threads(void) {
    gevent_threadpool_t *threads;
    gevent_threadpool_new(3, &threads);
    for (long i = 1; i <= 10; i++)
        IS(gevent_threadpool_spawn(threads, doubled, (void *)i, tell), 0);
    IS(gevent_threadpool_spawn(threads, doubled, NULL, NULL), 0);
    IS(gevent_threadpool_spawn(threads, NULL, NULL, tell), -EINVAL);
    IS(gevent_threadpool_join(threads), 0);
    IS(atomic_load(&done), 110);
    IS(gevent_threadpool_join(NULL), -EINVAL);
    gevent_threadpool_free(threads);
}

int main(void) {
    IS(gevent_patch_all(), 0);
    as_they_end();
    groups_and_pools();
    kernel_threads();
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
