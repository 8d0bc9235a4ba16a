"""``ascend-guard init``: write a policy to start from."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from ascend_guard.cli.command import command
from ascend_guard.cli.context import Run
from ascend_guard.cli.files import write_file

DEFAULT = Path("ascend-policy.yaml")


def register(app: typer.Typer) -> None:
    """Register it as a command of the root."""
    command(app, "init")(init)


def init(
    run: Run,
    path: Annotated[Path, typer.Argument(metavar="[PATH]", help="Where to.", show_default=True)] = DEFAULT,
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Write a commented policy to start from."""
    import os
    import shlex

    from ascend_guard.engine.policy import starter_policy

    if os.path.isdir(path):
        path = path / DEFAULT
    write_file(path, [starter_policy().encode()], force=force)
    steps = {
        f"export ASCEND_POLICY={shlex.quote(str(path.absolute()))}": "agents, this command line and doctor find it",
        "ascend-guard policy check": "after every edit",
        "ascend-guard approvals watch": "in a second terminal, while agents run",
    }
    run.emit({"path": str(path.absolute()), "next": list(steps)})
    if not run.json:
        from ascend_guard.cli.output import shown

        run.say(shown(f"Wrote {path}: what agents may do, with a comment on every part.", "green"))
        run.say(shown("Next:", "bold"))
        for step, why in steps.items():
            run.say(shown(f"  # {why}", "dim"))
            run.out.print(shown(f"  {step}", "cyan"), soft_wrap=True)  # to be copied
