"""One small program for each system that `tests.bench.broker` measures.

Each is run with a command: `install` makes what it needs in its database, `enqueue N` sends so many
tasks that do nothing and prints the seconds it took, `ping N` sends one after the other, each when
the one before has come back, and prints the milliseconds of each as JSON; `worker` runs until it is
told to end. `BENCH_DATABASE` is a libpq URL.
"""
