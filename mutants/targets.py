"""The modules whose mutants are tried, and the tests of each."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path


@dataclass(frozen=True)
class Target:
    """One module.

    Args:
        module: its path.
        tests: where its tests are; which of them reach a line is measured.
        by_hand: changes that no operator makes: text of the module, and its replacement, with as many lines.
    """

    module: str
    tests: tuple[str, ...]
    by_hand: tuple[tuple[str, str], ...] = field(default=())

    @property
    def name(self) -> str:
        """Its name for ``ONLY``."""
        return Path(self.module).stem.strip("_") + ("_langchain" if "langchain" in self.module else "")

    @property
    def equivalent(self) -> dict[str, str]:
        """Mutants that change nothing that a test could see, with the reason."""
        path = Path(__file__).parent / "equivalent" / f"{self.name}.txt"
        found: dict[str, str] = {}
        name = ""
        for line in path.read_text().splitlines() if path.exists() else ():
            if line.startswith("    "):
                found[name] = f"{found[name]} {line.strip()}".strip()
            elif line and not line.startswith("#"):
                name = line
                found[name] = ""
        for name, reason in found.items():
            if not reason:
                raise SystemExit(f"{path.name} gives no reason for: {name}")
        return found


# Quick tests that are close to the module: a mutant must be found without a schedule of thousands of events.
_FLOW = ("tests/flow", "tests/promises/test_permits.py")
_ANSWERS = ("tests/flow", "tests/client_api/test_operations.py")
_ENGINE = ("tests/engine", "tests/promises/test_permits.py", "tests/store/test_denials.py")
_BINDING = tuple(f"tests/arguments/test_{name}.py" for name in ("binder_choice", "binding", "edited_calls"))
_CANONICAL = tuple(f"tests/arguments/test_{name}.py" for name in ("encoding", "digest", "hostile"))
_LANGCHAIN = tuple(f"tests/langchain/test_lc_{name}.py" for name in ("gate", "bypasses"))

TARGETS = (
    Target(
        "ascend_guard/flow.py",
        _FLOW,
        (
            ("Permit.of(result, call.digest,", "Permit.of(result, approved,"),
            (
                "result.action_id, approved, call.digest, edits",
                "result.action_id, call.digest, call.digest, edits",
            ),
            ("result.action_id, approved, call.digest, edits", "result.action_id, approved, approved, edits"),
            (
                "result.modified_arguments, asked, call.plain)",
                "result.modified_arguments, call.plain, call.plain)",
            ),
            (
                "    except Exception as error:\n        return error",
                "    except AscendError as error:\n        return error",
            ),
        ),
    ),
    Target(
        "ascend_guard/kill_switch.py",
        _ANSWERS,
        (
            ("return state.blocked is False", "return not state.blocked"),
            ("return state.blocked is False", "return state.blocked is not True"),
        ),
    ),
    Target("ascend_guard/replies.py", _ANSWERS),
    Target("ascend_guard/drivers.py", _FLOW),
    Target("ascend_guard/engine/claim.py", _ENGINE),
    Target("ascend_guard/engine/approve.py", _ENGINE),
    Target("ascend_guard/engine/decide.py", _ENGINE),
    Target("ascend_guard/engine/kill.py", (*_ENGINE, "tests/promises/test_kill_barrier.py")),
    Target(
        "ascend_guard/callables/binding.py",
        _BINDING,
        (
            ("{**_keywords(self._partial), **kwargs}", "{**kwargs, **_keywords(self._partial)}"),
            ("return given + args, {", "return args + given, {"),
        ),
    ),
    Target("ascend_guard/callables/binders.py", _BINDING),
    Target("ascend_guard/arguments/canonical.py", _CANONICAL),
    Target("integrations/ascend_guard_langchain/gate.py", _LANGCHAIN),
    Target("integrations/ascend_guard_mcp/gate.py", ("tests/mcp_servers/test_mcp_gate.py",)),
)
