/* A sleeper is killed: its cleanup handlers run, in the call of libc's that it is in as in
 * a wait of gevent's. One that has not begun never does; one that asks to see its kill goes
 * on. */
#include <gevent.h>
#include <errno.h>
#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

static void cleanup(void *what) { printf("cleanup of the %s\n", (char *)what); }

static void *sleeps_in_libc(void *name) {
    pthread_cleanup_push(cleanup, name);
    sleep(3600);
    pthread_cleanup_pop(0);
    return "never";
}

static void *sleeps_in_gevent(void *name) {
    pthread_cleanup_push(cleanup, name);
    gevent_sleep(3600);
    pthread_cleanup_pop(0);
    return "never";
}

static void *never(void *name) {
    printf("the %s ran\n", (char *)name);
    return NULL;
}

static void *catches(void *pipe_end) {
    char byte;
    gevent_kill_mode(GEVENT_KILL_ERROR);
    ssize_t got = read(*(int *)pipe_end, &byte, 1);
    printf("read: %zd, %s\n", got, strerror(errno));
    printf("check: %d\n", gevent_check() == -ECANCELED);
    printf("and goes on: %d\n", gevent_sleep(0.001));
    return "went on";
}

static int saw_its_kill;

static void *goes_on_until(void *gate) {
    gevent_kill_mode(GEVENT_KILL_ERROR);
    saw_its_kill = gevent_sleep(3600) == -ECANCELED;
    while (gevent_event_wait(gate, -1) != 0)
        ; /* killed again */
    return "went on";
}

/* A kill waits for the end, for some time, or not at all. */
static void with_and_without_a_limit(void) {
    gevent_greenlet_t *greenlet;
    gevent_event_t *gate;
    gevent_event_new(&gate);
    gevent_spawn(goes_on_until, gate, &greenlet);
    gevent_sleep(0);
    printf("no wait: %d\n", gevent_kill(greenlet, 0) == -ETIMEDOUT);
    printf("some time: %d\n", gevent_kill(greenlet, 0.01) == -ETIMEDOUT);
    printf("killed: %d\n", saw_its_kill);
    gevent_event_set(gate);
    printf("until its end: %d\n", gevent_join(greenlet, -1));
    printf("the dead: %d %d\n", gevent_kill(greenlet, 0), gevent_kill(greenlet, -1));
    gevent_greenlet_free(greenlet);
    gevent_event_free(gate);
}

static void kill_and_tell(gevent_greenlet_t *greenlet) {
    void *result = "none";
    printf("kill: %d\n", gevent_kill(greenlet, -1));
    int known = gevent_result(greenlet, &result);
    printf("%s: %s\n", known == -ECANCELED ? "killed" : "returned", (char *)result);
    gevent_greenlet_free(greenlet);
}

int main(void) {
    gevent_greenlet_t *greenlet;
    int ends[2];
    if (gevent_patch_all() != 0 || pipe(ends) != 0)
        return 1;
    gevent_spawn(sleeps_in_libc, "sleeper in libc", &greenlet);
    gevent_sleep(0);
    kill_and_tell(greenlet);
    gevent_spawn(sleeps_in_gevent, "sleeper in gevent", &greenlet);
    gevent_sleep(0);
    kill_and_tell(greenlet);
    gevent_spawn(never, "unstarted one", &greenlet);
    kill_and_tell(greenlet);
    gevent_spawn(catches, &ends[0], &greenlet);
    gevent_sleep(0);
    kill_and_tell(greenlet);
    with_and_without_a_limit();
}
/* Output:
cleanup of the sleeper in libc
kill: 0
killed: none
cleanup of the sleeper in gevent
kill: 0
killed: none
kill: 0
killed: none
read: -1, Operation canceled
check: 1
and goes on: 0
kill: 0
returned: went on
no wait: 1
some time: 1
killed: 1
until its end: 0
the dead: 0 0
*/
