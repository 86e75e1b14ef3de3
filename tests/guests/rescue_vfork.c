// The child of vfork(2) waits for a byte that another thread of its parent writes: the thread that
// made the child waits for its end, and no other.
// guest: limit=60 set=GEVENT_SHIM_RESCUE=1
#include <pthread.h>
#include <stdio.h>
#include <sys/wait.h>
#include <unistd.h>

enum { ROUNDS = 20 };

static int asks[2], answers[2];

static void *answer(void *unused) {
    char byte;
    for (int round = 0; round < ROUNDS; round++) {
        if (read(asks[0], &byte, 1) != 1) return (void *)1;
        if (write(answers[1], &byte, 1) != 1) return (void *)1;
    }
    return NULL;
}

int main(void) {
    pipe(asks);
    pipe(answers);
    pthread_t thread;
    pthread_create(&thread, NULL, answer, NULL);
    int sum = 0;
    for (int round = 0; round < ROUNDS; round++) {
        pid_t pid = vfork();
        if (pid == 0) {
            char byte = round;
            write(asks[1], &byte, 1);
            read(answers[0], &byte, 1);
            _exit(byte);
        }
        int status;
        waitpid(pid, &status, 0);
        sum += WEXITSTATUS(status);
    }
    void *failed;
    pthread_join(thread, &failed);
    printf("%d %s\n", sum, failed ? "failed" : "ok");
    return 0;
}
