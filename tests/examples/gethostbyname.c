/* gevent's first example: three host names are looked up at the same time. */
#include <gevent.h>
#include <arpa/inet.h>
#include <netdb.h>
#include <stdio.h>

static void *look_up(void *name) {
    struct addrinfo hints = {.ai_family = AF_INET, .ai_socktype = SOCK_STREAM}, *found;
    static char text[3][INET_ADDRSTRLEN];
    static int next;
    if (getaddrinfo(name, NULL, &hints, &found) != 0)
        return NULL;
    char *address = text[next++];
    struct sockaddr_in *in = (struct sockaddr_in *)found->ai_addr;
    inet_ntop(AF_INET, &in->sin_addr, address, INET_ADDRSTRLEN);
    freeaddrinfo(found);
    return address;
}

int main(void) {
    const char *names[] = {"localhost", "127.0.0.2", "127.0.0.3"};
    gevent_greenlet_t *jobs[3];
    for (int i = 0; i < 3; i++)
        if (gevent_spawn(look_up, (void *)names[i], &jobs[i]) != 0)
            return 1;
    printf("%d ended\n", gevent_joinall(jobs, 3, 2));
    for (int i = 0; i < 3; i++) {
        void *address = NULL;
        gevent_result(jobs[i], &address);
        printf("%s: %s\n", names[i], (char *)address);
        gevent_greenlet_free(jobs[i]);
    }
}
/* Output:
3 ended
localhost: 127.0.0.1
127.0.0.2: 127.0.0.2
127.0.0.3: 127.0.0.3
*/
