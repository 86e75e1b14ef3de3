/* Where greenlets were spawned: by which functions of C. */
#include <gevent.h>
#include "check.h"
#include <errno.h>
#include <string.h>

static char text[4096];

static void *nothing(void *unused) { return unused; }

static int lines(void) {
    int n = 0;
    for (char *at = text; (at = strchr(at, '\n')) != NULL; at++)
        n++;
    return n;
}

/* Exported, so that it has a name there. */
__attribute__((noinline)) void spawns_this_one(gevent_greenlet_t **out) {
    IS(gevent_spawn(nothing, NULL, out), 0);
    __asm__ volatile("");
}

__attribute__((noinline)) int down(int depth) {
    if (depth > 0) {
        volatile int below = down(depth - 1); /* no loop */
        return below + 1;
    }
    gevent_greenlet_t *greenlet;
    IS(gevent_spawn(nothing, NULL, &greenlet), 0);
    IS(gevent_spawning_stack(greenlet, text, sizeof text), strlen(text));
    gevent_greenlet_free(greenlet);
    return 1;
}

static void *tells_its_own(void *unused) {
    gevent_greenlet_t *own;
    gevent_getcurrent(&own);
    IS(gevent_spawning_stack(own, text, sizeof text) > 0, 1);
    gevent_greenlet_free(own);
    return unused;
}

__attribute__((noinline)) void each_way(void) {
    gevent_greenlet_t *greenlet;
    gevent_pool_t *pool;
    gevent_scope_t *scope;
    void *items[] = {NULL};
    gevent_group_new(&pool);
    gevent_scope_new(&scope);
    IS(gevent_spawn_later(0, NULL, 0, nothing, NULL, &greenlet), 0);
    gevent_spawning_stack(greenlet, text, sizeof text);
    IS(strstr(text, "(each_way+0x") != NULL, 1);
    gevent_greenlet_free(greenlet);
    IS(gevent_pool_spawn(pool, nothing, NULL, -1, &greenlet), 0);
    gevent_spawning_stack(greenlet, text, sizeof text);
    IS(strstr(text, "(each_way+0x") != NULL, 1);
    gevent_greenlet_free(greenlet);
    IS(gevent_scope_spawn(scope, nothing, NULL, &greenlet), 0);
    gevent_spawning_stack(greenlet, text, sizeof text);
    IS(strstr(text, "(each_way+0x") != NULL, 1);
    gevent_greenlet_free(greenlet);
    text[0] = 0;
    IS(gevent_pool_map(pool, tells_its_own, items, 1, NULL), 0);
    IS(strstr(text, "(each_way+0x") != NULL, 1);
    IS(gevent_scope_end(scope), 0);
    gevent_pool_free(pool);
}

int main(void) {
    gevent_greenlet_t *greenlet;
    char start[8];
    gevent_patch_all();
    spawns_this_one(&greenlet);
    int length = gevent_spawning_stack(greenlet, text, sizeof text);
    IS(length, strlen(text));
    /* The innermost first; main called it. */
    IS(strncmp(strchr(text, '('), "(spawns_this_one+0x", 19), 0);
    IS(strstr(text, "/spawned_where(main+0x") != NULL, 1);
    IS(lines() >= 2 && lines() <= 10, 1);
    /* Cut, or only measured; and also when it has ended. */
    IS(gevent_spawning_stack(greenlet, start, sizeof start), length);
    IS(strncmp(start, text, 7), 0);
    IS(strlen(start), 7);
    IS(gevent_spawning_stack(greenlet, NULL, 0), length);
    IS(gevent_spawning_stack(greenlet, start, 0), length);
    IS(gevent_join(greenlet, 60), 0);
    IS(gevent_spawning_stack(greenlet, NULL, 0), length);
    IS(gevent_spawning_stack(NULL, text, sizeof text), -EINVAL);
    gevent_greenlet_free(greenlet);
    /* Not more than ten. */
    IS(down(20), 21);
    IS(lines(), 10);
    each_way();
    IS(gevent_wait_all(60), 0);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
