/* gevent's concurrent_download, with an unmodified libcurl: 100 requests that the server at
 * argv[1] answers after 100 ms each. Its declarations are here, to need no headers. */
#include <gevent.h>
#include <stdio.h>
#include <time.h>

void *curl_easy_init(void);
int curl_easy_setopt(void *, int, ...);
int curl_easy_perform(void *);
void curl_easy_cleanup(void *);
int curl_global_init(long);
enum { URL = 10002, WRITEFUNCTION = 20011, WRITEDATA = 10001, NOSIGNAL = 99 };

static size_t count(char *bytes, size_t size, size_t n, void *total) {
    (void)bytes;
    *(size_t *)total += size * n;
    return size * n;
}

static void *download(void *url) {
    size_t total = 0;
    void *curl = curl_easy_init();
    curl_easy_setopt(curl, URL, url);
    curl_easy_setopt(curl, NOSIGNAL, 1L);
    curl_easy_setopt(curl, WRITEFUNCTION, count);
    curl_easy_setopt(curl, WRITEDATA, &total);
    int error = curl_easy_perform(curl);
    curl_easy_cleanup(curl);
    return error == 0 && total == 5 ? url : NULL;
}

int main(int argc, char **argv) {
    enum { N = 100 };
    struct timespec begin, end;
    gevent_greenlet_t *jobs[N];
    int done = 0;
    (void)argc;
    curl_global_init(3);
    gevent_patch_all();
    clock_gettime(CLOCK_MONOTONIC, &begin);
    for (int i = 0; i < N; i++)
        gevent_spawn(download, argv[1], &jobs[i]);
    gevent_joinall((const gevent_greenlet_t *const *)jobs, N, 60);
    clock_gettime(CLOCK_MONOTONIC, &end);
    for (int i = 0; i < N; i++) {
        void *result = NULL;
        done += gevent_result(jobs[i], &result) == 0 && result != NULL;
    }
    double took = end.tv_sec - begin.tv_sec + (end.tv_nsec - begin.tv_nsec) / 1e9;
    fprintf(stderr, "%d downloads of 100 ms took %.0f ms\n", done, took * 1000);
    printf("%d downloads, one after another 10 s: %s\n", done, took < 5 ? "together" : "no");
}
/* Output:
100 downloads, one after another 10 s: together
*/
