// A thread serves the page faults of others by userfaultfd(2): whoever faults waits in the kernel
// until it does, and everybody else goes on. Missing pages and write-protected ones.
// guest: limit=60 set=GEVENT_SHIM_RESCUE=1
#include <fcntl.h>
#include <linux/userfaultfd.h>
#include <poll.h>
#include <pthread.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/ioctl.h>
#include <sys/mman.h>
#include <sys/syscall.h>
#include <unistd.h>
#ifndef UFFD_USER_MODE_ONLY
#define UFFD_USER_MODE_ONLY 1
#endif

enum { FAULTING = 4, PAGES = 16, PAGE = 4096 };

static unsigned char *area;
static int uffd, stop[2];
static int missing, protected;

static void *serve(void *unused) {
    unsigned char *page = aligned_alloc(PAGE, PAGE);
    struct pollfd fds[2] = {{.fd = uffd, .events = POLLIN}, {.fd = stop[0], .events = POLLIN}};
    for (;;) {
        if (poll(fds, 2, -1) < 1) continue;
        if (fds[1].revents) return NULL;
        struct uffd_msg message;
        if (read(uffd, &message, sizeof message) != sizeof message) continue;
        if (message.event != UFFD_EVENT_PAGEFAULT) abort();
        uint64_t at = message.arg.pagefault.address & ~(uint64_t)(PAGE - 1);
        if (message.arg.pagefault.flags & UFFD_PAGEFAULT_FLAG_WP) {
            struct uffdio_writeprotect let = {.range = {at, PAGE}};
            protected++;
            if (ioctl(uffd, UFFDIO_WRITEPROTECT, &let)) perror("let write");
            continue;
        }
        memset(page, 1 + (at - (uint64_t)area) / PAGE % 200, PAGE);
        struct uffdio_copy copy = {.dst = at, .src = (uint64_t)page, .len = PAGE,
                                   .mode = UFFDIO_COPY_MODE_WP};
        missing++;
        if (ioctl(uffd, UFFDIO_COPY, &copy)) perror("copy");
    }
}

static void *fault(void *index) {
    unsigned char *own = area + (intptr_t)index * PAGES * PAGE;
    long sum = 0;
    for (int page = 0; page < PAGES; page++) {
        sum += own[page * PAGE];
        own[page * PAGE + 1] = 7;
        sum += own[page * PAGE + 1];
    }
    return (void *)sum;
}

int main(void) {
    uffd = syscall(SYS_userfaultfd, O_CLOEXEC | O_NONBLOCK | UFFD_USER_MODE_ONLY);
    if (uffd < 0) {
        puts("no userfaultfd here");
        return 0;
    }
    struct uffdio_api api = {.api = UFFD_API, .features = UFFD_FEATURE_PAGEFAULT_FLAG_WP};
    if (ioctl(uffd, UFFDIO_API, &api)) {
        puts("no write protection here");
        return 0;
    }
    size_t len = (size_t)FAULTING * PAGES * PAGE;
    area = mmap(NULL, len, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    struct uffdio_register asked = {.range = {(uint64_t)area, len},
                                    .mode = UFFDIO_REGISTER_MODE_MISSING | UFFDIO_REGISTER_MODE_WP};
    if (ioctl(uffd, UFFDIO_REGISTER, &asked)) {
        perror("register");
        return 1;
    }
    pipe(stop);
    pthread_t server, faulting[FAULTING];
    pthread_create(&server, NULL, serve, NULL);
    for (intptr_t i = 0; i < FAULTING; i++) pthread_create(&faulting[i], NULL, fault, (void *)i);
    for (int i = 0; i < FAULTING; i++) {
        void *sum;
        pthread_join(faulting[i], &sum);
        printf("%d: %ld\n", i, (long)sum);
    }
    write(stop[1], "", 1);
    pthread_join(server, NULL);
    printf("%d missing, %d protected\n", missing, protected);
    return 0;
}
