/* Waiting for greenlets, events and results together. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <math.h>
#include <unistd.h>

static gevent_event_t *event;
static gevent_async_result_t *result;
static char value[] = "value";

static void *sleeps(void *unused) {
    gevent_sleep(3600);
    return unused;
}

static void *lets_go(void *gate) {
    gevent_event_wait(gate, -1);
    gevent_event_set(event);
    gevent_yield();
    gevent_async_result_set(result, value);
    return NULL;
}

static void *waits_for_them(void *objects) {
    return (void *)(long)gevent_wait_objects(objects, 3, -1, 2);
}

int main(void) {
    gevent_event_t *gate;
    gevent_greenlet_t *sleeper, *helper, *waiter;
    IS(gevent_event_new(&event), 0);
    IS(gevent_event_new(&gate), 0);
    IS(gevent_async_result_new(&result), 0);
    IS(gevent_spawn(sleeps, NULL, &sleeper), 0);
    gevent_object_t objects[] = {
        {GEVENT_OBJECT_GREENLET, sleeper},
        {GEVENT_OBJECT_EVENT, event},
        {GEVENT_OBJECT_RESULT, result},
    };

    /* Nothing is ready yet. */
    IS(gevent_wait_objects(objects, 3, 0, 3), 0);
    IS(gevent_wait_objects(objects, 3, 0.005, 1), 0);
    IS(gevent_wait_objects(objects, 3, -1, 0), 0);
    IS(gevent_wait_objects(NULL, 0, -1, 5), 0);

    /* One after the other, and not the sleeper. */
    IS(gevent_spawn(lets_go, gate, &helper), 0);
    IS(gevent_spawn(waits_for_them, objects, &waiter), 0);
    gevent_iwait_t *iwait;
    IS(gevent_iwait_objects(objects, 3, -1, 2, &iwait), 0);
    IS(gevent_event_set(gate), 0);
    IS(gevent_iwait_next(iwait), 1);
    IS(gevent_iwait_next(iwait), 2);
    IS(gevent_iwait_next(iwait), -ENODATA);
    gevent_iwait_free(iwait);
    void *ready = NULL;
    IS(gevent_join(waiter, -1), 0);
    IS(gevent_result(waiter, &ready), 0);
    IS((long)ready, 2);

    /* What is ready stays so; the rest is waited for no longer than said. */
    IS(gevent_wait_objects(objects, 3, 0, 3), 2);
    IS(gevent_iwait_objects(objects, 3, 0.005, 3, &iwait), 0);
    int first = gevent_iwait_next(iwait), second = gevent_iwait_next(iwait);
    IS(first + second, 3);
    IS(gevent_iwait_next(iwait), -ENODATA);
    gevent_iwait_free(iwait);
    IS(gevent_kill(sleeper, -1), 0);
    IS(gevent_wait_objects(objects, 3, -1, 3), 3);

    /* A time limit of the caller's ends the wait. */
    gevent_event_clear(event);
    gevent_timeout_t *limit;
    IS(gevent_timeout_start(0.005, &limit), 0);
    IS(gevent_wait_objects(&objects[1], 1, -1, 1), -ETIME);
    gevent_timeout_stop(limit);

    /* What can't be meant. */
    gevent_object_t bad[] = {{GEVENT_OBJECT_RESULT + 1, event}, {GEVENT_OBJECT_EVENT, NULL}};
    IS(gevent_wait_objects(NULL, 1, -1, 1), -EINVAL);
    IS(gevent_wait_objects(&bad[0], 1, 0, 1), -EINVAL);
    IS(gevent_wait_objects(&bad[1], 1, 0, 1), -EINVAL);
    IS(gevent_wait_objects(objects, 3, NAN, 1), -EINVAL);
    IS(gevent_iwait_objects(NULL, 1, -1, 1, &iwait), -EINVAL);
    IS(gevent_iwait_objects(&bad[1], 1, -1, 1, &iwait), -EINVAL);
    IS(gevent_iwait_objects(objects, 3, NAN, 1, &iwait), -EINVAL);
    IS(gevent_iwait_objects(objects, 3, -1, 1, NULL), -EINVAL);
    IS(gevent_iwait_next(NULL), -EINVAL);
    gevent_iwait_free(NULL);

    gevent_join(helper, -1);
    gevent_greenlet_free(helper);
    gevent_greenlet_free(waiter);
    gevent_greenlet_free(sleeper);
    gevent_async_result_free(result);
    gevent_event_free(event);
    gevent_event_free(gate);
    printf("%d failures\n", failures);
    return failures != 0;
}

/* Output:
0 failures
*/
