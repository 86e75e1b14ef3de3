/* A function on many items in a pool, one result after the other; and in the background. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <limits.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <stdint.h>

static gevent_event_t *gate;
static atomic_int began, told;

static void *squared(void *number) {
    gevent_yield();
    return (void *)((long)number * (long)number);
}
/* The first comes last. */
static void *waits_if_0(void *number) {
    if (number == NULL)
        gevent_event_wait(gate, -1);
    return (void *)((long)number + 1);
}
static void *waits(void *number) {
    atomic_fetch_add(&began, 1);
    gevent_event_wait(gate, -1);
    return number;
}
static void *leaves_if_1(void *number) {
    if (number == (void *)1)
        pthread_exit(number);
    return (void *)((long)number + 1);
}
static void tell(void *number) { atomic_fetch_add(&told, (int)(long)number); }

enum { N = 30 };
static void *items[N];

static void in_order(gevent_pool_t *pool) {
    gevent_imap_t *imap;
    size_t index;
    void *result;
    IS(gevent_pool_imap(pool, squared, items, N, &imap), 0);
    for (long i = 0; i < N; i++) {
        IS(gevent_imap_next(imap, &index, &result, -1), 0);
        IS(index, i);
        IS(result, i * i);
    }
    IS(gevent_imap_next(imap, &index, &result, -1), -ENODATA);
    IS(gevent_imap_next(imap, NULL, NULL, 0), -ENODATA);
    gevent_imap_free(imap);
    /* The first is waited for, and none is lost by a time that is up. */
    gevent_event_clear(gate);
    IS(gevent_pool_imap(pool, waits_if_0, items, N, &imap), 0);
    IS(gevent_imap_next(imap, &index, &result, 0.01), -ETIMEDOUT);
    IS(gevent_imap_next(imap, &index, &result, 0), -ETIMEDOUT);
    gevent_timeout_t *timeout;
    gevent_timeout_start(0.01, &timeout);
    IS(gevent_imap_next(imap, &index, &result, -1), -ETIME);
    gevent_timeout_stop(timeout);
    gevent_event_set(gate);
    for (long i = 0; i < N; i++) {
        IS(gevent_imap_next(imap, &index, &result, 60), 0);
        IS(index, i);
        IS(result, i + 1);
    }
    IS(gevent_imap_next(imap, &index, &result, 60), -ENODATA);
    gevent_imap_free(imap);
}

static void as_they_end(gevent_pool_t *pool) {
    gevent_imap_t *imap;
    size_t index;
    void *result;
    long sum = 0;
    gevent_event_clear(gate);
    IS(gevent_pool_imap_unordered(pool, waits_if_0, items, N, &imap), 0);
    for (int i = 0; i < N - 1; i++) {
        IS(gevent_imap_next(imap, &index, &result, -1), 0);
        IS(result, index + 1);
        IS(index > 0, 1);
        sum += index;
    }
    IS(sum, N * (N - 1) / 2);
    IS(gevent_imap_next(imap, &index, &result, 0.01), -ETIMEDOUT);
    gevent_event_set(gate);
    IS(gevent_imap_next(imap, &index, &result, -1), 0);
    IS(index, 0);
    IS(gevent_imap_next(imap, &index, &result, -1), -ENODATA);
    gevent_imap_free(imap);
}

static void what_is_killed(gevent_pool_t *pool) {
    gevent_imap_t *imap;
    size_t index;
    void *result;
    for (int ordered = 0; ordered < 2; ordered++) {
        int killed = 0;
        IS(ordered ? gevent_pool_imap(pool, leaves_if_1, items, 3, &imap)
                   : gevent_pool_imap_unordered(pool, leaves_if_1, items, 3, &imap), 0);
        for (int i = 0; i < 3; i++) {
            int outcome = gevent_imap_next(imap, &index, &result, -1);
            killed += outcome == -ECHILD;
            IS(outcome, index == 1 ? -ECHILD : 0);
            IS(result, index == 1 ? 0 : index + 1);
        }
        IS(killed, 1);
        IS(gevent_imap_next(imap, NULL, NULL, -1), -ENODATA);
        gevent_imap_free(imap);
    }
}

/* The rest is not begun. */
static void what_is_freed_early(gevent_pool_t *pool) {
    gevent_imap_t *imap;
    for (int ordered = 0; ordered < 2; ordered++) {
        gevent_event_clear(gate);
        atomic_store(&began, 0);
        IS(ordered ? gevent_pool_imap(pool, waits, items, N, &imap)
                   : gevent_pool_imap_unordered(pool, waits, items, N, &imap), 0);
        while (atomic_load(&began) < 2)
            gevent_sleep(0.001);
        gevent_imap_free(imap);
        gevent_sleep(0.01);
        gevent_event_set(gate);
        IS(gevent_pool_join(pool, 60), 0);
        IS(atomic_load(&began), 2);
    }
}

static gevent_pool_t *of_its_own;
static void *applies(void *number) {
    void *result = NULL;
    /* A place would never come. */
    IS(gevent_pool_apply(of_its_own, squared, number, &result), 0);
    return result;
}

static void one_at_a_time(gevent_pool_t *pool) {
    gevent_greenlet_t *greenlet, *members[4] = {0};
    void *result = NULL;
    IS(gevent_pool_apply(pool, squared, (void *)7, &result), 0);
    IS(result, 49);
    IS(gevent_pool_apply(pool, squared, (void *)7, NULL), 0);
    IS(gevent_pool_apply(pool, leaves_if_1, (void *)1, &result), -ECANCELED);
    gevent_pool_new(1, &of_its_own);
    IS(gevent_pool_apply(of_its_own, applies, (void *)6, &result), 0);
    IS(result, 36);
    gevent_pool_free(of_its_own);
    /* In the background, when there is a place. */
    gevent_event_clear(gate);
    atomic_store(&told, 0);
    IS(gevent_pool_spawn(pool, waits, NULL, -1, NULL), 0);
    IS(gevent_pool_spawn(pool, waits, NULL, -1, &greenlet), 0);
    IS(gevent_pool_apply_async(pool, squared, (void *)3, NULL, NULL), 0);
    IS(gevent_pool_contains(pool, greenlet), 1);
    IS(gevent_pool_greenlets(pool, NULL, 0), 2);
    IS(gevent_pool_greenlets(pool, members, 4), 2);
    IS(gevent_minimal_ident(members[1]) == gevent_minimal_ident(greenlet), 1);
    IS(members[2] == NULL, 1);
    gevent_greenlet_free(members[0]);
    gevent_greenlet_free(members[1]);
    gevent_greenlet_free(greenlet);
    IS(gevent_pool_apply_async(pool, squared, (void *)5, tell, &greenlet), 0);
    IS(gevent_join(greenlet, 0.01), -ETIMEDOUT);
    IS(gevent_result(greenlet, &result), -EAGAIN);
    gevent_event_set(gate);
    IS(gevent_join(greenlet, 60), 0);
    IS(gevent_result(greenlet, &result), 0);
    IS(result, 25);
    IS(atomic_load(&told), 25);
    gevent_greenlet_free(greenlet);
    IS(gevent_pool_apply_async(pool, leaves_if_1, (void *)1, tell, &greenlet), 0);
    IS(gevent_join(greenlet, 60), 0);
    IS(gevent_result(greenlet, &result), -ECANCELED);
    IS(atomic_load(&told), 25);
    IS(gevent_pool_join(pool, 60), 0);
    IS(gevent_pool_contains(pool, greenlet), 0);
    gevent_greenlet_free(greenlet);
}

static void *cubed(void *number) {
    IS(gevent_is_guest(), 0);
    return (void *)((long)number * (long)number * (long)number);
}

static void on_kernel_threads(void) {
    gevent_threadpool_t *threads;
    void *results[N];
    gevent_threadpool_new(3, &threads);
    IS(gevent_threadpool_size(threads), 3);
    IS(gevent_threadpool_size(NULL), -EINVAL);
    IS(gevent_threadpool_map(threads, cubed, items, N, results), 0);
    for (long i = 0; i < N; i++)
        IS(results[i], i * i * i);
    IS(gevent_threadpool_map(threads, cubed, items, N, NULL), 0);
    IS(gevent_threadpool_map(threads, cubed, NULL, 0, NULL), 0);
    IS(gevent_threadpool_map(threads, cubed, NULL, 1, NULL), -EINVAL);
    IS(gevent_threadpool_map(threads, NULL, items, 1, NULL), -EINVAL);
    IS(gevent_threadpool_map(NULL, cubed, items, 1, NULL), -EINVAL);
    gevent_threadpool_free(threads);
    IS(gevent_is_guest(), gevent_hub(NULL));
}

static void waiters_and_ends(void) {
    gevent_semaphore_t *semaphore;
    gevent_async_result_t *result;
    gevent_queue_t *queue;
    for (int bounded = 0; bounded < 2; bounded++) {
        gevent_semaphore_new(0, bounded, &semaphore);
        IS(gevent_semaphore_waiting(semaphore), 0);
        gevent_semaphore_free(semaphore);
    }
    IS(gevent_semaphore_waiting(NULL), -EINVAL);
    gevent_async_result_new(&result);
    IS(gevent_async_result_successful(result), 0);
    gevent_async_result_set_error(result, ENOENT);
    IS(gevent_async_result_successful(result), 0);
    gevent_async_result_set(result, NULL);
    IS(gevent_async_result_successful(result), 1);
    IS(gevent_async_result_successful(NULL), -EINVAL);
    gevent_async_result_free(result);
    gevent_queue_new(GEVENT_QUEUE_LIFO, 0, &queue);
    IS(gevent_queue_is_shut_down(queue), 0);
    gevent_queue_shutdown(queue, 1);
    IS(gevent_queue_is_shut_down(queue), 1);
    IS(gevent_queue_is_shut_down(NULL), -EINVAL);
    gevent_queue_free(queue);
}

static void bad_input(gevent_pool_t *pool) {
    gevent_imap_t *imap;
    gevent_pool_t *group;
    IS(gevent_pool_imap(NULL, squared, items, N, &imap), -EINVAL);
    IS(gevent_pool_imap(pool, NULL, items, N, &imap), -EINVAL);
    IS(gevent_pool_imap(pool, squared, NULL, 1, &imap), -EINVAL);
    IS(gevent_pool_imap(pool, squared, items, N, NULL), -EINVAL);
    IS(gevent_pool_imap_unordered(NULL, squared, items, N, &imap), -EINVAL);
    IS(gevent_pool_imap_unordered(pool, squared, items, N, NULL), -EINVAL);
    IS(gevent_pool_imap_unordered(pool, squared, NULL, 0, &imap), 0);
    IS(gevent_imap_next(imap, NULL, NULL, NAN), -EINVAL);
    IS(gevent_imap_next(imap, NULL, NULL, -1), -ENODATA);
    gevent_imap_free(imap);
    IS(gevent_imap_next(NULL, NULL, NULL, -1), -EINVAL);
    gevent_imap_free(NULL);
    IS(gevent_pool_apply(NULL, squared, NULL, NULL), -EINVAL);
    IS(gevent_pool_apply(pool, NULL, NULL, NULL), -EINVAL);
    IS(gevent_pool_apply_async(NULL, squared, NULL, NULL, NULL), -EINVAL);
    IS(gevent_pool_apply_async(pool, NULL, NULL, NULL, NULL), -EINVAL);
    IS(gevent_pool_contains(pool, NULL), -EINVAL);
    IS(gevent_pool_contains(NULL, NULL), -EINVAL);
    IS(gevent_pool_greenlets(pool, NULL, 1), -EINVAL);
    IS(gevent_pool_greenlets(NULL, NULL, 0), -EINVAL);
    IS(gevent_pool_size(NULL), -EINVAL);
    IS(gevent_pool_size(pool), 2);
    gevent_group_new(&group);
    IS(gevent_pool_size(group), INT_MAX);
    gevent_pool_free(group);
}

int main(void) {
    gevent_pool_t *pool;
    gevent_patch_all();
    gevent_event_new(&gate);
    gevent_pool_new(2, &pool);
    for (long i = 0; i < N; i++)
        items[i] = (void *)i;
    in_order(pool);
    as_they_end(pool);
    what_is_killed(pool);
    what_is_freed_early(pool);
    one_at_a_time(pool);
    on_kernel_threads();
    waiters_and_ends();
    bad_input(pool);
    IS(gevent_wait_all(60), 0);
    gevent_pool_free(pool);
    gevent_event_free(gate);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
