/* Scopes: greenlets that use what is on their spawner's stack, and end before it goes on,
 * also where the spawner is killed or its time is over. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static void *squares(void *number) {
    gevent_yield();
    *(long *)number *= *(long *)number;
    return number;
}

static gevent_scope_t *shared;
static void *spawns_another(void *number) {
    gevent_yield();
    IS(gevent_scope_spawn(shared, squares, number, NULL), 0);
    return NULL;
}

static atomic_int began, cleaned;
static void clean(void *unused) {
    (void)unused;
    atomic_fetch_add(&cleaned, 1);
}
static void *sleeps(void *unused) {
    pthread_cleanup_push(clean, NULL);
    atomic_fetch_add(&began, 1);
    gevent_sleep(3600);
    pthread_cleanup_pop(0);
    return unused;
}
static void *catches(void *done) {
    gevent_kill_mode(GEVENT_KILL_ERROR);
    atomic_fetch_add(&began, 1);
    IS(gevent_sleep(3600), -ECANCELED);
    for (int i = 0; i < 5; i++)
        IS(gevent_sleep(0.002), 0);
    atomic_store((atomic_int *)done, 1);
    return NULL;
}
static void *ends_its_own(void *scope) { return (void *)(long)gevent_scope_end(scope); }

static void until(atomic_int *counter, int wanted) {
    while (atomic_load(counter) < wanted)
        gevent_sleep(0.001);
}

static void all_end(void) {
    enum { N = 20 };
    long numbers[N];
    gevent_scope_t *scope;
    gevent_greenlet_t *last;
    void *result = NULL;
    IS(gevent_scope_new(&scope), 0);
    for (long i = 0; i < N; i++) {
        numbers[i] = i;
        IS(gevent_scope_spawn(scope, squares, &numbers[i], i == N - 1 ? &last : NULL), 0);
    }
    IS(gevent_scope_end(scope), 0);
    for (long i = 0; i < N; i++)
        IS(numbers[i], i * i);
    IS(gevent_ready(last), 1);
    IS(gevent_result(last, &result), 0);
    IS(result == &numbers[N - 1], 1);
    gevent_greenlet_free(last);
    /* Those too that its greenlets spawn. */
    numbers[0] = 7;
    gevent_scope_new(&shared);
    IS(gevent_scope_spawn(shared, spawns_another, &numbers[0], NULL), 0);
    IS(gevent_scope_end(shared), 0);
    IS(numbers[0], 49);
    /* None, and the dead. */
    gevent_scope_new(&scope);
    IS(gevent_scope_kill(scope), 0);
    IS(gevent_scope_end(scope), 0);
    gevent_scope_new(&scope);
    gevent_scope_spawn(scope, squares, &numbers[1], &last);
    IS(gevent_join(last, 60), 0);
    IS(gevent_scope_kill(scope), 0);
    IS(gevent_scope_end(scope), 0);
    gevent_greenlet_free(last);
}

static void a_time_out_kills_the_rest(void) {
    gevent_scope_t *scope;
    gevent_timeout_t *timeout;
    atomic_int done = 0;
    atomic_store(&began, 0);
    atomic_store(&cleaned, 0);
    gevent_scope_new(&scope);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    gevent_scope_spawn(scope, catches, &done, NULL);
    until(&began, 3);
    IS(gevent_timeout_start(0.01, &timeout), 0);
    IS(gevent_timeout_pending(timeout), 1);
    IS(gevent_scope_end(scope), -ETIME);
    IS(gevent_timeout_pending(timeout), 0);
    IS(gevent_timeout_stop(timeout), -ETIME);
    IS(gevent_timeout_pending(NULL), -EINVAL);
    IS(atomic_load(&cleaned), 2);
    /* One that goes on is waited for. */
    IS(atomic_load(&done), 1);
    gevent_scope_new(&scope);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    until(&began, 4);
    IS(gevent_scope_kill(scope), 0);
    IS(gevent_scope_end(scope), 0);
    IS(atomic_load(&cleaned), 3);
}

/* Waits for its scope in its end. */
static void *waits_at_the_end(void *unused) {
    gevent_scope_t *scope;
    gevent_scope_new(&scope);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    gevent_scope_end(scope);
    return unused;
}

/* The call of libc's was left, but no wait has seen the kill yet: this one does, if they have
 * not ended before. */
static void end_scope(void *scope) {
    IS(gevent_scope_kill(scope), 0);
    int ended = gevent_scope_end(scope);
    IS(ended == 0 || ended == -ECANCELED, 1);
}

/* Is killed before it comes there. */
static void *sleeps_in_the_body(void *unused) {
    gevent_scope_t *scope;
    gevent_scope_new(&scope);
    pthread_cleanup_push(end_scope, scope);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    sleep(3600);
    pthread_cleanup_pop(1);
    return unused;
}

static void a_kill_kills_the_rest(gevent_function_t function) {
    gevent_greenlet_t *greenlet;
    atomic_store(&began, 0);
    atomic_store(&cleaned, 0);
    gevent_spawn(function, NULL, &greenlet);
    until(&began, 2);
    IS(gevent_kill(greenlet, -1), 0);
    IS(atomic_load(&cleaned), 2);
    IS(gevent_result(greenlet, NULL), -ECANCELED);
    gevent_greenlet_free(greenlet);
}

static void *kills_its_own(void *scope) {
    pthread_cleanup_push(clean, NULL);
    gevent_scope_kill(scope);
    pthread_cleanup_pop(0);
    return NULL;
}

/* It ends there. */
static void one_of_them_kills_all(void) {
    gevent_scope_t *scope;
    gevent_greenlet_t *killer;
    atomic_store(&began, 0);
    atomic_store(&cleaned, 0);
    gevent_scope_new(&scope);
    gevent_scope_spawn(scope, sleeps, NULL, NULL);
    until(&began, 1);
    gevent_scope_spawn(scope, kills_its_own, scope, &killer);
    IS(gevent_scope_end(scope), 0);
    IS(atomic_load(&cleaned), 2);
    IS(gevent_result(killer, NULL), -ECANCELED);
    gevent_greenlet_free(killer);
}

static void bad_input(void) {
    gevent_scope_t *scope;
    gevent_greenlet_t *own;
    void *result;
    IS(gevent_scope_new(NULL), -EINVAL);
    IS(gevent_scope_spawn(NULL, squares, NULL, NULL), -EINVAL);
    IS(gevent_scope_kill(NULL), -EINVAL);
    IS(gevent_scope_end(NULL), -EINVAL);
    gevent_scope_new(&scope);
    IS(gevent_scope_spawn(scope, NULL, NULL, NULL), -EINVAL);
    /* One of its own can't wait for itself. */
    gevent_scope_spawn(scope, ends_its_own, scope, &own);
    IS(gevent_join(own, 60), 0);
    IS(gevent_result(own, &result), 0);
    IS((long)result, -EDEADLK);
    gevent_greenlet_free(own);
    IS(gevent_scope_end(scope), 0);
}

int main(void) {
    gevent_patch_all();
    all_end();
    a_time_out_kills_the_rest();
    a_kill_kills_the_rest(waits_at_the_end);
    a_kill_kills_the_rest(sleeps_in_the_body);
    one_of_them_kills_all();
    bad_input();
    IS(gevent_wait_all(60), 0);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
