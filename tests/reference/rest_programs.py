"""The REST document's reference implementations as programs: its own text, and a ``main`` where it has none.

Only the hosted address in the text is replaced. The document as it is handed around has lost its indentation, which only
Python misses: ``rest_reference.txt`` has it again.
"""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent
DOCUMENT = (HERE / "rest_document.txt").read_text()
HOSTED = "https://pilot.owkai.app"

_NEEDED = {"python": (), "node": ("node",), "go": ("go",), "java": ("java", "javac")}

LANGUAGES = list(_NEEDED)
"""In which the document has an implementation."""

MISSING = {
    language: "there is no " + " and no ".join(lacking)
    for language, needed in _NEEDED.items()
    if (lacking := [name for name in needed if shutil.which(name) is None])
}
"""The languages whose runtime is not on this machine, and what lacks."""

RUNTIMES = [language for language in LANGUAGES if language not in MISSING]

_MAIN = {
    "python": """
import json, sys
try:
    print(json.dumps(evaluate_action_governed(json.loads(sys.argv[1]))))
except AscendBlocked as blocked:
    print("BLOCKED", blocked)
""",
    "node": """
submitActionGoverned(JSON.parse(process.argv[2])).then(
  (result) => console.log(JSON.stringify(result)),
  (error) => console.log(error instanceof AscendBlocked ? 'BLOCKED ' + error.message : 'FAILED ' + error),
);
""",
    "go": """
package main

import (
    "context"
    "encoding/json"
    "errors"
    "fmt"
    "os"

    "reference/ascend"
)

func main() {
    var payload map[string]any
    if err := json.Unmarshal([]byte(os.Args[1]), &payload); err != nil {
        panic(err)
    }
    result, err := ascend.SubmitActionGoverned(context.Background(), payload)
    if errors.Is(err, ascend.ErrAscendBlocked) {
        fmt.Println("BLOCKED", err)
    } else if err != nil {
        fmt.Println("FAILED", err)
    } else {
        text, _ := json.Marshal(result)
        fmt.Println(string(text))
    }
}
""",
    "java": """
public class Main {
    public static void main(String[] args) throws Exception {
        try {
            System.out.println(new AscendClient().submitActionGoverned(args[0]).get("body"));
        } catch (AscendClient.AscendBlocked blocked) {
            System.out.println("BLOCKED " + blocked.getMessage());
        }
    }
}
""",
}


def section(name: str, after: str) -> str:
    """What the document has under a language's name, until the next one's."""
    text = DOCUMENT.split(f"\n{name}\n")[1]
    return text.split(f"\n{after}\n")[0] if after else text


def _source(language: str) -> str:
    if language == "python":
        return (HERE / "rest_reference.txt").read_text()
    return section(*{"node": ("Node.js", "Go"), "go": ("Go", "Java"), "java": ("Java", "")}[language])


class Program:
    """One language's implementation, made for one address.

    Args:
        language: one of ``RUNTIMES``.
        url: the server's.
        folder: its own, which is made.
    """

    def __init__(self, language: str, url: str, folder: Path) -> None:
        folder.mkdir(parents=True)
        text = _source(language)
        assert text.count(HOSTED) == 1
        text = text.replace(HOSTED, url)
        main = _MAIN[language]
        if language == "java":
            (folder / "AscendClient.java").write_text(text)
            (folder / "Main.java").write_text(main)
            _build("javac", "Main.java", "AscendClient.java", folder=folder)
            self._line = ["java", "-cp", str(folder), "Main"]
        elif language == "go":
            (folder / "ascend").mkdir()
            (folder / "go.mod").write_text("module reference\n\ngo 1.18\n")
            (folder / "ascend" / "ascend.go").write_text(text)
            (folder / "main.go").write_text(main)
            _build("go", "build", "-o", "program", ".", folder=folder)
            self._line = [str(folder / "program")]
        else:
            (folder / "program").with_suffix({"python": ".py", "node": ".js"}[language]).write_text(
                text + main
            )
            self._line = {
                "python": [sys.executable, str(folder / "program.py")],
                "node": ["node", str(folder / "program.js")],
            }[language]

    def __call__(self, key: str, action: dict[str, Any]) -> str:
        """Submit an action: the answer's JSON as the program printed it, or ``BLOCKED`` and why."""
        done = subprocess.run(
            [*self._line, json.dumps(action)],
            env={**os.environ, "ASCEND_API_KEY": key},
            capture_output=True,
            text=True,
            timeout=240,
        )
        assert done.returncode == 0, done.stderr
        return done.stdout.strip()


def _build(*line: str, folder: Path) -> None:
    known = folder / "compiled"
    env = {
        **os.environ,
        "GOCACHE": str(known / "cache"),
        "GOPATH": str(known / "path"),
        "GOENV": "off",
        "GOFLAGS": "",
        "GOPROXY": "off",  # the document's implementation needs nothing but Go itself
        "GOTOOLCHAIN": "local",
        "CGO_ENABLED": "0",
    }
    done = subprocess.run(line, cwd=folder, env=env, capture_output=True, text=True, timeout=240)
    assert done.returncode == 0, done.stderr
