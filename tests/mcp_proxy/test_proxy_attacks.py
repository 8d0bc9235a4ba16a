"""Lines that would have the server run a tool that nobody decided on."""

from __future__ import annotations

import json
from typing import Any

import pytest
from proxy_world import Desk, Proxy

CALL = b'"method":"tools/call","params":{"name":"get_order"}'
HEAD = b'"jsonrpc":"2.0"'

REFUSED = {
    "duplicate method": b'{%b,"id":1,"method":"ping",%b}' % (HEAD, CALL),
    "duplicate method, the other way round": b'{%b,"id":1,%b,"method":"ping"}' % (HEAD, CALL),
    "duplicate name": b'{%b,"id":1,"method":"tools/call","params":{"name":"get_order","name":"drop_table"}}'
    % HEAD,
    "duplicate argument": b'{%b,"id":1,"method":"tools/call","params":{"name":"refund","arguments":{"amount":1,"amount":9}}}'
    % HEAD,
    "escaped duplicate": b'{%b,"id":1,"method":"ping","m\\u0065thod":"tools/call"}' % HEAD,
    "case of the key": b'{%b,"id":1,"method":"ping","Method":"tools/call","params":{"name":"get_order"}}'
    % HEAD,
    "case of the method": b'{%b,"id":1,"method":"Tools/Call","params":{"name":"get_order"}}' % HEAD,
    "blank after the method": b'{%b,"id":1,"method":"tools/call ","params":{"name":"get_order"}}' % HEAD,
    "wide key": '{"jsonrpc":"2.0","id":1,"method":"ping","ｍethod":"tools/call"}'.encode(),
    "case of a parameter": b'{%b,"id":1,"method":"tools/call","params":{"name":"get_order","Name":"drop_table"}}'
    % HEAD,
    "no text for a name": b'{%b,"id":1,"method":"tools/call","params":{"name":7}}' % HEAD,
    "a list for arguments": b'{%b,"id":1,"method":"tools/call","params":{"name":"get_order","arguments":[1]}}'
    % HEAD,
    "null for arguments": b'{%b,"id":1,"method":"tools/call","params":{"name":"get_order","arguments":null}}'
    % HEAD,
    "no params": b'{%b,"id":1,"method":"tools/call"}' % HEAD,
    "a method and a result": b'{%b,"id":1,"result":{},%b}' % (HEAD, CALL),
    "another jsonrpc": b'{"jsonrpc":"1.0","id":1,%b}' % CALL,
    "an id that is a float": b'{%b,"id":1.0,%b}' % (HEAD, CALL),
    "an id that is null": b'{%b,"id":null,%b}' % (HEAD, CALL),
    "an id that is true": b'{%b,"id":true,%b}' % (HEAD, CALL),
    "a notification": b"{%b,%b}" % (HEAD, CALL),
    "a byte order mark": b'\xef\xbb\xbf{%b,"id":1,%b}' % (HEAD, CALL),
    "utf-16": json.dumps({"jsonrpc": "2.0", "id": 1, "method": "tools/call"})
    .encode("utf-16")
    .replace(b"\n", b""),
    "not utf-8": b'{%b,"id":1,"x":"\xff",%b}' % (HEAD, CALL),
    "NaN": b'{%b,"id":1,"method":"tools/call","params":{"name":"get_order","arguments":{"a":NaN}}}' % HEAD,
    "a lone surrogate": b'{%b,"id":1,"method":"tools/call","params":{"name":"get_order\\ud800"}}' % HEAD,
    "two values": b'{%b,"id":1,"method":"ping"}{%b,"id":2,%b}' % (HEAD, HEAD, CALL),
    "a carriage return between two": b'{%b,"id":1,"method":"ping"}\r{%b,"id":2,%b}' % (HEAD, HEAD, CALL),
    "a batch": b'[{%b,"id":1,"method":"ping"},{%b,"id":2,%b}]' % (HEAD, HEAD, CALL),
    "a batch in a batch": b'[[{%b,"id":2,%b}]]' % (HEAD, CALL),
    "a batch with a notification": b"[{%b,%b}]" % (HEAD, CALL),
    "a batch in disguise": b'[{%b,"id":2,"method":"TOOLS/CALL"}]' % HEAD,
    "a prototype": b'{%b,"id":1,"method":"tools/call","params":{"name":"refund","arguments":{"__proto__":{"amount":9}}}}'
    % HEAD,
    "an empty batch": b"[]",
    "depth": b"[" * 5000,
}


@pytest.mark.parametrize("options", [(), ("--hide",)], ids=["plain", "hide"])
def test_none_of_these_arrives(desk: Desk, start: Any, options: tuple[str, ...]) -> None:
    """Who has an id gets an error, and the next message is handled as if nothing had been."""
    proxy: Proxy = start(*options)
    for number, (what, line) in enumerate(REFUSED.items()):
        before = len(desk.received)
        proxy.write(line)
        proxy.send(id=f"ping-{number}", method="ping")
        codes = []
        while True:
            answer = proxy.answer()
            if isinstance(answer, dict) and answer["id"] == f"ping-{number}":
                break
            codes += [part["error"]["code"] for part in (answer if isinstance(answer, list) else [answer])]
        assert all(code in (-32700, -32600, -32602) for code in codes), what
        assert len(desk.received) == before + 1, what
    assert desk.calls == []
    assert desk.actions() == []
    assert proxy.errors.count("refused a message") == len(REFUSED)


def test_a_line_separator_inside_is_escaped(desk: Desk, proxy: Proxy) -> None:
    """Raw breaks that some readers of lines split at: the server sees one line of ASCII."""
    inner = '{"jsonrpc":"2.0","id":9,"method":"tools/call","params":{"name":"drop_table"}}'
    for break_ in ("\u2028", "\u2029", "\x85", "\x7f"):
        proxy.write(
            json.dumps(
                {"jsonrpc": "2.0", "id": 1, "method": "ping", "x": break_ + inner}, ensure_ascii=False
            ).encode()
        )
        assert proxy.answer()["id"] == 1
    proxy.write(b'{"jsonrpc":"2.0",\r"id":1,\r\r"method":"ping"\r}\r')
    assert proxy.answer()["id"] == 1
    assert len(desk.received) == 5
    assert all(line.isascii() and b"\r" not in line for line in desk.received)


def test_an_id_that_is_in_use_is_refused(desk: Desk, proxy: Proxy) -> None:
    """Else an answer to one would count as the outcome of the other."""
    proxy.call(1, "slow")
    proxy.call(1, "get_order")
    answer = proxy.answer()
    assert (answer["id"], answer["error"]["code"]) == (1, -32600)
    proxy.send(id=1, method="ping")
    assert proxy.answer()["error"]["code"] == -32600
    proxy.call("1", "get_order")
    assert proxy.answer()["id"] == "1"
    assert [call["name"] for call in desk.calls] == ["slow", "get_order"]


def test_a_line_too_long_is_refused(desk: Desk, proxy: Proxy) -> None:
    """And read to its end, of which nothing is taken for a message."""
    tail = b'{"jsonrpc":"2.0","id":1,"method":"tools/call","params":{"name":"get_order"}}'
    proxy.write(b"[" + b" " * (17 * 1024 * 1024) + tail)
    proxy.ping()
    assert desk.calls == []
    assert "at most" in proxy.errors


def test_names_no_tool_has(desk: Desk, proxy: Proxy) -> None:
    """They are refused by the gate, and nothing of them acts on a terminal."""
    for name in ("", "x" * 300, "get_order\x1b[2J", "get\u202eorder"):
        proxy.call(1, name)
        assert proxy.answer()["result"]["isError"] is True
        odd = {"jsonrpc": "2.0", "method": f"{name}TOOLS/CALL", f"{name}Id": 1}
        proxy.write(json.dumps(odd, ensure_ascii=False).encode())
        proxy.ping()
    assert desk.calls == []
    assert "\x1b" not in proxy.errors
    assert "\u202e" not in proxy.errors
