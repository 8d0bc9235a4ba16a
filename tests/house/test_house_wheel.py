"""What is published is complete."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]

AGENT = """
import ascend_guard, pathlib, sys
assert pathlib.Path(ascend_guard.__file__).is_relative_to(sys.argv[1]), ascend_guard.__file__
from ascend_guard.cli import main
assert main(["init"]) == 0
plane = ascend_guard.configure(policy="ascend-policy.yaml", durability="process")

@ascend_guard.governed("refund", "billing")
def refund(order_id: str, amount: float) -> float:
    return amount

assert refund("A-17", 40.0) == 40.0
assert plane.verify_audit().ok
plane.close()
"""


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The package, built by its own build backend, which the development environment has."""
    folder = tmp_path_factory.mktemp("wheel")
    built = subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "--target", "wheel", "--directory", folder],
        cwd=ROOT,
        capture_output=True,
        text=True,
    )
    found = list(folder.glob("*.whl"))
    assert found, built.stderr
    return found[0]


PACKAGES = {"ascend_guard", "ascend_guard_langchain", "ascend_guard_mcp"}


def test_the_wheel_has_every_file(wheel: Path) -> None:
    """Code, migrations, the starter policy and the mark of types; no tests and nobody's database."""
    inside = set(zipfile.ZipFile(wheel).namelist())
    expected = {
        str(path.relative_to(package.parent))
        for package in (ROOT / "ascend_guard", *(ROOT / "integrations").glob("ascend_guard_*"))
        for path in package.rglob("*")
        if path.is_file() and (path.suffix in (".py", ".sql", ".yaml") or path.name == "py.typed")
    }
    packed = {name for name in inside if name.startswith("ascend_guard")} - {
        name for name in inside if ".dist-info/" in name
    }
    assert {name.partition("/")[0] for name in packed} == PACKAGES
    assert packed == expected
    assert "ascend_guard/engine/starter_policy.yaml" in packed
    assert "ascend_guard/store/migrations/sqlite/0001_actions.sql" in packed
    others = {name.partition("/")[0] for name in inside - packed}
    assert all(name.endswith(".dist-info") for name in others), others
    assert any(name.endswith("licenses/LICENSE") for name in inside)


def test_the_wheel_works(wheel: Path, tmp_path: Path) -> None:
    """Unpacked somewhere else, it writes a policy, is configured, and lets a governed call run."""
    home = tmp_path / "unpacked"
    zipfile.ZipFile(wheel).extractall(home)
    environment = {"PATH": os.environ["PATH"], "PYTHONPATH": str(home)}
    ran = subprocess.run(
        [sys.executable, "-c", AGENT, home], cwd=tmp_path, env=environment, capture_output=True, text=True
    )
    assert ran.returncode == 0, ran.stderr


def test_an_old_python_is_told_which_one_is_needed(tmp_path: Path) -> None:
    """By the checkout's own build, before pip looks for dependencies that have no release for it, with extras too."""
    for file in ("hatch_build.py", "README.md", "LICENSE", "ascend_guard/_version.py"):
        (tmp_path / file).parent.mkdir(exist_ok=True)
        shutil.copy(ROOT / file, tmp_path / file)
    text = (ROOT / "pyproject.toml").read_text()
    assert 'requires-python = ">=3.11"' in text
    (tmp_path / "pyproject.toml").write_text(text.replace('">=3.11"', '">=3.99"'))
    for wanted in (".", ".[server]"):
        refused = subprocess.run(
            [sys.executable, "-m", "pip", "install", "--dry-run", wanted],
            cwd=tmp_path,
            capture_output=True,
            text=True,
            env={**os.environ, "PIP_DISABLE_PIP_VERSION_CHECK": "1"},
        )
        assert refused.returncode == 1
        assert f"ascend-guard needs Python 3.99 or newer; {sys.executable} is " in refused.stderr
        assert "Traceback" not in refused.stderr


def test_the_entry_points_are_there(wheel: Path) -> None:
    """The command and the pytest plugin name what can be imported."""
    archive = zipfile.ZipFile(wheel)
    listed = next(name for name in archive.namelist() if name.endswith("entry_points.txt"))
    said = archive.read(listed).decode()
    assert "ascend-guard = ascend_guard.cli:main" in said
    assert "ascend_guard = ascend_guard.testing_plugin" in said
