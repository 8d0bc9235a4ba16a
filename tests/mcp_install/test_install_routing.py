"""Servers as clients write them: which go through the proxy, how, and which do not."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest
from ascend_guard_mcp.clients.client_files import CLIENTS, places
from ascend_guard_mcp.clients.configuration import read
from ascend_guard_mcp.clients.plan import plan_install
from ascend_guard_mcp.clients.routing import Launcher, Unroutable, route_of, routed, unrouted

LAUNCHER = Launcher("/opt/bin/ascend-guard")


def route(entry: Any, name: str = "s") -> Any:
    """The entry behind the proxy."""
    return routed(name, entry, LAUNCHER)


back = unrouted


@pytest.mark.parametrize(
    ("entry", "why"),
    [
        ({"type": "sse", "url": "https://a/mcp"}, "older SSE transport; the proxy supports streamable HTTP"),
        ({"url": "https://a/sse"}, 'add "type": "http"'),
        ({"url": "https://a/sse/?x=1"}, 'add "type": "http"'),
        ({"type": "ws", "url": "wss://a"}, "the proxy does not know its type 'ws'"),
        ({"type": 1, "command": "x"}, "the proxy does not know its type 1"),
        ({}, 'neither a "command" nor a "url"'),
        ({"type": "http"}, 'neither a "command" nor a "url"'),
        ({"type": "stdio", "url": "https://a"}, '"command" is not text'),
        ({"command": "x", "url": "https://a"}, 'both a "command" and a "url"'),
        ({"command": " "}, '"command" is not text'),
        ({"command": ["x"]}, '"command" is not text'),
        ({"command": "x", "args": "y"}, '"args" are not a list'),
        ({"command": "x", "args": [1]}, '"args" are not a list'),
        ({"url": "unix:///tmp/s.sock"}, "an http or https address"),
        ({"url": "https://me:pw@a/mcp"}, "contains a user or a password"),
        ({"url": 7}, '"url" is not text'),
        ({"url": "https://a", "headers": []}, '"headers" are not an object'),
        ({"url": "https://a", "headers": {"X": 1}}, "header 'X'"),
        ({"url": "https://a", "headers": {"a b": "c"}}, "the proxy refuses it: Write --header"),
        ({"url": "https://a", "headers": {"Accept": "*/*"}}, "the proxy sets that header itself"),
        ({"url": "https://a", "headers": {"X": ""}}, "not set"),
        ({"url": "https://me:${input:pw}@a/mcp"}, "contains a user or a password"),
        ({"url": "https://a/mcp#x"}, "Remove the # and the text after it"),
        ({"url": "https://a", "env": []}, '"env" is not an object'),
        (
            {"type": "http", "url": "https://a", "oauth": {"clientId": "x"}},
            'signs in there itself ("oauth")',
        ),
        ("npx", "not an object"),
    ],
)
def test_what_cannot_go_through_has_a_reason(entry: Any, why: str) -> None:
    """Half a sentence a person understands."""
    with pytest.raises(Unroutable) as caught:
        route(entry)
    assert why in str(caught.value)


def test_a_started_server() -> None:
    """Its command goes behind the proxy's; everything else of it stays, disabled or not."""
    entry = {
        "command": "npx",
        "args": ["-y", "s"],
        "env": {"K": "${input:k}"},
        "disabled": True,
        "cwd": "${workspaceFolder}",
    }
    assert route(entry) == entry | {
        "command": "/opt/bin/ascend-guard",
        "args": ["mcp-proxy", "--name", "s", "--", "npx", "-y", "s"],
    }


def test_headers_stay_out_of_the_arguments() -> None:
    """Their values become variables of the entry, with numbers that are free."""
    entry = {
        "type": "http",
        "url": "https://a/mcp",
        "headers": {"Authorization": "Bearer k", "X-B": "${env:B}"},
        "env": {"ASCEND_MCP_HEADER_2": "mine"},
    }
    assert route(entry) == {
        "type": "stdio",
        "command": "/opt/bin/ascend-guard",
        "args": [
            *("mcp-proxy", "--name", "s", "--url", "https://a/mcp"),
            *(
                "--header",
                "Authorization: env:ASCEND_MCP_HEADER_1",
                "--header",
                "X-B: env:ASCEND_MCP_HEADER_3",
            ),
        ],
        "env": {
            "ASCEND_MCP_HEADER_2": "mine",
            "ASCEND_MCP_HEADER_1": "Bearer k",
            "ASCEND_MCP_HEADER_3": "${env:B}",
        },
    }


def test_plain_http_is_what_it_was() -> None:
    """To another machine the proxy does what the client did; nothing is said of encrypted or local ones."""
    for url, plain in (
        ("http://far/mcp", True),
        ("http://${input:host}/mcp", True),
        ("http://127.0.0.1:8/mcp", False),
        ("https://far/mcp", False),
        ("${input:url}", False),
    ):
        assert ("--insecure" in route({"url": url})["args"]) is plain


def test_lines_stay_lines(tmp_path: Path) -> None:
    """An entry of several lines is indented as it was, with its line endings; one on a line stays on it."""
    path = tmp_path / "mcp.json"
    path.write_bytes(
        b'{"mcp": {"servers": {\r\n\t"s": {\r\n\t\t"url": "https://a",\r\n\t\t"headers": {"X": "y"}\r\n\t},'
        b'\r\n\t"t": {"command": "x"}\r\n}}}'
    )
    assert plan_install(read(path), LAUNCHER).after == (
        b'{"mcp": {"servers": {\r\n\t"s": {\r\n\t\t"command": "/opt/bin/ascend-guard",\r\n\t\t"args": [\r\n'
        b'\t\t\t"mcp-proxy",\r\n\t\t\t"--name",\r\n\t\t\t"s",\r\n\t\t\t"--url",\r\n\t\t\t"https://a",\r\n'
        b'\t\t\t"--header",\r\n\t\t\t"X: env:ASCEND_MCP_HEADER_1"\r\n\t\t],\r\n'
        b'\t\t"env": {\r\n\t\t\t"ASCEND_MCP_HEADER_1": "y"\r\n\t\t}\r\n\t},'
        b'\r\n\t"t": {"command": "/opt/bin/ascend-guard", "args": ["mcp-proxy", "--name", "t", "--", "x"]}\r\n}}}'
    )


@pytest.mark.parametrize(
    ("command", "args", "yes"),
    [
        ("ascend-guard", ["mcp-proxy", "--", "x"], True),
        ("/a/b/ascend-guard", ["--policy", "p", "mcp-proxy", "--name", "s", "--", "x"], True),
        ("C:\\b\\ascend-guard.exe", ["mcp-proxy", "--url", "https://a"], True),
        ("/usr/bin/python3", ["-m", "ascend_guard", "--json", "mcp-proxy", "--", "x"], True),
        ("ascend-guard", ["doctor"], False),
        ("ascend-guard", [], False),
        ("npx", ["ascend-guard", "mcp-proxy", "--", "x"], False),
        ("python", ["-m", "other", "mcp-proxy"], False),
        ("x", ["--", "ascend-guard", "mcp-proxy"], False),
        (7, ["mcp-proxy"], False),
    ],
)
def test_what_counts_as_routed(command: Any, args: list[str], yes: bool) -> None:
    """This program with ``mcp-proxy`` as its command, wherever it is installed; nothing that merely mentions it."""
    assert (route_of({"command": command, "args": args}) is not None) is yes


def test_names_that_look_like_options() -> None:
    """A server may be called ``--`` or ``--url``, and its own arguments may be anything."""
    for name in ("--", "--url", "--name", "", "mcp-proxy"):
        entry = {"command": "--", "args": ["--", "--url", "https://x", "mcp-proxy"]}
        assert back(route(entry, name)) == entry
        by_url = {"url": "https://a", "headers": {"X": "y"}}
        assert back(route(by_url, name)) == by_url


def test_empty_things() -> None:
    """An empty environment stays; empty headers leave none behind; a server without arguments gets an empty list back."""
    assert route({"url": "https://a", "env": {}})["env"] == {}
    assert "env" not in route({"url": "https://a", "headers": {}})
    assert back({"command": "ascend-guard", "args": ["mcp-proxy", "--", "x"]}) == {"command": "x", "args": []}


def test_an_edited_entry_comes_back_with_its_edits() -> None:
    """Another address, another header, options of the proxy: what says what the server is, is kept."""
    entry = {
        "type": "stdio",
        "command": "ascend-guard",
        "args": [
            *("mcp-proxy", "--agent", "me", "--name", "s", "--url", "https://new"),
            *("--header", "X: env:MINE", "--header", "Y:plain: text"),
        ],
        "env": {"MINE": "v", "OTHER": "o"},
    }
    assert back(entry) == {
        "type": "http",
        "url": "https://new",
        "headers": {"X": "v", "Y": "plain: text"},
        "env": {"OTHER": "o"},
    }
    del entry["env"]
    with pytest.raises(Unroutable, match="MINE"):
        back(entry)
    entry["args"] = ["mcp-proxy", "--name", "s", "x"]
    with pytest.raises(Unroutable, match="neither"):
        back(entry)
    assert back(
        {"command": "ascend-guard", "args": ["mcp-proxy", "--url", "https://a", "--header", "Y: z"]}
    ) == {
        "url": "https://a",
        "headers": {"Y": "z"},
    }


@pytest.mark.parametrize(
    ("platform", "environment", "desktop"),
    [
        ("linux", {}, "/h/.config/Claude"),
        ("linux", {"XDG_CONFIG_HOME": "/x"}, "/x/Claude"),
        ("darwin", {"XDG_CONFIG_HOME": "/x"}, "/h/Library/Application Support/Claude"),
        ("win32", {"APPDATA": "/r"}, "/r/Claude"),
        ("win32", {}, "/h/AppData/Roaming/Claude"),
    ],
)
def test_where_clients_keep_their_files(platform: str, environment: dict[str, str], desktop: str) -> None:
    """Each client's files on each system, the project's first."""
    found = list(places(Path("/p"), platform=platform, home=Path("/h"), environment=environment))
    assert {place.client for place in found} == set(CLIENTS)
    paths = [str(place.path) for place in found]
    assert paths[:3] == ["/p/.mcp.json", "/p/.cursor/mcp.json", "/p/.vscode/mcp.json"]
    assert f"{desktop}/claude_desktop_config.json" in paths
    assert "/h/.cursor/mcp.json" in paths
    assert desktop.replace("Claude", "Code/User/mcp.json") in paths
    assert desktop.replace("Claude", "Code/User/settings.json") in paths


def test_profiles_of_vscode_are_found(tmp_path: Path) -> None:
    """Every profile has servers of its own."""
    profile = tmp_path / ".config" / "Code" / "User" / "profiles" / "ab12" / "mcp.json"
    profile.parent.mkdir(parents=True)
    profile.write_text("{}")
    assert profile in [
        place.path for place in places(tmp_path, platform="linux", home=tmp_path, environment={})
    ]
