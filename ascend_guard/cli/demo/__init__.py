"""``ascend-guard demo``: an agent's working day in a few seconds; everything really happens.

Every claim is checked before it is printed. If a claim is wrong, the demo reports that and fails.
"""

from __future__ import annotations

__all__ = ["demo"]


def demo(*, as_json: bool = False) -> int:
    """Play the demo; returns 0 when all claims were true.

    Args:
        as_json: print the events as one JSON value instead of showing them.
    """
    return _play(as_json)


def _play(as_json: bool) -> int:
    import tempfile
    import time
    from pathlib import Path

    from ascend_guard import AscendError, configure
    from ascend_guard.config import Settings

    from .demo_tools import POLICY
    from .scenes import Play, database_url
    from .stage import Stage, Unproven
    from .world import World

    stage = Stage(silent=as_json)
    begun = time.monotonic()

    def played(code: int) -> int:
        if as_json:
            from ascend_guard.cli.output import print_json

            seconds = round(time.monotonic() - begun, 3)
            told = {"scenes": stage.told, "proofs": stage.proofs, "seconds": seconds, "error": stage.error}
            print_json({"ok": code == 0, **told})
        return code

    with tempfile.TemporaryDirectory(prefix="ascend-guard-demo-") as name:
        folder = Path(name)
        (folder / "policy.yaml").write_text(POLICY)
        database = folder / ".ascend" / "ascend.db"
        # Everything is set in code: ASCEND_* variables belong to real work.
        plane = Settings(
            policy=folder / "policy.yaml",
            database_url=database_url(database),
            durability="power",
            agent_id="shop",
            agent_name="Shop agent",
        ).embedded()
        configure(control_plane=plane, waiting="off")  # the scenes show pending actions
        try:
            with World(folder) as world:
                play = Play(stage, plane, world, database)
                play.begin()
                for scene in play.scenes():
                    scene()
        except (Unproven, AscendError) as wrong:
            stage.failed(wrong)
            return played(1)
        finally:
            plane.close()
    if Path(name).exists():
        stage.failed(Unproven(f"the folder {name} should have been deleted"))
        return played(1)
    play.end(time.monotonic() - begun)
    return played(0)
