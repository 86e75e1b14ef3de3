// Many libc calls from several threads; the output does not depend on timing.
#define _GNU_SOURCE
#include <arpa/inet.h>
#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <netdb.h>
#include <poll.h>
#include <pthread.h>
#include <semaphore.h>
#include <setjmp.h>
#include <signal.h>
#include <spawn.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/epoll.h>
#include <sys/eventfd.h>
#include <sys/mman.h>
#include <sys/select.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/timerfd.h>
#include <sys/uio.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#define CHECK(x) do { if (!(x)) { fprintf(stderr, "%s:%d %s errno %d\n", __FILE__, __LINE__, #x, errno); _exit(1); } } while (0)
extern char **environ;
static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t cond = PTHREAD_COND_INITIALIZER;
static pthread_barrier_t barrier;
static sem_t sem;
static int turns;
static __thread int tls = 7;

static void *worker(void *arg) {
    long id = (long)arg;
    int p[2], sv[2];
    char buf[64];
    CHECK(tls == 7);
    tls = (int)id;
    pthread_barrier_wait(&barrier);
    for (int i = 0; i < 200; i++) {
        CHECK(pipe2(p, O_CLOEXEC) == 0);
        CHECK(write(p[1], "hello", 5) == 5);
        struct pollfd pf = {.fd = p[0], .events = POLLIN};
        CHECK(poll(&pf, 1, 1000) == 1);
        CHECK(read(p[0], buf, sizeof buf) == 5);
        close(p[0]); close(p[1]);
        CHECK(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, sv) == 0);
        struct iovec iov[2] = {{"ab", 2}, {"cd", 2}};
        CHECK(writev(sv[0], iov, 2) == 4);
        CHECK(recv(sv[1], buf, 4, MSG_WAITALL) == 4 && !memcmp(buf, "abcd", 4));
        fd_set set; FD_ZERO(&set); FD_SET(sv[0], &set);
        struct timeval tv = {0, 0};
        CHECK(select(sv[0] + 1, &set, 0, 0, &tv) == 0);
        CHECK(read(-1, buf, 1) == -1 && errno == EBADF);
        close(sv[0]); close(sv[1]);
        struct timespec ts = {0, 1000};
        CHECK(nanosleep(&ts, 0) == 0);
        void *m = mmap(0, 65536, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
        CHECK(m != MAP_FAILED && munmap(m, 65536) == 0);
        free(malloc(100000));
    }
    CHECK(tls == (int)id);
    pthread_mutex_lock(&lock);
    while (turns != id) pthread_cond_wait(&cond, &lock);
    turns++;
    pthread_cond_broadcast(&cond);
    pthread_mutex_unlock(&lock);
    sem_post(&sem);
    return (void *)(id * id);
}

static volatile sig_atomic_t signals;
static sigjmp_buf env;
static void on_signal(int s) { (void)s; signals++; }
static void on_jump(int s) { (void)s; siglongjmp(env, 1); }

static void processes(void) {
    int status;
    pid_t pid = fork();
    if (pid == 0) _exit(3);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 3);
    pid = vfork();
    if (pid == 0) _exit(4);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 4);
    char *argv[] = {"sh", "-c", "exit 5", 0};
    CHECK(posix_spawn(&pid, "/bin/sh", 0, 0, argv, environ) == 0);
    CHECK(waitpid(pid, &status, 0) == pid && WEXITSTATUS(status) == 5);
    CHECK(WEXITSTATUS(system("exit 6")) == 6);
    char line[64] = "";
    FILE *f = popen("echo from popen", "r");
    CHECK(f && fgets(line, sizeof line, f) && !strcmp(line, "from popen\n") && pclose(f) == 0);
    CHECK(posix_spawn(&pid, "/nonexistent", 0, 0, argv, environ) == ENOENT);
}

static void handlers(void) {
    struct sigaction sa = {.sa_handler = on_signal};
    CHECK(sigaction(SIGALRM, &sa, 0) == 0 && sigaction(SIGUSR1, &sa, 0) == 0);
    raise(SIGUSR1);
    CHECK(signals == 1);
    int p[2]; char c;
    CHECK(pipe(p) == 0);
    ualarm(20000, 0);
    CHECK(read(p[0], &c, 1) == -1 && errno == EINTR && signals == 2);
    sa.sa_flags = SA_RESTART;
    sigaction(SIGALRM, &sa, 0);
    pid_t child = fork();
    if (child == 0) { pause(); _exit(0); }
    ualarm(20000, 0);
    struct timespec ts = {0, 100000000};
    CHECK(nanosleep(&ts, &ts) == -1 && errno == EINTR && signals == 3);
    kill(child, SIGKILL);
    CHECK(waitpid(child, 0, 0) == child);
    signal(SIGALRM, on_jump);
    if (sigsetjmp(env, 1) == 0) { ualarm(20000, 0); read(p[0], &c, 1); CHECK(0); }
    stack_t st = {.ss_sp = malloc(65536), .ss_size = 65536};
    CHECK(sigaltstack(&st, 0) == 0);
    sa.sa_flags = SA_ONSTACK; sigaction(SIGUSR1, &sa, 0);
    raise(SIGUSR1);
    CHECK(signals == 4);
    sigset_t set; sigemptyset(&set); sigaddset(&set, SIGUSR2);
    sigprocmask(SIG_BLOCK, &set, 0); raise(SIGUSR2);
    int got; CHECK(sigwait(&set, &got) == 0 && got == SIGUSR2);
}

int main(void) {
    enum { N = 8 };
    pthread_t t[N];
    void *ret;
    long sum = 0;
    pthread_barrier_init(&barrier, 0, N);
    sem_init(&sem, 0, 0);
    for (long i = 0; i < N; i++) CHECK(pthread_create(&t[i], 0, worker, (void *)i) == 0);
    for (int i = 0; i < N; i++) CHECK(sem_wait(&sem) == 0);
    for (int i = 0; i < N; i++) { CHECK(pthread_join(t[i], &ret) == 0); sum += (long)ret; }
    printf("sum %ld\n", sum);
    processes();
    handlers();
    int ep = epoll_create1(0), ev = eventfd(0, 0), tf = timerfd_create(CLOCK_MONOTONIC, 0);
    struct epoll_event e = {.events = EPOLLIN, .data.fd = tf}, out;
    CHECK(ep >= 0 && ev >= 0 && tf >= 0 && epoll_ctl(ep, EPOLL_CTL_ADD, tf, &e) == 0);
    struct itimerspec its = {.it_value = {0, 1000000}};
    CHECK(timerfd_settime(tf, 0, &its, 0) == 0 && epoll_wait(ep, &out, 1, -1) == 1 && out.data.fd == tf);
    CHECK(eventfd_write(ev, 5) == 0);
    eventfd_t v; CHECK(eventfd_read(ev, &v) == 0 && v == 5);
    struct stat st; CHECK(stat("/etc/passwd", &st) == 0 && st.st_size > 0);
    DIR *d = opendir("/"); int n = 0; while (readdir(d)) n++; closedir(d); CHECK(n > 3);
    FILE *f = tmpfile(); CHECK(f && fputs("text", f) > 0 && fflush(f) == 0 && ftell(f) == 4); fclose(f);
    struct addrinfo *ai; CHECK(getaddrinfo("127.0.0.1", "80", 0, &ai) == 0); freeaddrinfo(ai);
    CHECK(setgid(getgid()) == 0 && getppid() > 0 && syscall(SYS_getpid) == getpid());
    CHECK(syscall(9999) == -1 && errno == ENOSYS);
    CHECK(syscall(-1) == -1 && errno == ENOSYS);
    struct timespec ts; CHECK(clock_gettime(CLOCK_REALTIME, &ts) == 0 && time(0) > 0);
    printf("done %d\n", signals);
    return 0;
}
