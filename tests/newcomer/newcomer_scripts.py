"""Scripts that newcomers might write, each run in a process of its own."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

PREAMBLE = """
import json, os, resource, shutil, signal, sqlite3, sys, threading, time
from pathlib import Path
import ascend_guard
from ascend_guard import AscendError, governed
from ascend_guard.config import Settings
import ascend_guard.engine.control_plane, ascend_guard.store.sqlite.store  # before anybody loses the right to read them

ascend_guard.store.writer.PARTING = 1.0  # a process that ends tries as long to record what its database does not take

folder = Path(FOLDER)
policy = folder / "policy.yaml"
database = folder / ".ascend" / "ascend.db"
ran, said = [], []

@governed("note")
def note(text):
    ran.append(text)
    return text

def configure():
    return ascend_guard.configure(policy=policy, durability="process")

def attempt(text):
    before = len(ran)
    try:
        note(text)
        kind, message = "", ""
    except Exception as error:
        kind, message = type(error).__name__, str(error)
    said.append({"error": kind, "message": message, "ran": len(ran) > before})
    return not kind

def try_configure():
    try:
        plane = configure()
    except Exception as error:
        said.append({"error": type(error).__name__, "message": str(error), "ran": False})
        return None
    said.append({"error": "", "message": "", "ran": False})
    return plane

def recorded():
    # Outcomes may be written a moment later; whoever looks sees them.
    plane = ascend_guard.config._default
    if plane is not None:
        plane.read(lambda reader: None)

def limit_files(size):
    signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
    resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.RLIM_INFINITY))

def in_child(work):
    sys.stdout.flush()
    pid = os.fork()
    if pid == 0:
        signal.alarm(12)  # a child that hangs is a child that failed
        try:
            work()
            recorded()
        except BaseException as error:
            sys.stderr.write(repr(error))
            os._exit(1)
        os._exit(0)
    return pid

def well(pid):
    return os.waitpid(pid, 0)[1] == 0
"""

ALLOW = "version: 1\ndefault: allow\n"


def run(folder: Path, script: str, *, policy: str = ALLOW, timeout: float = 40) -> Any:
    """Run a script after the preamble; what it said, or what its last line printed as JSON."""
    (folder / "policy.yaml").write_text(policy)
    program = f"FOLDER = {str(folder)!r}\n{PREAMBLE}\n{script}\nprint(json.dumps(said))\n"
    # A pipe, not a file: limits on files must not touch what is said.
    done = subprocess.run(
        [sys.executable, "-c", program], cwd=folder, capture_output=True, text=True, timeout=timeout
    )
    assert done.returncode == 0, done.stderr
    return json.loads(done.stdout.splitlines()[-1])


def trail(database: Path) -> list[str | None]:
    """The outcomes in a trail that another process finds intact."""
    program = (
        "import json\nfrom ascend_guard.config import Settings\n"
        f"plane = Settings(database_url='sqlite:///{database}').control_plane(needs_policy=False)\n"
        "report = plane.verify_audit()\nassert report.ok, report\n"
        "print(json.dumps(plane.read(lambda reader: [row.outcome for row in reader.every_action('local')])))\n"
    )
    done = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, timeout=40)
    assert done.returncode == 0, done.stderr
    outcomes: list[str | None] = json.loads(done.stdout)
    return outcomes


def is_blocked(answer: dict[str, Any], kind: str, *words: str) -> bool:
    """Whether a call did not run, and was told so by one clear error."""
    said = answer["message"].lower()
    return answer["error"] == kind and not answer["ran"] and all(word in said for word in words)
