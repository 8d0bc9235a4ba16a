"""``make mutants``: every small fault in a security-critical module must fail a test of its area."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

HERE = Path(__file__).resolve().parent
ROOT = HERE.parent
CACHE = ROOT / ".mutants"
_LEFT_OUT = ("*.pyc", "__pycache__", ".*")


def main(names: list[str]) -> int:
    """Try the mutants of the named modules, or of all; 1 when one of them survives."""
    from targets import TARGETS

    wrong = set(names) - {target.name for target in TARGETS}
    if wrong:
        raise SystemExit(
            f"No such module: {', '.join(sorted(wrong))}. Modules are {', '.join(t.name for t in TARGETS)}."
        )
    CACHE.mkdir(exist_ok=True)
    failed = False
    with tempfile.TemporaryDirectory(prefix="mutants") as place:
        tree = Path(place) / "tree"
        shutil.copytree(ROOT, tree, ignore=shutil.ignore_patterns(*_LEFT_OUT))
        folders = [str(tree / name) for name in ("ascend_guard", "integrations", "tests")]
        compiled = [sys.executable, "-m", "compileall", "-q", "--invalidation-mode", "checked-hash", *folders]
        subprocess.run(compiled, check=True)
        path = os.pathsep.join(map(str, (tree, tree / "integrations", HERE)))
        environment = {**os.environ, "PYTHONPATH": path, "PYTHONDONTWRITEBYTECODE": "1"}
        for target in TARGETS:
            if names and target.name not in names:
                continue
            command = [sys.executable, str(HERE), "--session", target.name, str(tree)]
            failed |= (
                subprocess.run(command, cwd=tree, env=environment, stdin=subprocess.DEVNULL).returncode != 0
            )
    return int(failed)


def session(name: str, tree: Path) -> int:
    """Try the mutants of one module, in a separate process."""
    import pytest
    from session import Session
    from targets import TARGETS

    os.environ["MUTANTS_STDOUT"] = str(os.dup(1))
    target = next(target for target in TARGETS if target.name == name)
    plugin = Session(target, tree, CACHE)
    with (CACHE / f"{name}.collected").open("w") as log:
        os.dup2(log.fileno(), 1)
        arguments = ["-s", "-x", "-p", "no:cacheprovider", f"--basetemp={tree.parent / 'temporary'}"]
        ended = pytest.main([*arguments, *target.tests], plugins=[plugin])
    if ended not in (0, 1) or (ended and not plugin.survivors):
        print(f"The tests of {name} cannot be collected: see {log.name}", file=sys.stderr)
    return int(ended != 0)


if __name__ == "__main__":
    if sys.argv[1:2] == ["--session"]:
        sys.exit(session(sys.argv[2], Path(sys.argv[3])))
    sys.exit(main(sys.argv[1:]))
