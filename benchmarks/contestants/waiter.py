"""Calls that wait for the approver. Usage: DURABILITY FOLDER.

For each line N: makes a call that is held, prints ``pending ID`` once it waits, and then the time when its body ran.
"""

from __future__ import annotations

import sys
import threading
from time import monotonic_ns, sleep

from plane import ARGUMENTS, control_plane

from ascend_guard import governed

plane = control_plane(sys.argv[2], sys.argv[1])


@governed("pay_out", "payments", control_plane=plane)
def pay_out(order_id: str, amount: int, note: str) -> int:
    return monotonic_ns()


def tell_when_waiting() -> None:
    while True:
        rows = plane.read(lambda reader: reader.actions(plane.organization, status="pending", limit=1))
        if rows:
            print("pending", rows[0].id, flush=True)
            return
        sleep(0.001)


print("ready", flush=True)
for line in sys.stdin:
    teller = threading.Thread(target=tell_when_waiting)
    teller.start()
    ran = pay_out(f"order-{line.strip()}", *ARGUMENTS)
    teller.join()
    print(ran, flush=True)
plane.close()
