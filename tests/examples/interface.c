/* Greenlets, objects, queues, pools and the hub, and what can't be meant of them. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>

static void *answer(void *argument) { return argument; }
static void *waits(void *event) {
    gevent_event_wait(event, -1);
    return "done";
}
static void count(void *counter) { ++*(int *)counter; }
static void *leaves(void *unused) {
    pthread_exit(unused);
}
static void *puts_three(void *queue) {
    for (long i = 3; i > 0; i--)
        gevent_queue_put(queue, (void *)i, i, -1);
    gevent_queue_shutdown(queue, 0);
    return NULL;
}
static void *on_kernel_thread(void *event) {
    gevent_greenlet_t *greenlet;
    void *result = NULL;
    if (gevent_spawn(answer, event, &greenlet) != 0 || gevent_join(greenlet, 60) != 0)
        return NULL;
    gevent_result(greenlet, &result);
    gevent_greenlet_free(greenlet);
    gevent_event_set(event);
    return result;
}

static void greenlets(void) {
    gevent_greenlet_t *greenlet, *other;
    gevent_event_t *event;
    void *result = NULL;
    char name[8];
    int linked = 0;
    gevent_event_new(&event);
    IS(gevent_spawn(NULL, NULL, &greenlet), -EINVAL);
    IS(gevent_spawn(answer, NULL, NULL), 0);
    IS(gevent_spawn_later(NAN, NULL, 0, answer, NULL, NULL), -EINVAL);
    IS(gevent_spawn_later(-1, NULL, 0, answer, NULL, NULL), -EINVAL);
    IS(gevent_spawn_later(0, "long name", 1, waits, event, &greenlet), 0);
    IS(gevent_name(greenlet, name, sizeof name), 9);
    IS(strcmp(name, "long na"), 0);
    IS(gevent_ready(greenlet), 0);
    IS(gevent_successful(greenlet), 0);
    IS(gevent_result(greenlet, &result), -EAGAIN);
    IS(gevent_join(greenlet, 0.001), -ETIMEDOUT);
    IS(gevent_join(greenlet, NAN), -EINVAL);
    IS(gevent_join(NULL, 0), -EINVAL);
    IS(gevent_link(greenlet, count, &linked), 0);
    IS(gevent_event_set(event), 0);
    IS(gevent_join(greenlet, -1), 0);
    IS(gevent_join(greenlet, -1), 0);
    IS(gevent_result(greenlet, &result), 0);
    IS(strcmp(result, "done"), 0);
    IS(gevent_successful(greenlet), 1);
    IS(gevent_kill(greenlet, -1), 0);
    gevent_sleep(0.01);
    IS(linked, 1);
    IS(gevent_link(greenlet, NULL, NULL), -EINVAL);
    IS(gevent_minimal_ident(NULL), 0);
    gevent_greenlet_free(greenlet);
    gevent_greenlet_free(NULL);
    IS(gevent_getcurrent(&other), -ESRCH);
    IS(gevent_kill_mode(GEVENT_KILL_ERROR), -EINVAL);
    IS(gevent_spawn(leaves, NULL, &greenlet), 0);
    IS(gevent_join(greenlet, -1), 0);
    IS(gevent_result(greenlet, &result), -ECANCELED);
    gevent_greenlet_t *both[] = {greenlet, NULL};
    IS(gevent_joinall(both, 1, -1), 1);
    IS(gevent_joinall(both, 2, -1), -EINVAL);
    IS(gevent_joinall(NULL, 0, -1), 0);
    IS(gevent_joinall(NULL, 1, -1), -EINVAL);
    IS(gevent_killall(both, 1, -1), 0);
    gevent_greenlet_free(greenlet);
    gevent_event_free(event);
}

static void objects(void) {
    gevent_event_t *event;
    gevent_async_result_t *place;
    gevent_semaphore_t *semaphore;
    gevent_rlock_t *lock;
    void *value = NULL;
    IS(gevent_event_new(NULL), -EINVAL);
    IS(gevent_event_new(&event), 0);
    IS(gevent_event_wait(event, 0), -ETIMEDOUT);
    IS(gevent_event_is_set(event), 0);
    gevent_event_set(event);
    IS(gevent_event_wait(event, 0), 0);
    gevent_event_clear(event);
    IS(gevent_event_is_set(event), 0);
    IS(gevent_event_set(NULL), -EINVAL);
    gevent_event_free(event);
    gevent_async_result_new(&place);
    IS(gevent_async_result_get(place, &value, 0.001), -ETIMEDOUT);
    IS(gevent_async_result_ready(place), 0);
    IS(gevent_async_result_set_error(place, 0), -EINVAL);
    IS(gevent_async_result_set_error(place, ENOENT), 0);
    IS(gevent_async_result_ready(place), 1);
    IS(gevent_async_result_get(place, &value, -1), -ENOENT);
    gevent_async_result_set(place, "value");
    IS(gevent_async_result_get(place, &value, -1), 0);
    IS(strcmp(value, "value"), 0);
    gevent_async_result_free(place);
    gevent_semaphore_new(1, 1, &semaphore);
    IS(gevent_semaphore_release(semaphore), -EPERM);
    IS(gevent_semaphore_acquire(semaphore, 0), 0);
    IS(gevent_semaphore_acquire(semaphore, 0.001), -ETIMEDOUT);
    IS(gevent_semaphore_counter(semaphore), 0);
    IS(gevent_semaphore_release(semaphore), 0);
    gevent_semaphore_free(semaphore);
    gevent_rlock_new(&lock);
    IS(gevent_rlock_release(lock), -EPERM);
    IS(gevent_rlock_acquire(lock, -1), 0);
    IS(gevent_rlock_acquire(lock, 0), 0);
    IS(gevent_rlock_locked(lock), 1);
    IS(gevent_rlock_release(lock), 0);
    IS(gevent_rlock_release(lock), 0);
    IS(gevent_rlock_locked(lock), 0);
    IS(gevent_rlock_locked(NULL), -EINVAL);
    gevent_rlock_free(lock);
}

static void queues(void) {
    gevent_queue_t *queue;
    void *item = NULL;
    IS(gevent_queue_new(9, 0, &queue), -EINVAL);
    gevent_queue_new(GEVENT_QUEUE_PRIORITY, 0, &queue);
    gevent_spawn(puts_three, queue, NULL);
    gevent_sleep(0.01);
    IS(gevent_queue_len(queue), 3);
    IS(gevent_queue_unfinished(queue), 3);
    IS(gevent_queue_peek(queue, &item), 0);
    IS(item, 1);
    IS(gevent_queue_len(queue), 3);
    for (long i = 1; i <= 3; i++) {
        IS(gevent_queue_get(queue, &item, -1), 0);
        IS(item, i);
        IS(gevent_queue_task_done(queue), 0);
    }
    IS(gevent_queue_task_done(queue), -EPERM);
    IS(gevent_queue_join(queue, 0), 0);
    IS(gevent_queue_get(queue, &item, -1), -ESHUTDOWN);
    IS(gevent_queue_put(queue, NULL, 0, -1), -ESHUTDOWN);
    gevent_queue_free(queue);
    gevent_queue_new(GEVENT_QUEUE_FIFO, 1, &queue);
    IS(gevent_queue_get(queue, &item, 0), -EAGAIN);
    IS(gevent_queue_get(queue, &item, 0.001), -ETIMEDOUT);
    IS(gevent_queue_get(queue, NULL, 0), -EINVAL);
    IS(gevent_queue_peek(queue, &item), -EAGAIN);
    IS(gevent_queue_peek(queue, NULL), -EINVAL);
    IS(gevent_queue_full(queue), 0);
    IS(gevent_queue_put(queue, "a", 0, 0), 0);
    IS(gevent_queue_full(queue), 1);
    IS(gevent_queue_put(queue, "b", 0, 0), -EAGAIN);
    IS(gevent_queue_put(queue, "b", 0, 0.001), -ETIMEDOUT);
    gevent_queue_free(queue);
    gevent_queue_new(GEVENT_QUEUE_CHANNEL, 0, &queue);
    IS(gevent_queue_put(queue, "a", 0, 0), -EAGAIN);
    gevent_queue_free(queue);
}

static void pools_and_hub(void) {
    gevent_pool_t *pool;
    gevent_threadpool_t *threads;
    gevent_event_t *event;
    gevent_timeout_t *timeout;
    gevent_statistics_t counts;
    void *result = NULL;
    int called = 0;
    IS(gevent_pool_new(0, &pool), -EINVAL);
    gevent_pool_new(1, &pool);
    gevent_event_new(&event);
    IS(gevent_pool_spawn(pool, waits, event, 0, NULL), 0);
    IS(gevent_pool_spawn(pool, waits, event, 0.001, NULL), -ETIMEDOUT);
    IS(gevent_pool_len(pool), 1);
    IS(gevent_pool_join(pool, 0.001), -ETIMEDOUT);
    IS(gevent_pool_kill(pool, -1), 0);
    IS(gevent_pool_join(pool, 0), 0);
    gevent_pool_free(pool);
    IS(gevent_threadpool_new(0, &threads), -EINVAL);
    gevent_threadpool_new(1, &threads);
    IS(gevent_threadpool_apply(threads, on_kernel_thread, event, &result), 0);
    IS(result, event);
    IS(gevent_event_is_set(event), 1);
    gevent_threadpool_free(threads);
    IS(gevent_run_callback(count, &called), 0);
    gevent_sleep(0.05);
    IS(called, 1);
    IS(gevent_hub(&counts), 1);
    IS(counts.guests > 0 && counts.switches > 0, 1);
    IS(gevent_timeout_start(-1, &timeout), -EINVAL);
    gevent_timeout_start(0.01, &timeout);
    IS(gevent_sleep(3600), -ETIME);
    IS(gevent_sleep(0.001), 0);
    IS(gevent_timeout_stop(timeout), -ETIME);
    gevent_timeout_start(3600, &timeout);
    IS(gevent_timeout_stop(timeout), 0);
    IS(gevent_timeout_stop(NULL), -EINVAL);
    gevent_event_clear(event);
    IS(gevent_yield(), 0);
    IS(gevent_idle(), 0);
    IS(gevent_check(), 0);
    IS(gevent_wait_all(60), 0);
    gevent_event_free(event);
}

int main(void) {
    IS(gevent_patch_all(), 0);
    IS(gevent_patch_all(), 0);
    greenlets();
    objects();
    queues();
    pools_and_hub();
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
