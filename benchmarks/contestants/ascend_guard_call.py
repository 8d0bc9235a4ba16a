"""One governed no-op call. Usage: DURABILITY FOLDER."""

from __future__ import annotations

import sys

from plane import ARGUMENTS, control_plane
from serving import serve

from ascend_guard import governed

durability, folder = sys.argv[1:]
plane = control_plane(folder, durability)


@governed("refund", "payments", control_plane=plane)
def refund(order_id: str, amount: int, note: str) -> None:
    return None


serve(lambda number: refund(f"order-{number}", *ARGUMENTS))
plane.close()
