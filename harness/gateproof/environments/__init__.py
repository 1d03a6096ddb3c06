"""Where the system runs, one environment a file, behind the protocols of `interface`."""
