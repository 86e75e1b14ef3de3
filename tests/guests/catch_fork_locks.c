// As process_fork_locks, with calls caught: a child's hub starts beside locks that nobody gives back.
// guest: limit=120
// guest: set=GEVENT_SHIM_CATCH=1
#include "process_fork_locks.c"
