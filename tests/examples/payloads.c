/* Kills with a payload: the killed one reads it in its cleanup handlers or after its wait, and
 * others find it when it has ended. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <math.h>
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

static char why[] = "why", other[] = "other";

struct job {
    gevent_event_t *inside;
    void *seen;
    int known;
    int ends[2];
};

static void reads(void *argument) {
    struct job *job = argument;
    job->known = gevent_kill_payload(&job->seen);
}

static void *sleeps_in_gevent(void *argument) {
    struct job *job = argument;
    pthread_cleanup_push(reads, job);
    gevent_event_set(job->inside);
    gevent_sleep(3600);
    pthread_cleanup_pop(0);
    return "never";
}

static void *sleeps_in_libc(void *argument) {
    struct job *job = argument;
    pthread_cleanup_push(reads, job);
    gevent_event_set(job->inside);
    sleep(3600);
    pthread_cleanup_pop(0);
    return "never";
}

static void *goes_on(void *argument) {
    struct job *job = argument;
    gevent_kill_mode(GEVENT_KILL_ERROR);
    gevent_event_set(job->inside);
    if (gevent_hub(NULL)) {
        char byte;
        IS(read(job->ends[0], &byte, 1), -1);
        IS(errno, ECANCELED);
        /* The kill has not been seen yet. */
        IS(gevent_kill_payload(&job->seen), -ENODATA);
        IS(gevent_check(), -ECANCELED);
    } else {
        IS(gevent_sleep(3600), -ECANCELED);
    }
    reads(job);
    IS(gevent_sleep(0), 0);
    return "went on";
}

static void *leaves(void *argument) {
    struct job *job = argument;
    gevent_kill_mode(GEVENT_KILL_ERROR);
    gevent_event_set(job->inside);
    gevent_sleep(3600);
    reads(job);
    pthread_exit(NULL);
}

static void *kills_itself(void *argument) {
    struct job *job = argument;
    gevent_greenlet_t *own;
    gevent_getcurrent(&own);
    gevent_event_set(job->inside);
    pthread_cleanup_push(reads, job);
    gevent_kill_with(own, why, -1);
    pthread_cleanup_pop(0);
    return "never";
}

/* Spawns the job, kills it with that payload, and compares what it saw and what is left. */
static void killed(gevent_function_t function, void *payload, int successful, int result) {
    struct job job = {0};
    gevent_greenlet_t *greenlet;
    void *left = NULL, *value;
    int failed = payload != NULL && !successful;
    IS(pipe(job.ends), 0);
    gevent_event_new(&job.inside);
    IS(gevent_spawn(function, &job, &greenlet), 0);
    IS(gevent_event_wait(job.inside, 60), 0);
    if (function != kills_itself) {
        IS(gevent_ready(greenlet), 0);
        IS(gevent_exception(greenlet, &left), -EAGAIN);
    }
    IS(gevent_kill_with(greenlet, payload, -1), 0);
    IS(job.known, payload ? 0 : -ENODATA);
    IS(job.seen == payload, 1);
    IS(gevent_successful(greenlet), successful);
    IS(gevent_result(greenlet, &value), result);
    IS(gevent_exception(greenlet, &left), failed ? 0 : -ENODATA);
    IS(left == (failed ? payload : NULL), 1);
    IS(gevent_exception(greenlet, NULL), failed ? 0 : -ENODATA);
    /* The dead are not killed. */
    IS(gevent_kill_with(greenlet, other, -1), 0);
    IS(gevent_kill_with(greenlet, other, 0), 0);
    IS(gevent_exception(greenlet, NULL), failed ? 0 : -ENODATA);
    gevent_greenlet_free(greenlet);
    gevent_event_free(job.inside);
    close(job.ends[0]);
    close(job.ends[1]);
}

static void *never(void *ran) {
    *(int *)ran = 1;
    return NULL;
}

static void the_unstarted(void) {
    gevent_greenlet_t *greenlet;
    int ran = 0;
    void *left = NULL;
    IS(gevent_spawn_later(3600, NULL, 0, never, &ran, &greenlet), 0);
    IS(gevent_kill_with(greenlet, why, 60), 0);
    IS(gevent_exception(greenlet, &left), 0);
    IS(left == why, 1);
    IS(gevent_successful(greenlet), 0);
    IS(ran, 0);
    gevent_greenlet_free(greenlet);
}

static atomic_int linked[3];
static void count(void *counter) { atomic_fetch_add((atomic_int *)counter, 1); }

static void *waits(void *event) {
    gevent_event_wait(event, -1);
    return NULL;
}

static void all_of_them(void) {
    enum { N = 3 };
    gevent_greenlet_t *jobs[N + 1];
    gevent_greenlet_t *const *all = jobs;
    gevent_event_t *event;
    void *left = NULL;
    gevent_event_new(&event);
    for (int i = 0; i < N + 1; i++) {
        gevent_spawn(waits, event, &jobs[i]);
        IS(gevent_link(jobs[i], count, &linked[0]), 0);
        IS(gevent_link_value(jobs[i], count, &linked[1]), 0);
        IS(gevent_link_exception(jobs[i], count, &linked[2]), 0);
    }
    IS(gevent_killall_with(all, N, why, -1), 0);
    for (int i = 0; i < N; i++) {
        IS(gevent_exception(jobs[i], &left), 0);
        IS(left == why, 1);
    }
    IS(gevent_kill(jobs[N], -1), 0);
    IS(gevent_successful(jobs[N]), 1);
    /* Links run after the end. */
    for (int i = 0; i < 10000 && atomic_load(&linked[0]) < N + 1; i++)
        gevent_sleep(0.001);
    for (int i = 0; i < 10000 && atomic_load(&linked[2]) < N; i++)
        gevent_sleep(0.001);
    IS(atomic_load(&linked[0]), N + 1);
    IS(atomic_load(&linked[1]), 1);
    IS(atomic_load(&linked[2]), N);
    IS(gevent_killall_with(all, N + 1, why, 0), 0);
    for (int i = 0; i < N + 1; i++)
        gevent_greenlet_free(jobs[i]);
    gevent_event_free(event);
}

static void bad_input(void) {
    gevent_greenlet_t *greenlet;
    gevent_event_t *event;
    void *left;
    gevent_event_new(&event);
    gevent_spawn(waits, event, &greenlet);
    gevent_greenlet_t *both[] = {greenlet, NULL};
    IS(gevent_kill_with(NULL, why, -1), -EINVAL);
    IS(gevent_kill_with(greenlet, why, NAN), -EINVAL);
    IS(gevent_killall_with(NULL, 0, why, -1), 0);
    IS(gevent_killall_with(NULL, 1, why, -1), -EINVAL);
    IS(gevent_killall_with(both, 2, why, -1), -EINVAL);
    IS(gevent_killall_with(both, 1, why, NAN), -EINVAL);
    IS(gevent_kill_payload(NULL), -EINVAL);
    IS(gevent_kill_payload(&left), -ENODATA);
    IS(gevent_exception(NULL, &left), -EINVAL);
    IS(gevent_link_value(NULL, count, NULL), -EINVAL);
    IS(gevent_link_value(greenlet, NULL, NULL), -EINVAL);
    IS(gevent_link_exception(NULL, count, NULL), -EINVAL);
    IS(gevent_link_exception(greenlet, NULL, NULL), -EINVAL);
    gevent_event_set(event);
    IS(gevent_join(greenlet, 60), 0);
    IS(gevent_exception(greenlet, &left), -ENODATA);
    gevent_greenlet_free(greenlet);
    gevent_event_free(event);
}

int main(void) {
    gevent_patch_all();
    killed(sleeps_in_gevent, why, 0, -ECANCELED);
    killed(sleeps_in_libc, why, 0, -ECANCELED);
    killed(goes_on, why, 1, 0);
    killed(leaves, why, 0, -ECANCELED);
    killed(kills_itself, why, 0, -ECANCELED);
    /* Without one it is a plain kill. */
    killed(sleeps_in_gevent, NULL, 1, -ECANCELED);
    killed(sleeps_in_libc, NULL, 1, -ECANCELED);
    the_unstarted();
    all_of_them();
    bad_input();
    IS(gevent_wait_all(60), 0);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
