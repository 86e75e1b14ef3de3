# Perl's interpreter threads: queues, shared data, conditions, detached threads and processes.
use strict;
use warnings;
use threads;
use threads::shared;
use Thread::Queue;
use Thread::Semaphore;

my $jobs = Thread::Queue->new;
my $total : shared = 0;
my @workers = map {
    threads->create(sub {
        my $done = 0;
        while (defined(my $job = $jobs->dequeue)) {
            lock($total);
            $total += $job;
            $done++;
        }
        return $done;
    });
} 1 .. 6;
$jobs->enqueue(1 .. 500);
$jobs->end;
my $done = 0;
$done += $_->join for @workers;
print "$done jobs, total $total\n";

my $ready : shared = 0;
my $waiting = threads->create(sub {
    lock($ready);
    cond_wait($ready) until $ready;
    return "woken";
});
{ lock($ready); $ready = 1; cond_broadcast($ready); }
print $waiting->join, "\n";

my $late : shared = 0;
{
    lock($late);
    print cond_timedwait($late, time + 1) ? "signalled\n" : "timed out\n";
}

my $semaphore = Thread::Semaphore->new(0);
threads->create(sub { $semaphore->up(3) })->detach;
$semaphore->down(3);
print "detached\n";

my @outputs = map { my $n = $_; threads->create(sub { my $text = `echo child $n`; chomp $text; $text }) } 1 .. 4;
print join(", ", map { $_->join } @outputs), "\n";

my ($failed) = threads->create(sub { local $SIG{__WARN__} = sub { }; die "on purpose\n" });
$failed->join;
print "error: ", $failed->error;

my $stuck = threads->create(sub {
    local $SIG{KILL} = sub { threads->exit };
    $semaphore->up;
    select(undef, undef, undef, 0.01) while 1;
});
$semaphore->down;
$stuck->kill("KILL")->join;
print scalar(threads->list), " threads left\n";
