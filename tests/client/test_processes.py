"""What belongs to a process: a forked child is another one, and renews what was registered before it does anything."""

from __future__ import annotations

import subprocess
import sys

_PROGRAM = """
import gc, os
from ascend_guard import processes

here = processes.this_process()
said = []

class Kept:
    made_in = here

    def renew(self):
        said.append(("object", processes.this_process() is not here))
        self.made_in = processes.this_process()

kept, dropped = Kept(), Kept()
processes.renewed_in_children(kept)
processes.renewed_in_children(dropped)
del dropped
gc.collect()
processes.call_in_children(lambda: said.append(("function", processes.this_process() is not here)))
processes.call_around_forks(
    lambda: said.append("before"), lambda: said.append("parent"), lambda: said.append("child")
)
if os.fork() == 0:
    child = processes.this_process()
    assert kept.made_in is child is not here
    assert said == ["before", ("function", True), ("object", True), "child"], said
    if os.fork() == 0:
        assert processes.this_process() not in (here, child)
        os._exit(0)
    os._exit(os.waitstatus_to_exitcode(os.wait()[1]))
assert os.waitstatus_to_exitcode(os.wait()[1]) == 0
assert said == ["before", "parent"], said
assert processes.this_process() is here and kept.made_in is here
print("well")
"""


def test_a_child_renews_what_was_registered() -> None:
    """It is another process first; functions come before objects, dead objects not at all; the parent goes on as it was."""
    done = subprocess.run([sys.executable, "-c", _PROGRAM], capture_output=True, text=True, timeout=60)
    assert (done.returncode, done.stdout, done.stderr) == (0, "well\n", "")
