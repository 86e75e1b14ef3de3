/* An echo server: a greenlet for each connection, in a pool of 50, and 100 clients. */
#include <gevent.h>
#include <arpa/inet.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static struct sockaddr_in address;

static void *echo(void *socket) {
    char bytes[64];
    int fd = (int)(intptr_t)socket;
    for (ssize_t n; (n = recv(fd, bytes, sizeof bytes, 0)) > 0;)
        if (send(fd, bytes, n, 0) != n)
            break;
    close(fd);
    return NULL;
}

static void *serve(void *listener) {
    gevent_pool_t *pool;
    gevent_pool_new(50, &pool);
    for (int fd; (fd = accept((int)(intptr_t)listener, NULL, NULL)) >= 0;)
        gevent_pool_spawn(pool, echo, (void *)(intptr_t)fd, -1, NULL);
    return NULL;
}

static void *client(void *number) {
    char text[32], back[32] = "";
    int fd = socket(AF_INET, SOCK_STREAM, 0);
    size_t n = snprintf(text, sizeof text, "client %d", (int)(intptr_t)number);
    int good = connect(fd, (void *)&address, sizeof address) == 0 &&
               send(fd, text, n, 0) == (ssize_t)n &&
               recv(fd, back, n, MSG_WAITALL) == (ssize_t)n && memcmp(text, back, n) == 0;
    close(fd);
    return (void *)(intptr_t)good;
}

int main(void) {
    enum { CLIENTS = 100 };
    gevent_greenlet_t *server, *clients[CLIENTS];
    socklen_t size = sizeof address;
    int listener = socket(AF_INET, SOCK_STREAM, 0), echoed = 0;
    address.sin_family = AF_INET;
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    if (bind(listener, (void *)&address, size) != 0 || listen(listener, 128) != 0 ||
        getsockname(listener, (void *)&address, &size) != 0)
        return 1;
    gevent_spawn(serve, (void *)(intptr_t)listener, &server);
    for (int i = 0; i < CLIENTS; i++)
        gevent_spawn(client, (void *)(intptr_t)i, &clients[i]);
    gevent_joinall(clients, CLIENTS, -1);
    for (int i = 0; i < CLIENTS; i++) {
        void *good = NULL;
        gevent_result(clients[i], &good);
        echoed += good != NULL;
    }
    printf("%d echoes\n", echoed);
    printf("server killed: %d\n", gevent_kill(server, -1));
}
/* Output:
100 echoes
server killed: 0
*/
