"""What governing a call costs: ``python -m benchmarks``, or ``make bench``.

Everything is a ratio between contestants that took turns in one run, because absolute times say more about
the machine than about the code. Each contestant is a process of its own that waits while the others run.
"""
