"""Measure the cost of governing a call: ``python -m benchmarks``, or ``make bench``.

Every result is a ratio between contestants that took turns in one run, because absolute times say more about the machine
than about the code. Each contestant is a separate process that waits while the others run.
"""
