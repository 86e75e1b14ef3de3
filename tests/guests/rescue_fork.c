// While a thread is blocked in the kernel by code that the program made at run time, others fork,
// make threads, change their credentials and end: as if it computed. In the children, too.
// guest: limit=60 set=GEVENT_SHIM_RESCUE=1
#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/socket.h>
#include <sys/wait.h>
#include <unistd.h>

// mov eax, edi; mov rdi, rsi; mov rsi, rdx; mov rdx, rcx; syscall; ret
static const unsigned char code[] = {0x89, 0xf8, 0x48, 0x89, 0xf7, 0x48, 0x89, 0xd6,
                                     0x48, 0x89, 0xca, 0x0f, 0x05, 0xc3};
static long (*call)(long nr, long a, void *b, long c);
static int gate[2];

static void *blocks(void *unused) {
    char byte;
    return (void *)call(0, gate[0], &byte, 1);
}

static void *sends(void *socket) {
    for (int i = 0; i < 100; i++) send((int)(long)socket, "", 1, 0);
    return NULL;
}

static int talk(void) {
    int sockets[2], got = 0;
    char byte;
    socketpair(AF_UNIX, SOCK_STREAM, 0, sockets);
    pthread_t thread;
    pthread_create(&thread, NULL, sends, (void *)(long)sockets[0]);
    while (got < 100 && recv(sockets[1], &byte, 1, 0) == 1) got++;
    pthread_join(thread, NULL);
    close(sockets[0]);
    close(sockets[1]);
    return got;
}

static int round_of(int depth) {
    pthread_t blocked;
    pipe(gate);
    pthread_create(&blocked, NULL, blocks, NULL);
    int got = 0;
    for (int i = 0; i < 3; i++) {
        got += talk();
        pid_t pid = fork();
        if (pid == 0) _exit(depth == 0 ? talk() : round_of(depth - 1) % 250);
        int status;
        waitpid(pid, &status, 0);
        got += WIFEXITED(status) ? WEXITSTATUS(status) : 1000;
    }
    if (setgid(getgid())) got = -1;
    write(gate[1], "", 1);
    void *ret;
    pthread_join(blocked, &ret);
    return got + (int)(long)ret;
}

int main(void) {
    void *page = mmap(NULL, 4096, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    memcpy(page, code, sizeof code);
    mprotect(page, 4096, PROT_READ | PROT_EXEC);
    call = (long (*)(long, long, void *, long))page;
    for (int depth = 0; depth < 2; depth++) printf("%d: %d\n", depth, round_of(depth));
    return 0;
}
