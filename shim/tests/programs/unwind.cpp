// Unwinding out of a blocked read: from a handler with backtrace() and with an
// exception, and by cancellation.
#include <cstdio>
#include <cstdlib>
#include <cstring>
#include <dlfcn.h>
#include <execinfo.h>
#include <pthread.h>
#include <signal.h>
#include <unistd.h>

static int pipes[2];
static int found_main;
static bool throws;

static void handler(int) {
    void *frames[64];
    int n = backtrace(frames, 64);
    for (int i = 0; i < n; i++) {
        Dl_info info;
        if (dladdr(frames[i], &info) && info.dli_sname && !strcmp(info.dli_sname, "main")) found_main++;
    }
    if (throws) throw 42;
}

__attribute__((noinline)) static void blocked() {
    char c;
    if (read(pipes[0], &c, 1) == -1) asm volatile("");
}

struct Guard {
    const char *name;
    ~Guard() { printf("destroyed %s\n", name); }
};

static void *cancelled(void *barrier) {
    Guard g{"in a cancelled thread"};
    pthread_barrier_wait((pthread_barrier_t *)barrier);
    blocked();
    return nullptr;
}

static void cancel(void *(*f)(void *)) {
    pthread_t t;
    pthread_barrier_t barrier;
    void *ret;
    pthread_barrier_init(&barrier, nullptr, 2);
    if (pthread_create(&t, nullptr, f, &barrier)) abort();
    pthread_barrier_wait(&barrier);
    pthread_cancel(t);
    pthread_join(t, &ret);
    printf("cancelled %d\n", ret == PTHREAD_CANCELED);
}

static void trace(const char *how) {
    struct sigaction sa = {};
    sa.sa_handler = handler;
    sa.sa_flags = SA_NODEFER;
    sigaction(SIGALRM, &sa, nullptr);
    found_main = 0;
    throws = false;
    ualarm(30000, 0);
    blocked();
    printf("%s: backtrace reached main %d\n", how, found_main);
}

int main() {
    setvbuf(stdout, nullptr, _IOLBF, 0);
    if (pipe(pipes)) return 1;
    // Blocked in dispatch, below whose frames the call's own are.
    trace("wanted");
    auto want = (void (*)(int))dlsym(RTLD_DEFAULT, "gevent_shim_test_want_all");
    if (want) want(0);
    else if (getenv("LD_PRELOAD")) return 2;
    // Blocked in the stub.
    trace("native");
    throws = true;
    try {
        Guard g{"by an exception"};
        ualarm(30000, 0);
        blocked();
        printf("not reached\n");
    } catch (int value) {
        printf("caught %d, backtrace reached main %d\n", value, found_main);
    }
    cancel(cancelled);
    return 0;
}
