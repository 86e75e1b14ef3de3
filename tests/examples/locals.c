/* Variables that each greenlet has of its own, and what happens to them at its end. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static gevent_local_t *counted, *again, *plain;
static atomic_int ended, rounds;
static char mine[] = "mine", yours[] = "yours";

/* May wait, and has nothing of its own any more. */
static void end(void *value) {
    void *now = value;
    IS(gevent_local_get(counted, &now), 0);
    IS(now == NULL, 1);
    IS(gevent_sleep(0.001), 0);
    atomic_fetch_add(&ended, value == yours);
}

static void sets_again(void *value) {
    atomic_fetch_add(&rounds, 1);
    gevent_local_set(again, value);
}

static void *uses(void *unused) {
    void *value = unused;
    IS(gevent_local_get(counted, &value), 0);
    IS(value == NULL, 1);
    IS(gevent_local_set(counted, mine), 0);
    IS(gevent_local_set(plain, mine), 0);
    gevent_yield();
    IS(gevent_local_get(counted, &value), 0);
    IS(value == mine, 1);
    /* What was there is not given to the destructor. */
    IS(gevent_local_set(counted, yours), 0);
    return NULL;
}

static void *is_killed(void *event) {
    gevent_local_set(counted, yours);
    gevent_event_set(event);
    sleep(3600);
    return NULL;
}

static void *leaves(void *unused) {
    gevent_local_set(counted, yours);
    pthread_exit(unused);
}

static void *empties(void *unused) {
    gevent_local_set(counted, yours);
    gevent_local_set(counted, NULL);
    return unused;
}

static void *sets(void *unused) {
    gevent_local_set(again, yours);
    return unused;
}

/* The destructor has run when it has ended. */
static void ends(gevent_function_t function, int wanted) {
    gevent_greenlet_t *greenlet;
    atomic_store(&ended, 0);
    IS(gevent_spawn(function, NULL, &greenlet), 0);
    IS(gevent_join(greenlet, 60), 0);
    IS(atomic_load(&ended), wanted);
    gevent_greenlet_free(greenlet);
}

static void the_killed(void) {
    gevent_greenlet_t *greenlet;
    gevent_event_t *event;
    gevent_event_new(&event);
    atomic_store(&ended, 0);
    gevent_spawn(is_killed, event, &greenlet);
    IS(gevent_event_wait(event, 60), 0);
    IS(gevent_kill(greenlet, -1), 0);
    IS(atomic_load(&ended), 1);
    gevent_greenlet_free(greenlet);
    gevent_event_free(event);
}

static void other_threads(void) {
    pthread_t thread;
    atomic_store(&ended, 0);
    IS(pthread_create(&thread, NULL, uses, NULL), 0);
    IS(pthread_join(thread, NULL), 0);
    IS(atomic_load(&ended), 1);
}

static gevent_local_t *freed;
static void *outlives(void *event) {
    gevent_local_set(freed, yours);
    gevent_event_set(event);
    gevent_sleep(0.01);
    return NULL;
}

static void more_than_libc_has(void) {
    enum { N = 3000 };
    static gevent_local_t *all[N];
    void *value;
    for (long i = 0; i < N; i++) {
        IS(gevent_local_new(NULL, &all[i]), 0);
        IS(gevent_local_set(all[i], (void *)i), 0);
    }
    for (long i = 0; i < N; i++) {
        IS(gevent_local_get(all[i], &value), 0);
        IS(value, i);
        gevent_local_free(all[i]);
    }
    /* A new one has nothing of those. */
    IS(gevent_local_new(NULL, &all[0]), 0);
    IS(gevent_local_get(all[0], &value), 0);
    IS(value == NULL, 1);
    gevent_local_free(all[0]);
}

static void a_freed_one(void) {
    gevent_greenlet_t *greenlet;
    gevent_event_t *event;
    gevent_event_new(&event);
    atomic_store(&ended, 0);
    gevent_local_new(end, &freed);
    gevent_spawn(outlives, event, &greenlet);
    IS(gevent_event_wait(event, 60), 0);
    gevent_local_free(freed);
    IS(gevent_join(greenlet, 60), 0);
    IS(atomic_load(&ended), 0);
    gevent_greenlet_free(greenlet);
    gevent_event_free(event);
}

static void bad_input(void) {
    void *value;
    IS(gevent_local_new(NULL, NULL), -EINVAL);
    IS(gevent_local_get(NULL, &value), -EINVAL);
    IS(gevent_local_get(plain, NULL), -EINVAL);
    IS(gevent_local_set(NULL, NULL), -EINVAL);
    gevent_local_free(NULL);
}

int main(void) {
    void *value;
    gevent_patch_all();
    IS(gevent_local_new(end, &counted), 0);
    IS(gevent_local_new(sets_again, &again), 0);
    IS(gevent_local_new(NULL, &plain), 0);
    IS(gevent_local_set(counted, mine), 0);
    ends(uses, 1);
    ends(leaves, 1);
    ends(empties, 0);
    ends(sets, 0);
    IS(atomic_load(&rounds), 4);
    the_killed();
    other_threads();
    more_than_libc_has();
    a_freed_one();
    IS(gevent_local_get(counted, &value), 0);
    IS(value == mine, 1);
    bad_input();
    IS(gevent_local_set(counted, NULL), 0);
    IS(gevent_wait_all(60), 0);
    gevent_local_free(counted);
    gevent_local_free(again);
    gevent_local_free(plain);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
