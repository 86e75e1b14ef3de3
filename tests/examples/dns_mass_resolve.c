/* gevent's dns_mass_resolve: many names, ten at a time. */
#include <gevent.h>
#include <netdb.h>
#include <stdio.h>

static int resolved, running, most;

static void *job(void *number) {
    char name[32];
    struct addrinfo hints = {.ai_socktype = SOCK_STREAM}, *found;
    snprintf(name, sizeof name, "127.0.1.%d", (int)(long)number);
    most = ++running > most ? running : most;
    gevent_sleep(0); /* the others of the pool begin */
    if (getaddrinfo(name, NULL, &hints, &found) == 0) {
        resolved++;
        freeaddrinfo(found);
    }
    running--;
    return NULL;
}

int main(void) {
    gevent_pool_t *pool;
    gevent_patch_all();
    gevent_pool_new(10, &pool);
    for (long i = 1; i <= 200; i++)
        gevent_pool_spawn(pool, job, (void *)i, -1, NULL);
    int joined = gevent_pool_join(pool, 60);
    printf("joined: %d, resolved: %d, at most %d at a time\n", joined, resolved, most);
    gevent_pool_free(pool);
}
/* Output:
joined: 0, resolved: 200, at most 10 at a time
*/
