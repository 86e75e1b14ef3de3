// Code that the program makes at run time blocks in read(2) until another thread writes: only the
// thread that reads waits. That is so each time, for several at once, and beside timers, and a
// signal that is sent to the reader by another thread ends the call (EINTR).
// guest: limit=60 set=GEVENT_SHIM_RESCUE=1
#include <errno.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <time.h>
#include <unistd.h>

enum { ROUNDS = 100, READERS = 3 };

// mov eax, edi; mov rdi, rsi; mov rsi, rdx; mov rdx, rcx; syscall; ret
static const unsigned char code[] = {0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6,
                                     0x48, 0x89, 0xca, 0x0f, 0x05, 0xc3};
static long (*call)(long nr, long a, void *b, long c);

static int to[READERS][2], back[READERS][2];
static long sums[READERS];

static void *reads(void *index) {
    long i = (long)index;
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char byte = 0;
        if (call(0, to[i][0], &byte, 1) != 1) return (void *)1;
        sums[i] += byte;
        if (write(back[i][1], &byte, 1) != 1) return (void *)1;
    }
    return NULL;
}

static void *receives(void *socket) {
    long sum = 0;
    unsigned char byte;
    while (recv(*(int *)socket, &byte, 1, 0) == 1) sum += byte;
    return (void *)sum;
}

static int handled;
static void handler(int signal) { handled++; }
static int begun[2], never[2];

static void *is_signalled(void *unused) {
    unsigned char byte;
    write(begun[1], "", 1);
    long ret = call(0, never[0], &byte, 1);
    printf("signalled: %ld %s\n", ret < 0 ? -1 : ret, ret == -EINTR ? "EINTR" : "?");
    return NULL;
}

int main(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    call = (long (*)(long, long, void *, long))page;

    int sockets[2];
    socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
    pthread_t receiver, readers[READERS];
    pthread_create(&receiver, NULL, receives, &sockets[0]);
    for (long i = 0; i < READERS; i++) {
        pipe(to[i]);
        pipe(back[i]);
        pthread_create(&readers[i], NULL, reads, (void *)i);
    }
    for (int round = 0; round < ROUNDS; round++) {
        unsigned char byte = round;
        for (int i = 0; i < READERS; i++) write(to[i][1], &byte, 1);
        for (int i = 0; i < READERS; i++) read(back[i][0], &byte, 1);
        write(sockets[1], &byte, 1);
        if (round % 10 == 0) nanosleep(&(struct timespec){0, 100000}, NULL);
    }
    for (int i = 0; i < READERS; i++) {
        void *failed;
        pthread_join(readers[i], &failed);
        printf("%d: %ld %s\n", i, sums[i], failed ? "failed" : "ok");
    }
    close(sockets[1]);
    void *sum;
    pthread_join(receiver, &sum);
    printf("received %ld\n", (long)sum);

    struct sigaction action = {.sa_handler = handler};
    sigaction(SIGUSR1, &action, NULL);
    pipe(begun);
    pipe(never);
    pthread_t signalled;
    pthread_create(&signalled, NULL, is_signalled, NULL);
    char byte;
    read(begun[0], &byte, 1);
    // Until the call has ended: a signal may come before it.
    while (pthread_tryjoin_np(signalled, NULL) == EBUSY) {
        pthread_kill(signalled, SIGUSR1);
        nanosleep(&(struct timespec){0, 1000000}, NULL);
    }
    printf("handled %s\n", handled > 0 ? "yes" : "no");
    return 0;
}
