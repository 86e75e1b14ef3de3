/* Servers: of connections in a pool, of datagrams, on sockets of the program's own, and what
 * stopping one does to a connection that does not end. */
#include <gevent.h>
#include "check.h"
#include <arpa/inet.h>
#include <errno.h>
#include <fcntl.h>
#include <pthread.h>
#include <stdatomic.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

static atomic_int now, most;

static void echo(int socket, void *argument) {
    char bytes[64];
    int at_once = atomic_fetch_add(&now, 1) + 1;
    if (at_once > atomic_load(&most))
        atomic_store(&most, at_once);
    for (ssize_t n; (n = recv(socket, bytes, sizeof bytes, 0)) > 0;)
        if (send(socket, bytes, n, 0) != n)
            break;
    atomic_fetch_sub(&now, 1);
    if (argument)
        gevent_event_set(argument);
}

static void answer(int socket, const void *bytes, size_t n, const void *from, size_t from_size,
                   void *argument) {
    char text[64];
    int size = snprintf(text, sizeof text, "%s%.*s", (char *)argument, (int)n, (char *)bytes);
    sendto(socket, text, size, 0, from, from_size);
}

static void note(void *flag) { *(int *)flag = 1; }
static int cleaned;
static gevent_event_t *inside;
static void never_ends(int socket, void *argument) {
    (void)socket;
    (void)argument;
    pthread_cleanup_push(note, &cleaned);
    gevent_event_set(inside);
    gevent_sleep(3600);
    pthread_cleanup_pop(0);
}

static struct sockaddr_in here(int port) {
    struct sockaddr_in address = {.sin_family = AF_INET, .sin_port = htons(port)};
    address.sin_addr.s_addr = htonl(INADDR_LOOPBACK);
    return address;
}

static int connected(int type, int port) {
    struct sockaddr_in address = here(port);
    int fd = socket(AF_INET, type | SOCK_CLOEXEC, 0);
    if (connect(fd, (void *)&address, sizeof address) != 0)
        return -1;
    return fd;
}

static int port;
static void *client(void *number) {
    char text[32], back[32] = "";
    int fd = connected(SOCK_STREAM, port);
    size_t n = snprintf(text, sizeof text, "client %ld", (long)number);
    int good = send(fd, text, n, 0) == (ssize_t)n &&
               recv(fd, back, n, MSG_WAITALL) == (ssize_t)n && memcmp(text, back, n) == 0;
    close(fd);
    return (void *)(long)good;
}

static void of_connections(void) {
    enum { CLIENTS = 40 };
    gevent_server_t *server;
    gevent_pool_t *pool, *clients;
    void *numbers[CLIENTS], *good[CLIENTS];
    gevent_pool_new(5, &pool);
    gevent_group_new(&clients);
    IS(gevent_stream_server_new("127.0.0.1:0", pool, 2, echo, NULL, &server), 0);
    IS(gevent_server_start(server), 0);
    IS(gevent_server_start(server), 0);
    port = gevent_server_port(server);
    IS(port > 0, 1);
    char address[32], wanted[32];
    snprintf(wanted, sizeof wanted, "127.0.0.1:%d", port);
    IS(gevent_server_address(server, address, sizeof address), strlen(wanted));
    IS(strcmp(address, wanted), 0);
    IS(gevent_server_address(server, address, 4), strlen(wanted));
    IS(strcmp(address, "127"), 0);
    IS(gevent_server_address(server, NULL, 0), strlen(wanted));
    for (long i = 0; i < CLIENTS; i++)
        numbers[i] = (void *)i;
    IS(gevent_pool_map(clients, client, numbers, CLIENTS, good), 0);
    for (int i = 0; i < CLIENTS; i++)
        IS(good[i], 1);
    IS(atomic_load(&most), 5);
    IS(gevent_server_stop(server, 60), 0);
    IS(gevent_server_stop(server, 0), 0);
    IS(gevent_pool_len(pool), 0);
    /* Again. */
    IS(gevent_server_start(server), 0);
    IS(client(NULL), 1);
    IS(gevent_server_stop(server, -1), 0);
    gevent_server_free(server);
    gevent_pool_free(pool);
    gevent_pool_free(clients);
}

static void of_datagrams(void) {
    gevent_server_t *server;
    char back[64] = "";
    IS(gevent_datagram_server_new("127.0.0.1:0", NULL, 2, answer, "you said ", &server), 0);
    IS(gevent_server_start(server), 0);
    int fd = connected(SOCK_DGRAM, gevent_server_port(server));
    IS(send(fd, "hello", 5, 0), 5);
    IS(recv(fd, back, sizeof back, 0), 14);
    IS(strcmp(back, "you said hello"), 0);
    close(fd);
    IS(gevent_server_stop(server, 60), 0);
    gevent_server_free(server);
}

static void *stops(void *server) {
    gevent_event_wait(inside, -1);
    gevent_server_stop(server, 60);
    return NULL;
}

static void on_own_sockets(void) {
    gevent_server_t *server;
    struct sockaddr_in address = here(0);
    char back[8] = "";
    int listener = socket(AF_INET, SOCK_STREAM, 0);
    IS(gevent_stream_server_on(listener, NULL, 0, echo, NULL, &server), -EINVAL);
    IS(bind(listener, (void *)&address, sizeof address), 0);
    IS(listen(listener, 8), 0);
    gevent_event_new(&inside);
    IS(gevent_stream_server_on(listener, NULL, 0, echo, inside, &server), 0);
    gevent_greenlet_t *one, *stopper;
    gevent_spawn(stops, server, &stopper);
    port = gevent_server_port(server);
    gevent_spawn(client, NULL, &one);
    IS(gevent_server_serve_forever(server), 0);
    IS(gevent_join(one, 60), 0);
    /* It is still inside when the server has stopped. */
    IS(gevent_join(stopper, 60), 0);
    gevent_greenlet_free(one);
    gevent_greenlet_free(stopper);
    gevent_server_free(server);
    IS(fcntl(listener, F_GETFD), -1);
    gevent_event_free(inside);

    int local = socket(AF_UNIX, SOCK_DGRAM, 0), datagrams = socket(AF_INET, SOCK_DGRAM, 0);
    IS(gevent_datagram_server_on(local, NULL, 0, answer, "", &server), -EINVAL);
    IS(fcntl(local, F_GETFD), 0);
    close(local);
    IS(bind(datagrams, (void *)&address, sizeof address), 0);
    IS(gevent_datagram_server_on(datagrams, NULL, 0, answer, "", &server), 0);
    IS(gevent_server_start(server), 0);
    int fd = connected(SOCK_DGRAM, gevent_server_port(server));
    IS(send(fd, "x", 1, 0), 1);
    IS(recv(fd, back, sizeof back, 0), 1);
    close(fd);
    IS(gevent_server_stop(server, 60), 0);
    gevent_server_free(server);
}

static void what_does_not_end(void) {
    gevent_server_t *server;
    gevent_event_new(&inside);
    IS(gevent_stream_server_new("127.0.0.1:0", NULL, 0, never_ends, NULL, &server), 0);
    IS(gevent_server_start(server), 0);
    int fd = connected(SOCK_STREAM, gevent_server_port(server));
    IS(gevent_event_wait(inside, 60), 0);
    IS(gevent_server_stop(server, 0.01), -ETIMEDOUT);
    IS(cleaned, 1);
    /* The connection was closed when it was killed. */
    IS(recv(fd, &(char){0}, 1, 0), 0);
    close(fd);
    gevent_server_free(server);
    gevent_event_free(inside);
}

static void bad_input(void) {
    gevent_server_t *server;
    IS(gevent_stream_server_new(NULL, NULL, 0, echo, NULL, &server), -EINVAL);
    IS(gevent_stream_server_new("no port", NULL, 0, echo, NULL, &server), -EINVAL);
    IS(gevent_stream_server_new("127.0.0.1:0", NULL, 0, NULL, NULL, &server), -EINVAL);
    IS(gevent_stream_server_new("127.0.0.1:0", NULL, 0, echo, NULL, NULL), -EINVAL);
    IS(gevent_stream_server_new("192.0.2.1:0", NULL, 0, echo, NULL, &server), -EADDRNOTAVAIL);
    IS(gevent_datagram_server_new("\xff:0", NULL, 0, answer, NULL, &server), -EINVAL);
    IS(gevent_datagram_server_new("127.0.0.1:0", NULL, 0, NULL, NULL, &server), -EINVAL);
    IS(gevent_datagram_server_new("127.0.0.1:0", NULL, 0, answer, NULL, NULL), -EINVAL);
    IS(gevent_datagram_server_on(-1, NULL, 0, answer, NULL, NULL), -EINVAL);
    IS(gevent_stream_server_on(-1, NULL, 0, NULL, NULL, &server), -EINVAL);
    IS(gevent_stream_server_on(-1, NULL, 0, echo, NULL, &server), -EBADF);
    IS(gevent_datagram_server_on(STDIN_FILENO, NULL, 0, answer, NULL, &server), -ENOTSOCK);
    IS(gevent_server_port(NULL), -EINVAL);
    IS(gevent_server_address(NULL, NULL, 0), -EINVAL);
    IS(gevent_server_start(NULL), -EINVAL);
    IS(gevent_server_serve_forever(NULL), -EINVAL);
    IS(gevent_server_stop(NULL, 0), -EINVAL);
    gevent_server_free(NULL);
}

int main(void) {
    IS(gevent_patch_all(), 0);
    of_connections();
    of_datagrams();
    on_own_sockets();
    what_does_not_end();
    bad_input();
    IS(gevent_wait_all(60), 0);
    printf("%d failures\n", failures);
}
/* Output:
0 failures
*/
