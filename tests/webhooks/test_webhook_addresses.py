"""Where a webhook may lead: never into the server's own network, however the address is written or changed."""

from __future__ import annotations

import itertools
import socket
from ipaddress import IPv4Address, IPv6Address, ip_address, ip_network
from typing import Any

import pytest
from hypothesis import example, given
from hypothesis import strategies as st
from webhook_world import World

from ascend_guard.api.webhooks import WebhookBody, WebhookChange
from ascend_guard.errors import ValidationError
from ascend_guard.server.handling import ServerSettings
from ascend_guard.server.webhooks.sender import Sender, allowed, parse

# IANA's special-purpose registries, multicast, and what clouds keep in public ranges.
SPECIAL_4 = [
    ip_network(text)
    for text in (
        *("0.0.0.0/8", "10.0.0.0/8", "100.64.0.0/10", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12"),
        *("192.0.0.0/24", "192.0.2.0/24", "192.88.99.0/24", "192.168.0.0/16", "198.18.0.0/15"),
        *("198.51.100.0/24", "203.0.113.0/24", "224.0.0.0/4", "240.0.0.0/4", "168.63.129.16/32"),
    )
]
SPECIAL_6 = [
    ip_network(text)
    for text in (
        *(
            "::/128",
            "::1/128",
            "100::/64",
            "2001::/23",
            "2001:db8::/32",
            "2002::/16",
            "3fff::/20",
            "5f00::/16",
        ),
        *("64:ff9b:1::/48", "fc00::/7", "fe80::/10", "fec0::/10", "ff00::/8", "::/96", "fd00:ec2::254/128"),
    )
]


def inside(network: Any) -> st.SearchStrategy[Any]:
    first, last = int(network[0]), int(network[-1])
    kind = IPv4Address if network.version == 4 else IPv6Address
    return st.one_of(st.sampled_from([first, last]), st.integers(first, last)).map(kind)


special_4 = st.sampled_from(SPECIAL_4).flatmap(inside)
special_6 = st.sampled_from(SPECIAL_6).flatmap(inside)
anything_4 = st.one_of(special_4, st.integers(0, 2**32 - 1).map(IPv4Address))


def wrapped(address: IPv4Address) -> list[IPv6Address]:
    """IPv6 addresses that lead to, or through, an IPv4 one."""
    number = int(address)
    return [
        IPv6Address((0xFFFF << 32) | number),  # mapped
        IPv6Address(number),  # compatible
        IPv6Address((0x64FF9B << 96) | number),  # NAT64
        IPv6Address((0x64FF9B0001 << 80) | number),  # NAT64, local use
        IPv6Address((0x2002 << 112) | (number << 80) | 1),  # 6to4
        IPv6Address((0x20010000 << 96) | (number << 64) | 0xFFFF),  # Teredo, its server
        IPv6Address((0x20010000 << 96) | (0x08080808 << 64) | (number ^ 0xFFFFFFFF)),  # Teredo, its client
    ]


@given(st.one_of(special_4, special_6))
@example(ip_address("169.254.169.254"))
@example(ip_address("fd00:ec2::254"))
def test_special_addresses_are_refused(address: Any) -> None:
    """Whatever is not ordinary unicast on the public internet."""
    assert not allowed(address)


@given(anything_4)
def test_public_addresses_and_no_others_are_allowed(address: IPv4Address) -> None:
    """The guard and the registries agree on every IPv4 address."""
    assert allowed(address) is not any(address in network for network in SPECIAL_4)


@given(special_4, st.integers(0, 6))
def test_no_wrapping_hides_an_address(address: IPv4Address, way: int) -> None:
    """IPv4 inside IPv6, in every form there is, leads nowhere the bare address would not."""
    assert not allowed(wrapped(address)[way])


@given(st.one_of(special_4, special_6))
def test_private_settings_never_open_link_local(address: Any) -> None:
    """Where private addresses are allowed, the credentials of the cloud's machine stay out of reach."""
    link_local = ("169.254.0.0/16", "fe80::/10", "fd00:ec2::254/128", "224.0.0.0/4", "ff00::/8", "0.0.0.0/8")
    if any(address in ip_network(text) for text in link_local):
        assert not allowed(address, private=True)
        if isinstance(address, IPv4Address):
            assert not any(allowed(inner, private=True) for inner in wrapped(address))


def spellings(address: IPv4Address) -> list[str]:
    """Ways in which C libraries and browsers read an IPv4 address."""
    a, b, c, d = address.packed
    number = int(address)
    return [
        str(number),
        hex(number),
        f"0{number:o}",
        f"0x{a:x}.0x{b:x}.0x{c:x}.0x{d:x}",
        f"0{a:o}.0{b:o}.0{c:o}.0{d:o}",
        f"{a}.{b}.{c * 256 + d}",
        f"{a}.{b * 65536 + c * 256 + d}",
        f"{a:03d}.{b:03d}.{c:03d}.{d:03d}",
        f"{a}.{b}.{c}.0X{d:X}",
        f"{a}.{b}.{c}.{d}.",
        f"[::ffff:{address}]",
        f"[::ffff:{a:02x}{b:02x}:{c:02x}{d:02x}]",
        f"{a}%2e{b}%2e{c}%2e{d}",
        str(address).translate({ord(digit): 0xFF10 + int(digit) for digit in "0123456789"}),
        str(address).replace(".", "。"),
        f"user@{address}",
        f"example.com@{address}",
        f"example.com:443@{address}",
        f"{address}\\@example.com",
        f"example.com#@{address}",
        f"example.com\t@{address}",
    ]


@given(
    special_4, st.integers(0, 20), st.sampled_from(["", ":443", ":8443"]), st.sampled_from(["", "/", "/x?y"])
)
def test_no_spelling_leads_inside(address: IPv4Address, way: int, port: str, rest: str) -> None:
    """Refused, or read as another host than the one that is hidden in it; the resolver reads like a C library."""
    asked: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        asked.append(host)
        try:
            return [socket.inet_ntoa(socket.inet_aton(host))]
        except OSError:
            return ["93.184.216.34"] if host == "example.com" else [host]

    try:
        target, found = Sender(resolve=resolve).check(f"https://{spellings(address)[way]}{port}{rest}")
    except ValidationError:
        return
    assert target.host == "example.com"
    assert found == ["93.184.216.34"]


@pytest.mark.parametrize(
    "url",
    [
        "http://example.com/",
        "ftp://example.com/",
        "//example.com/",
        "example.com",
        "https://",
        "https:///path",
        "https://:443/",
        "https://user@example.com/",
        "https://user:pass@example.com/",
        "https://@example.com/",
        "https://exa mple.com/",
        "https://example.com/\r\nX: y",
        "https://example.com\\@10.0.0.1/",
        "https://example.com/a\\b",
        "https://bücher.example/",
        "https://ⓛocalhost/",
        "https://example.com:0/",
        "https://example.com:99999/",
        "https://example.com:x/",
        "https://example.com:22/",
        "https://example..com/",
        "https://-x.example/",
        "https://[::1/",
        "https://[fe80::1%25eth0]/",
        "https://[v1.example]/",
        "https://0x/",
        "https://1.2.3/",
        "file:///etc/passwd",
    ],
)
def test_malformed_urls_are_refused(url: str) -> None:
    """What is no plain https URL of a host is not asked for at all."""
    with pytest.raises(ValidationError):
        parse(url)


@given(st.text(max_size=60).map("https://".__add__))
def test_any_text_is_a_target_or_refused(url: str) -> None:
    """No URL breaks the guard, and what passes is plain."""
    try:
        target = parse(url)
    except ValidationError:
        return
    assert (target.host + target.path + target.header).isascii()
    assert not set(target.host + target.path + target.header) & set(" \r\n\t\\@")


def test_ordinary_urls_are_taken_apart() -> None:
    """Host, port, path and Host header; a trailing dot and capitals make no difference."""
    target = parse("https://Hooks.Example.com.:8443/a/b?c=d#e")
    assert (target.host, target.port, target.path) == ("hooks.example.com", 8443, "/a/b?c=d")
    assert target.header == "hooks.example.com:8443"
    assert parse("https://xn--bcher-kva.example?x").path == "/?x"
    assert parse("https://[2606:4700::1111]/").header == "[2606:4700::1111]"


@given(st.lists(st.booleans(), min_size=1, max_size=6))
def test_one_private_address_among_many_is_refused(private: list[bool]) -> None:
    """A name with several addresses must be good in all of them."""
    found = ["10.0.0.1" if one else f"93.184.216.{number}" for number, one in enumerate(private)]
    sender = Sender(resolve=lambda host, port: found)
    if any(private):
        with pytest.raises(ValidationError):
            sender.check("https://example.com/")
    else:
        assert sender.check("https://example.com/")[1] == found[:4]


def test_a_name_that_changes_its_mind_leads_nowhere() -> None:
    """DNS rebinding: good when registered, loopback a moment later; nothing is connected to."""
    answers = itertools.chain([["93.184.216.34"]], itertools.repeat(["127.0.0.1"]))
    sender = Sender(resolve=lambda host, port: next(answers))
    with socket.create_server(("127.0.0.1", 0)) as listening:
        listening.settimeout(0)
        url = f"https://rebinding.example:{listening.getsockname()[1]}/"
        sender.check(url)
        sent = sender.send(url, {}, b"{}")
        assert sent.status_code is None
        assert sent.error is not None
        assert "not public" in sent.error
        with pytest.raises(BlockingIOError):
            listening.accept()


def test_the_address_that_was_checked_is_the_one_connected_to(world: World) -> None:
    """The name is looked up once for a request, and stays the Host header."""
    receiver = world.receiver()
    lookups: list[str] = []

    def resolve(host: str, port: int) -> list[str]:
        lookups.append(host)
        return ["127.0.0.1"] if len(lookups) == 1 else ["127.0.0.2"]

    sent = Sender(private=True, resolve=resolve).send(f"http://hooks.internal:{receiver.port}/in", {}, b"{}")
    assert sent.ok
    assert lookups == ["hooks.internal"]
    assert receiver.received[0][0]["host"] == f"hooks.internal:{receiver.port}"


def test_a_dead_address_gives_way_to_the_next(world: World) -> None:
    """A host with two addresses, of which nobody listens on the first."""
    receiver = world.receiver()
    sender = Sender(private=True, resolve=lambda host, port: ["127.0.0.9", "127.0.0.1"])
    assert sender.send(f"http://two.internal:{receiver.port}/", {}, b"{}").ok


@pytest.mark.parametrize(
    "url",
    [
        "http://127.0.0.1/",
        "https://127.0.0.1/",
        "https://localhost/",
        "https://[::1]/",
        "https://2130706433/",
    ],
)
async def test_registration_and_change_refuse_private_addresses(world: World, url: str) -> None:
    """With the settings as they come, neither a new webhook nor a changed one leads inside."""
    made = await world.hook(world.receiver().url)
    world.services.settings = ServerSettings()
    with pytest.raises(ValidationError):
        await world.call("configure_webhook", WebhookBody(url, ["*"]))
    with pytest.raises(ValidationError):
        await world.call("update_webhook", WebhookChange(url=url), webhook_id=made.webhook_id)
    assert (await world.call("list_webhooks")).total == 1


async def test_delivery_and_test_refuse_private_addresses(world: World) -> None:
    """A webhook of looser days is refused when it is used: nothing reaches its receiver."""
    receiver = world.receiver()
    made = await world.hook(receiver.url)
    world.services.settings = ServerSettings()
    worker = world.worker()
    world.plane().kill(reason="stop", by="ann")
    await world.work(worker)
    tested = await world.call("test_webhook", webhook_id=made.webhook_id)
    assert (tested.success, tested.status_code) == (False, None)
    assert (await world.deliveries(made.webhook_id))[0].status_code is None
    assert receiver.received == []


def test_proxies_of_the_environment_are_not_used(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """A proxy would connect to wherever it resolves the name to."""
    receiver, proxy = world.receiver(), world.receiver()
    for name in ("http_proxy", "HTTP_PROXY", "all_proxy", "https_proxy"):
        monkeypatch.setenv(name, f"http://127.0.0.1:{proxy.port}")
    assert Sender(private=True).send(receiver.url, {}, b"{}").ok
    assert proxy.received == []
