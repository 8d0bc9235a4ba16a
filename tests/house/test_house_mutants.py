"""What ``make mutants`` names exists: modules, tests, changes made by hand, and mutants listed as equivalent."""

from __future__ import annotations

import importlib.util
import sys
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
from house_modules import ROOT

FOLDER = ROOT / "mutants"


def module(name: str) -> ModuleType:
    """A module of the tool, which is a program and no package."""
    spec = importlib.util.spec_from_file_location(f"mutants_{name}", FOLDER / f"{name}.py")
    assert spec is not None
    assert spec.loader is not None
    found = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = found  # dataclasses look their module up
    spec.loader.exec_module(found)
    return found


TARGETS = module("targets").TARGETS


@pytest.mark.parametrize("target", TARGETS, ids=lambda target: target.name)
def test_a_target_names_what_exists(target: Any) -> None:
    """Its tests are there, each change by hand fits its module once, and what is equivalent is a mutant of it."""
    assert [path for path in target.tests if not (ROOT / path).exists()] == []
    source = (ROOT / target.module).read_text()
    assert [old for old, _ in target.by_hand if source.count(old) != 1] == []
    names = {mutant.name for mutant in module("operators").mutants(source, list(target.by_hand))}
    assert names
    assert sorted(set(target.equivalent) - names) == []


def test_each_list_of_equivalent_mutants_belongs_to_a_target() -> None:
    """A renamed module does not leave its list behind, unread."""
    lists = {Path(path).stem for path in (FOLDER / "equivalent").glob("*.txt")}
    assert lists <= {target.name for target in TARGETS}
