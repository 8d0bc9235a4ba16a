"""Registering, changing, listing, testing and forgetting webhooks; whose they are, and what stays secret."""

from __future__ import annotations

import json

import msgspec
import pytest
from hypothesis import given
from hypothesis import strategies as st
from webhook_world import World

from ascend_guard.api.fields import PageQuery
from ascend_guard.api.table import BY_NAME
from ascend_guard.api.webhooks import WebhookBody, WebhookChange
from ascend_guard.engine import webhooks
from ascend_guard.engine.webhooks import seal, unseal, verify_signature
from ascend_guard.errors import AuthorizationDeniedError, NotFoundError, ServerError, ValidationError
from ascend_guard.server.handlers.webhooks import HANDLERS

SECRET = "my-own-secret-of-32-letters-or-so"


def test_every_webhook_row_has_its_handler() -> None:
    """Six rows of the table, six handlers, and every answer of the row's type can be encoded."""
    assert set(HANDLERS) == {name for name in BY_NAME if "webhook" in name or name == "list_deliveries"}


async def test_the_secret_is_shown_once(world: World) -> None:
    """In the answer that made it, whether it was made here or brought along, and nowhere after."""
    url = world.receiver().url
    made = await world.hook(url)
    assert (made.secret or "").startswith("whsec_")
    brought = await world.call("configure_webhook", WebhookBody(url, ["*"], SECRET))
    assert brought.secret == SECRET
    listed = await world.call("list_webhooks")
    changed = await world.call("update_webhook", WebhookChange(secret="x" * 20), webhook_id=made.webhook_id)
    assert [one.secret for one in (*listed.webhooks, changed)] == [None] * 3
    assert [one.webhook_id for one in listed.webhooks] == [made.webhook_id, brought.webhook_id]


async def test_secrets_are_not_in_the_database(world: World) -> None:
    """Not in any file of the store, so in no export of its logs; of the address only its origin."""
    receiver = world.receiver()
    made = await world.call("configure_webhook", WebhookBody(receiver.url, ["*"], SECRET))
    own = await world.hook(receiver.url)
    await world.call("update_webhook", WebhookChange(secret=SECRET[::-1]), webhook_id=made.webhook_id)
    world.plane().kill(reason="stop", by="ann")
    await world.work()
    world.store.flush()
    stored = b"".join(path.read_bytes() for path in world.path.parent.rglob("*") if path.is_file())
    for secret in (SECRET, SECRET[::-1], own.secret or "whsec_"):
        assert secret.encode() not in stored
    assert "hidden" in receiver.url
    assert b"hidden" not in stored
    assert receiver.bodies
    trail = json.dumps(world.trail())
    assert "hidden" not in trail
    assert f"http://127.0.0.1:{receiver.port}" in trail


@given(st.text(st.characters(codec="utf-8"), min_size=1), st.binary(min_size=32, max_size=32))
def test_a_sealed_secret_opens_for_its_webhook_only(secret: str, key: bytes) -> None:
    """Moved to another webhook, opened with another key, or changed, it is refused."""
    sealed = seal(key, "wh_1", secret)
    assert unseal(key, "wh_1", sealed) == secret
    flipped = sealed[:-1] + ("0" if sealed[-1] != "0" else "1")
    for other_key, webhook, text in (
        (key, "wh_2", sealed),
        (key[::-1] + b"x", "wh_1", sealed),
        (key, "wh_1", flipped),
    ):
        with pytest.raises(ServerError):
            unseal(other_key, webhook, text)


async def test_every_change_is_on_record(world: World) -> None:
    """Who did it, to which, and what changed."""
    url = world.receiver().url
    made = await world.hook(url, "action.denied", agent_id="billing")
    await world.call("update_webhook", WebhookChange(active=False, events=["*"]), webhook_id=made.webhook_id)
    await world.call("delete_webhook", webhook_id=made.webhook_id)
    trail = world.trail()
    assert [one["event"] for one in trail] == ["webhook.created", "webhook.updated", "webhook.deleted"]
    assert {(one["actor"], one["webhook_id"]) for one in trail} == {("key:k1", made.webhook_id)}
    assert trail[1]["changed"] == ["active", "events"]
    assert world.plane().verify_audit().ok


@pytest.mark.parametrize("name", ["update_webhook", "delete_webhook", "test_webhook", "list_deliveries"])
async def test_tenants_never_see_each_other(world: World, name: str) -> None:
    """Another organization's webhook does not exist, and neither does one of another agent for an agent's key."""
    receiver = world.receiver()
    made = await world.hook(receiver.url, agent_id="billing")
    body = WebhookChange(active=False) if name == "update_webhook" else None
    for who in ({"organization": "rival"}, {"agent_id": "shipping"}):
        with pytest.raises(NotFoundError):
            await world.call(name, body, webhook_id=made.webhook_id, **who)
        assert (await world.call("list_webhooks", **who)).total == 0
    assert (await world.call("list_webhooks")).webhooks[0].active
    assert (await world.call("list_webhooks", agent_id="billing")).total == 1
    assert receiver.received == []


async def test_an_agents_key_registers_for_its_agent_only(world: World) -> None:
    """It cannot listen to the others."""
    for agent_id in (None, "shipping"):
        body = WebhookBody(world.receiver().url, ["*"], agent_id=agent_id)
        with pytest.raises(AuthorizationDeniedError):
            await world.call("configure_webhook", body, agent_id="billing")


@pytest.mark.parametrize(
    "webhook_id", ["", "wh_", "wh_x", "wh_" + "0" * 24, "wh_" + "0" * 24 + "\n", "a\0b", "\ud800"]
)
async def test_unknown_identifiers_are_not_found(world: World, webhook_id: str) -> None:
    """Whatever is written there."""
    for name in ("delete_webhook", "test_webhook", "list_deliveries"):
        with pytest.raises(NotFoundError):
            await world.call(name, webhook_id=webhook_id)


async def test_unknown_events_are_refused_by_name(world: World) -> None:
    """And those there are are said."""
    with pytest.raises(ValidationError, match=r"'action\.aproved'.*action\.approved.*policy\.violation"):
        await world.hook(world.receiver().url, "action.denied", "action.aproved")
    made = await world.hook(world.receiver().url, "action.denied", "*", "action.denied")
    assert made.events == ["action.denied", "*"]
    with pytest.raises(ValidationError):
        await world.call("update_webhook", WebhookChange(events=["nothing"]), webhook_id=made.webhook_id)


async def test_there_is_a_most(world: World, monkeypatch: pytest.MonkeyPatch) -> None:
    """One organization's webhooks are counted, not another's."""
    monkeypatch.setattr(webhooks, "MOST", 2)
    url = world.receiver().url
    made = [await world.hook(url) for _ in range(2)]
    with pytest.raises(ValidationError, match="the maximum"):
        await world.hook(url)
    await world.hook(url, organization="rival")
    await world.call("delete_webhook", webhook_id=made[0].webhook_id)
    await world.hook(url)
    page = await world.call("list_webhooks", None, PageQuery(limit=1, offset=1))
    assert (len(page.webhooks), page.total) == (1, 2)


async def test_a_test_says_how_it_went(world: World) -> None:
    """Sent at once and signed; also when it fails, and also to one that is not active."""
    receiver = world.receiver()
    made = await world.hook(receiver.url, "action.denied")
    await world.call("update_webhook", WebhookChange(active=False), webhook_id=made.webhook_id)
    good = await world.call("test_webhook", webhook_id=made.webhook_id)
    assert (good.success, good.status_code, good.error) == (True, 200, None)
    assert good.response_time_ms > 0
    headers, raw = receiver.received[0]
    assert json.loads(raw)["event"] == headers["x-ascend-event"] == "webhook.test"
    assert verify_signature(made.secret or "", raw, headers["x-ascend-signature"], now=world.now)
    receiver.script = [(503, {}, b"")]
    bad = await world.call("test_webhook", webhook_id=made.webhook_id)
    assert (bad.success, bad.status_code) == (False, 503)
    assert "503" in bad.error
    assert await world.deliveries(made.webhook_id) == []


async def test_a_changed_address_and_secret_hold_for_what_waits(world: World) -> None:
    """What could not be delivered goes to the new address, signed with the new secret."""
    old, new = world.receiver(), world.receiver()
    old.otherwise = (500, {}, b"")
    made = await world.hook(old.url, "kill_switch.on")
    world.plane().kill(reason="stop", by="ann")
    await world.work()
    await world.call("update_webhook", WebhookChange(url=new.url, secret=SECRET), webhook_id=made.webhook_id)
    world.now += 60
    await world.work()
    headers, raw = new.received[0]
    assert verify_signature(SECRET, raw, headers["x-ascend-signature"], now=world.now)
    (one,) = await world.deliveries(made.webhook_id)
    assert (one.status, one.attempts) == ("delivered", 2)
    assert msgspec.json.decode(msgspec.json.encode(one), type=type(one)) == one
