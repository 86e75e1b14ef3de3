// An open(2) for writing waits until the holder of a lease lets go of it (fcntl(2), F_SETLEASE).
// The holder is another thread, which is told by a signal.
// guest: limit=60 set=GEVENT_SHIM_RESCUE=1
#include <fcntl.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

static char path[] = "lease-XXXXXX";
static int held;
static sigset_t io;

static void *lets_go(void *unused) {
    int signal;
    sigwait(&io, &signal);
    return (void *)(long)fcntl(held, F_SETLEASE, F_UNLCK);
}

int main(void) {
    sigemptyset(&io);
    sigaddset(&io, SIGIO);
    pthread_sigmask(SIG_BLOCK, &io, NULL);
    close(mkstemp(path));
    for (int round = 0; round < 3; round++) {
        held = open(path, O_RDONLY);
        if (fcntl(held, F_SETLEASE, F_RDLCK)) {
            puts("no leases here");
            unlink(path);
            return 0;
        }
        pthread_t thread;
        pthread_create(&thread, NULL, lets_go, NULL);
        int fd = open(path, O_WRONLY);
        void *let_go;
        pthread_join(thread, &let_go);
        printf("opened %s, let go %ld\n", fd >= 0 ? "yes" : "no", (long)let_go);
        close(fd);
        close(held);
    }
    unlink(path);
    return 0;
}
