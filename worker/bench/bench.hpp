// `bulkhead-worker --bench …`: rows that measure this build on this machine, one run of one row in
// a process. The coordinator starts it, run after run, and does the statistics.
#pragma once

namespace bulkhead::bench {

// `--bench sched` prints the rows that there are, `--bench sched ROW P` runs one of them once on P
// processors and prints its figures; JSON both (BenchList, BenchRun). On one processor the process
// keeps to the first CPU that it may use: where the kernel moves a thread is no part of a row.
// Returns the exit code; a row that leaves goroutines parked ends the process here instead.
int bench_main(int argc, char** argv);

}  // namespace bulkhead::bench
