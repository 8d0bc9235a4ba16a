"""Organizations and API keys: whose they are, how they are kept, and that they can be taken back."""

from __future__ import annotations

import json

import msgspec
import pytest
from auth_world import World
from hypothesis import given
from hypothesis import strategies as st

from ascend_guard.engine.keys import (
    KEY,
    hash_of,
    key_of,
    keys,
    known,
    make_key,
    make_organization,
    organizations,
    revoke_key,
    tier_of,
)
from ascend_guard.errors import ConflictError, NotFoundError, ValidationError
from ascend_guard.store.port import Transaction
from ascend_guard.store.projections import thing


def test_a_key_is_good_for_its_organization_and_agent(world: World) -> None:
    """Looking a key up tells what it was made for, and nothing is told of any other text."""
    key, made = world.key("acme", "seller", "admin")
    assert KEY.fullmatch(key)
    assert key.startswith("owkai_")
    found = world.store.read(lambda reader: key_of(reader, key))
    assert found == made
    assert (made.organization, made.agent_id, made.role) == ("acme", "seller", "admin")
    assert key.startswith(made.prefix)
    assert len(made.prefix) == 10


def test_keys_are_listed_for_their_organization_alone(world: World) -> None:
    """Two organizations do not see each other's keys."""
    _, ours = world.key()
    _, theirs = world.key("acme")
    assert world.store.read(lambda reader: keys(reader, "local")) == [ours]
    assert world.store.read(lambda reader: keys(reader, "acme")) == [theirs]


def test_a_key_is_not_revoked_by_another_organization(world: World) -> None:
    """Its number is as good as unknown to them."""
    key, theirs = world.key("acme")
    with pytest.raises(NotFoundError, match="no API key"):
        world.store.write(lambda tx: revoke_key(tx, "local", theirs.key_id, by="mallory"))
    assert world.store.read(lambda reader: key_of(reader, key)) == theirs


def test_a_revoked_key_is_none(world: World) -> None:
    """It stays in the list, with the time; revoking it again changes nothing."""
    key, info = world.key()
    other, _ = world.key()
    world.revoke(info)
    trail = world.trail()
    world.revoke(info)
    assert world.trail() == trail
    assert world.store.read(lambda reader: key_of(reader, key)) is None
    assert world.store.read(lambda reader: key_of(reader, other)) is not None
    listed = world.store.read(lambda reader: keys(reader, "local"))
    assert [entry.revoked_at is not None for entry in listed] == [True, False]


def test_no_file_has_a_key_in_it(world: World) -> None:
    """Not the database, its log, nor anything beside it: neither the key nor its random part."""
    made = [world.key()[0], world.key("acme", "seller")[0]]
    world.revoke(world.key()[1])
    world.store.close()
    content = b"".join(path.read_bytes() for path in world.path.parent.rglob("*") if path.is_file())
    assert hash_of(made[0]).encode() in content
    for key in made:
        assert key.encode() not in content
        assert key[12:].encode() not in content


def test_the_trail_says_who_made_and_revoked_what(world: World) -> None:
    """And never the key."""
    key, info = world.key("acme", "seller")
    world.revoke(info)
    trail = world.trail()
    assert [record["event"] for record in trail] == [
        "organization.created",
        "api_key.created",
        "api_key.revoked",
    ]
    for record in trail[1:]:
        assert record["organization"] == "acme"
        assert record["actor"] == "test"
        assert (record["key_id"], record["agent_id"], record["role"]) == (info.key_id, "seller", "agent")
    assert key not in json.dumps(trail)
    assert hash_of(key) not in json.dumps(trail)


def test_an_organization_must_have_been_made(world: World) -> None:
    """A key for a misspelt one is refused; ``local`` exists always."""
    with pytest.raises(NotFoundError, match="no organization 'acne'"):
        world.key("acne")
    with pytest.raises(ConflictError, match="already"):
        world.store.write(lambda tx: make_organization(tx, "acme", "free", "test"))
    with pytest.raises(ConflictError, match="already"):
        world.store.write(lambda tx: make_organization(tx, "local", "free", "test"))
    listed = world.store.read(organizations)
    assert [(entry.name, entry.tier) for entry in listed] == [("local", "enterprise"), ("acme", "pro")]
    tiers = [world.store.read(lambda reader, n=name: tier_of(reader, n)) for name in ("local", "acme", "x")]
    assert tiers == ["enterprise", "pro", "free"]


@given(name=st.text(max_size=70))
def test_names_of_organizations(name: str, world: World) -> None:
    """Lower-case ASCII letters, digits and hyphens, 63 at most; all else is refused and makes nothing."""
    plain = "abcdefghijklmnopqrstuvwxyz0123456789"
    good = 0 < len(name) <= 63 and name[0] in plain and set(name) <= set(plain + "-")
    before = world.store.read(lambda reader: known(reader, name))
    try:
        world.store.write(lambda tx: make_organization(tx, name, "free", "test"))
    except ValidationError:
        assert not good
    except ConflictError:
        assert before
    else:
        assert good
        assert world.store.read(lambda reader: known(reader, name))


@pytest.mark.parametrize(
    ("changed", "words"),
    [
        ({"agent_id": ""}, "empty"),
        ({"agent_id": "  "}, "empty"),
        ({"agent_id": "a" * 256}, "longer"),
        ({"role": "root"}, "not a role"),
    ],
)
def test_what_a_key_cannot_be_made_for(world: World, changed: dict[str, str], words: str) -> None:
    """An empty agent does not mean any agent, and there are two roles."""
    given_ = {"agent_id": None, "role": "agent", **changed}
    with pytest.raises(ValidationError, match=words):
        world.store.write(lambda tx: make_key(tx, "local", by="test", **given_))
    assert world.store.read(lambda reader: keys(reader, "local")) == []


def test_an_unknown_tier(world: World) -> None:
    """Is refused."""
    with pytest.raises(ValidationError, match="not a tier"):
        world.store.write(lambda tx: make_organization(tx, "beta", "gold", "test"))


@pytest.mark.parametrize("number", ["", "0", "-1", "1.0", " 1", "1 ", "٣", "1" * 40, "0x1", "1e3", "k1"])
def test_numbers_of_keys_are_plain(world: World, number: str) -> None:
    """No other spelling of a number names a key, and none troubles the database."""
    world.key()
    with pytest.raises(NotFoundError):
        world.store.write(lambda tx: revoke_key(tx, "local", number, by="test"))


def test_both_beginnings_of_keys_are_accepted(world: World) -> None:
    """A key that begins with ``ask_`` is looked up like any other."""
    key = f"ask_{'x' * 43}"
    assert world.store.read(lambda reader: key_of(reader, key)) is None

    made, info = world.key()

    def work(tx: Transaction) -> None:
        kept = tx.record_number("local", "api_key", int(info.key_id))
        assert kept is not None
        assert kept.name == hash_of(made)
        put = [thing("api_key", hash_of(key), msgspec.Raw(kept.body))]
        tx.record("api_key.copied", organization="local", actor="a test", put=put)

    world.store.write(work)
    assert world.store.read(lambda reader: key_of(reader, key)) is not None


@given(data=st.data())
def test_nothing_but_the_key_is_the_key(data: st.DataObject, world: World) -> None:
    """Neither any other text nor any change to one character of it, its case included."""
    key, _ = world.key()
    place = data.draw(st.integers(0, len(key) - 1))
    char = data.draw(st.one_of(st.characters(), st.just(key[place].swapcase())))
    changed = data.draw(
        st.sampled_from(
            [
                key[:place] + char + key[place + 1 :],
                key[:place],
                key + char,
                char + key,
                hash_of(key),
                key.upper(),
                f" {key}",
                f"{key}\n",
            ]
        )
    )
    found = world.store.read(lambda reader: key_of(reader, changed))
    assert (found is not None) == (changed == key)
