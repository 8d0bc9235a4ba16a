"""Another process: digests what it is sent, or shows it to the CEL library, which a bad value can crash."""

from __future__ import annotations

import os
import pickle
import subprocess
import sys
from pathlib import Path
from typing import Any

HERE = Path(__file__).parent


class Worker:
    """One such process, restarted after a crash."""

    def __init__(self, job: str) -> None:
        self._job = job
        self._process: subprocess.Popen[bytes] | None = None

    def ask(self, value: Any) -> Any:
        """What the process answers.

        Raises:
            AssertionError: it crashed.
        """
        if self._process is None:
            self._process = subprocess.Popen(
                [sys.executable, __file__, self._job],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                env=os.environ | {"PYTHONHASHSEED": "4711", "PYTHONPATH": str(HERE)},
            )
        assert self._process.stdin is not None
        assert self._process.stdout is not None
        pickle.dump(value, self._process.stdin)
        self._process.stdin.flush()
        try:
            answer = pickle.load(self._process.stdout)
        except EOFError:
            code = self._process.wait()
            self._process = None
            raise AssertionError(f"the process crashed with {code}") from None
        if isinstance(answer, BaseException):
            raise AssertionError(repr(answer))
        return answer

    def close(self) -> None:
        if self._process is not None:
            self._process.communicate()


def _digest(value: Any) -> str:
    from argument_values import KEY

    from ascend_guard.arguments import digest_of

    return digest_of(value, key=KEY)


def _evaluator() -> Any:
    from cel_expr_python import cel

    environment = cel.NewEnv(variables={"args": cel.Type.Map(cel.Type.STRING, cel.Type.DYN)})
    conditions = [
        environment.compile(text)
        for text in (
            "size(args) >= 0",
            "args == args",
            "args.exists(k, args[k] == 'a' || args[k] > 70)",
            "args.all(k, type(args[k]) == string)",
            "has(args.value) && args.value.matches('a+')",
            "'a' in args && args.a.b == 1",
        )
    ]

    def evaluate(plain: dict[str, Any]) -> list[str]:
        activation = environment.Activation({"args": plain})
        return [str(condition.eval(activation).value()) for condition in conditions]

    return evaluate


def _serve(job: str) -> None:
    work = _digest if job == "digest" else _evaluator()
    while True:
        try:
            value = pickle.load(sys.stdin.buffer)
        except EOFError:
            return
        try:
            answer = work(value)
        except Exception as error:
            answer = error
        pickle.dump(answer, sys.stdout.buffer)
        sys.stdout.buffer.flush()


if __name__ == "__main__":
    _serve(sys.argv[1])
