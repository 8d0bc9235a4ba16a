"""A person in another process: approves each named action, and reports the time. Usage: DURABILITY FOLDER.

``CLOCK_MONOTONIC`` is the same for all processes of a machine.
"""

from __future__ import annotations

import sys
from time import monotonic_ns

from plane import control_plane

plane = control_plane(sys.argv[2], sys.argv[1])
print("ready", flush=True)
for line in sys.stdin:
    clicked = monotonic_ns()
    plane.approve(line.strip(), approver="benchmark")
    print(clicked, monotonic_ns(), flush=True)
plane.close()
