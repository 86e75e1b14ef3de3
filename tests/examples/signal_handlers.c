/* A handler that uses an object which the code that it interrupted may be changing: each call
 * has a result that is defined, and nobody waits for himself. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <signal.h>
#include <sys/time.h>

static gevent_event_t *event;
static gevent_semaphore_t *semaphore;
static volatile sig_atomic_t handled, busy, wrong;

static void handler(int number) {
    (void)number;
    int set = gevent_event_is_set(event);
    int counter = gevent_semaphore_counter(semaphore);
    busy += (set == -EDEADLK) + (counter == -EDEADLK);
    wrong += !(set == 0 || set == 1 || set == -EDEADLK);
    wrong += !((counter >= 0 && counter <= 2) || counter == -EDEADLK);
    handled++;
}

static void *change(void *unused) {
    while (handled < 500) {
        gevent_event_set(event);
        gevent_event_clear(event);
        gevent_semaphore_release(semaphore);
        gevent_semaphore_acquire(semaphore, -1);
    }
    return unused;
}

int main(void) {
    struct itimerval often = {{0, 1000}, {0, 1000}}, never = {{0, 0}, {0, 0}};
    struct sigaction action = {.sa_handler = handler};
    gevent_greenlet_t *greenlets[2];
    gevent_patch_all();
    gevent_event_new(&event);
    gevent_semaphore_new(0, 0, &semaphore);
    sigaction(SIGALRM, &action, NULL);
    setitimer(ITIMER_REAL, &often, NULL);
    for (int i = 0; i < 2; i++)
        gevent_spawn(change, NULL, &greenlets[i]);
    IS(gevent_joinall(greenlets, 2, 60), 2);
    setitimer(ITIMER_REAL, &never, NULL);
    IS(wrong, 0);
    IS(gevent_semaphore_counter(semaphore), 0);
    fprintf(stderr, "%d handlers, %d came inside a change\n", (int)handled, (int)busy);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
