"""One small program for each system that `tests.bench.broker` measures.

Each has four commands. `install` creates its schema, `enqueue N` publishes N tasks that do nothing
and prints the seconds it took, `ping N` publishes N tasks, each after the result of the previous
one, and prints the milliseconds of each as JSON. `worker` runs until SIGTERM.
`BENCH_DATABASE` is a libpq URL.
"""
