/* What a call returns, compared. */
#ifndef CHECK_H
#define CHECK_H
#include <stdio.h>

static int failures;

#define IS(call, wanted)                                                          \
    do {                                                                          \
        long got_ = (long)(call), wanted_ = (long)(wanted);                       \
        if (got_ != wanted_) {                                                    \
            printf("%s: %ld, not %ld\n", #call, got_, wanted_);                   \
            failures++;                                                           \
        }                                                                         \
    } while (0)

#endif
