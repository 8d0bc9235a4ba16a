"""Clients' configuration files, made up and real, and the two commands around them."""

from __future__ import annotations

import json
from typing import Any

import typer
from hypothesis import strategies as st

from ascend_guard.cli.command import DatabaseOption, JsonOption, PolicyOption
from ascend_guard.cli.commands import mcp_install

VSCODE = """{
  "inputs": [{ "type": "promptString", "id": "token", "password": true }],
  "servers": {
    "github": {
      "type": "http",
      "url": "https://api.example/mcp/",
      "headers": {
        "Authorization": "Bearer ${input:token}",
        "X-Team": "blue-secret"
      }
    },
    "files": {
      "type": "stdio",
      "command": "npx",
      "args": ["-y", "server-files"],
      "envFile": "${workspaceFolder}/.env"
    }
  }
}
"""

BLANKS = ["", " ", "\n", "\r\n", "\t", "\n    "]
COMMENTS = ['// a "note", {\n', "/* [x, */ ", "// old Mac\r", "\n// ünï\r\n  "]
TEXTS = st.one_of(
    st.text(max_size=8),
    st.sampled_from(
        ["-y", "--", "mcp-proxy", "${input:key}", "\ud800", "a b", "C:\\x", 'q"q', "\u2028", "/*", "//"]
    ),
)
SCALARS = st.one_of(
    st.none(), st.booleans(), st.integers(), st.floats(allow_nan=False, allow_infinity=False), TEXTS
)
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXTS, inner, max_size=3),
    max_leaves=8,
)
STRINGS = st.lists(TEXTS, max_size=4)
ENV = st.dictionaries(TEXTS, TEXTS, max_size=3)
PRINTABLE = st.text(st.characters(min_codepoint=32, max_codepoint=126), min_size=1, max_size=8).filter(
    str.strip
)
HEADERS = st.dictionaries(st.sampled_from(["Authorization", "X-Key", "x-other"]), PRINTABLE, max_size=3)


def mixed(required: dict[str, Any], optional: dict[str, Any]) -> st.SearchStrategy[dict[str, Any]]:
    """Objects with their members in any order."""
    return st.fixed_dictionaries(required, optional=optional).flatmap(
        lambda value: st.permutations(list(value.items())).map(dict)
    )


STARTED = mixed(
    {"command": st.one_of(st.sampled_from(["npx", "/opt/x y", "ascend-guard"]), TEXTS.filter(str.strip))},
    {
        "type": st.just("stdio"),
        "args": STRINGS,
        "env": ENV,
        "cwd": TEXTS,
        "disabled": st.booleans(),
        "x": VALUES,
    },
)
BY_URL = mixed(
    {
        "url": st.sampled_from(
            [
                "https://a.example/mcp",
                "http://localhost:1/",
                "http://far.example/",
                "https://${host}:${port}/",
                "${input:where}",
            ]
        )
    },
    {
        "type": st.sampled_from(["http", "streamable-http"]),
        "headers": HEADERS,
        "env": st.dictionaries(st.sampled_from(["A", "ASCEND_MCP_HEADER_1"]), TEXTS, max_size=2),
        "timeout": st.integers(),
        "x": VALUES,
    },
)
OTHER = st.one_of(SCALARS, st.just({"type": "sse", "url": "https://a.example/sse"}), st.just({}))
SERVERS = st.dictionaries(TEXTS, st.one_of(STARTED, BY_URL, OTHER), max_size=4)


@st.composite
def written(draw: st.DrawFn, value: Any, comments: bool = False) -> str:
    """A value as somebody might write it: with blanks, and with comments and trailing commas where these may be."""
    blanks = st.sampled_from([*BLANKS, *COMMENTS] if comments else BLANKS)

    def blank() -> str:
        return draw(blanks)

    def write(value: Any) -> str:
        if isinstance(value, dict):
            inside = [
                f"{blank()}{quoted(key)}{blank()}:{blank()}{write(item)}{blank()}"
                for key, item in value.items()
            ]
        elif isinstance(value, list):
            inside = [f"{blank()}{write(item)}{blank()}" for item in value]
        else:
            return quoted(value)
        end = "," + blank() if comments and inside and draw(st.booleans()) else blank()
        opening, closing = "{}" if isinstance(value, dict) else "[]"
        return f"{opening}{','.join(inside)}{end}{closing}"

    def quoted(value: Any) -> str:
        plain = isinstance(value, str) and "\ud800" not in value and draw(st.booleans())
        return json.dumps(value, ensure_ascii=not plain)

    return f"{blank()}{write(value)}{blank()}"


@st.composite
def configurations(draw: st.DrawFn, comments: bool = False) -> tuple[str, dict[str, Any]]:
    """A client's file, and the servers in it."""
    servers = draw(SERVERS)
    more = draw(st.dictionaries(st.sampled_from(["inputs", "theme", "a.b"]), VALUES, max_size=2))
    shape = draw(st.sampled_from(["mcpServers", "servers", "mcp"]))
    whole = {**more, shape: {"servers": servers} if shape == "mcp" else servers}
    items = draw(st.permutations(list(whole.items())))
    return draw(written(dict(items), comments)), servers


def commands() -> typer.Typer:
    """A command line with these two commands."""
    app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False)
    group = typer.Typer(no_args_is_help=True)
    mcp_install.register(group)
    app.add_typer(group, name="mcp-proxy")

    @app.callback()
    def _root(
        ctx: typer.Context,
        policy: PolicyOption = None,
        database_url: DatabaseOption = None,
        as_json: JsonOption = False,
    ) -> None:
        ctx.obj = {"policy": policy, "database_url": database_url, "as_json": as_json}

    return app
