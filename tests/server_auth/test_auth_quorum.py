"""People are told apart by the issuer and ``sub`` of their token: one person is never two of a quorum."""

from __future__ import annotations

import itertools
import unicodedata
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
import requests
from auth_world import AUDIENCE, Issuer
from auth_world import serving as issuing
from serving import Serving, serving

from ascend_guard.server.access.oidc import OidcIssuer

POLICY = """
version: 1
rules:
  - {name: two, actions: [refund], effect: require_approval, quorum: 2, timeout: 30m}
  - {name: finance, actions: [pay], effect: require_approval, approvers: [finance], quorum: 2, timeout: 30m}
  - {name: by-name, actions: [sign], effect: require_approval, approvers: [Ann@Example.com], timeout: 30m}
"""


class World:
    """A server that accepts the tokens of two issuers, and its own."""

    def __init__(self, server: Serving, issuers: list[Issuer]) -> None:
        self.server = server
        self.issuers = issuers
        self.key = server.key("a")

    def action(self, action_type: str) -> str:
        """A new one that waits."""
        body = {"agent_id": "a", "agent_name": "A", "action_type": action_type, "resource": "r"}
        body["session_id"] = uuid.uuid4().hex
        answer = self.server.ask("POST", "/api/v1/actions/submit", self.key, body).json()
        assert answer["status"] == "pending"
        return str(answer["action_id"])

    def token(self, issuer: int, **claims: Any) -> str:
        """Of somebody who may approve for finance."""
        return self.issuers[issuer].token(**{"role": "approver", "groups": ["finance"]} | claims)

    def approve(self, action: str, token: str) -> requests.Response:
        """As this person."""
        return self.server.ask("POST", f"/api/actions/{action}/approve", token, {})

    def trail(self, action: str) -> list[dict[str, Any]]:
        """Its records."""
        return self.server.ask("GET", f"/api/v1/actions/{action}", self.key).json()["audit_trail"]


@pytest.fixture(scope="module")
def world(tmp_path_factory: pytest.TempPathFactory) -> Iterator[World]:
    """One for all."""
    folder = tmp_path_factory.mktemp("quorum")
    with issuing() as one, issuing() as other:
        verifiers = tuple(OidcIssuer(issuer.url, AUDIENCE, jwks_url=issuer.jwks) for issuer in (one, other))
        with serving(folder / "a.db", POLICY, verifiers=verifiers) as server:
            yield World(server, [one, other])


ANN = {"sub": "u-1", "email": "ann@example.com"}

ONE_PERSON = {
    "the same token": [(0, ANN), (0, ANN)],
    "another case": [(0, ANN), (0, ANN | {"email": "Ann@Example.COM"})],
    "another case, another account": [(0, ANN), (0, {"sub": "u-2", "email": "ANN@example.com"})],
    "decomposed": [
        (0, {"sub": "u-1", "email": "jörg@example.com"}),
        (0, {"sub": "u-2", "email": unicodedata.normalize("NFD", "jörg@example.com")}),
    ],
    "full width": [(0, ANN), (0, {"sub": "u-2", "email": "ａｎｎ@example.com"})],
    "a letter that cannot be seen": [(0, ANN), (0, {"sub": "u-2", "email": "ann\u3164@example.com"})],
    "a variation selector": [(0, ANN), (0, {"sub": "u-2", "email": "ann\ufe0f@example.com"})],
    "a new address": [(0, ANN), (0, ANN | {"email": "ann.married@example.com"})],
    "no address": [(0, ANN), (0, {"sub": "u-1", "email": None, "username": "ann"})],
    "two issuers, one address": [(0, ANN), (1, {"sub": "u-77", "email": "ann@example.com"})],
}


@pytest.mark.parametrize("action_type", ["refund", "pay"])
@pytest.mark.parametrize("case", ONE_PERSON)
def test_one_person_is_no_quorum_of_two(world: World, case: str, action_type: str) -> None:
    """Neither another spelling, address, issuer nor account of one name makes a second person, in any order."""
    for order in itertools.permutations(ONE_PERSON[case]):
        action = world.action(action_type)
        for issuer, claims in order:
            answer = world.approve(action, world.token(issuer, **claims))
            assert answer.status_code == 200, answer.text
            assert (answer.json()["status"], answer.json()["approvals"]) == ("pending", 1), answer.text
        last = world.approve(action, world.token(0, sub="u-9", email="zoe@example.com")).json()
        assert (last["status"], last["approvals"]) == ("approved", 2)


def test_an_account_that_changes_its_address_stays_connected(world: World) -> None:
    """Once an account was known under a name, it is that person's under the next name as well."""
    action = world.action("refund")
    for issuer, claims in (
        (0, ANN),
        (1, {"sub": "v-1", "email": "Ann@example.com"}),
        (1, {"sub": "v-1", "email": "a@x.org"}),
        (0, {"sub": "u-8", "email": "A@X.org"}),
    ):
        assert world.approve(action, world.token(issuer, **claims)).json()["approvals"] == 1
    assert world.approve(action, world.token(0, sub="u-9", email="b@x.org")).json()["status"] == "approved"


def test_the_same_name_of_the_command_lines_token(world: World) -> None:
    """A token that ``ascend-guard token`` made for an address is that person's, whatever the case."""
    action = world.action("refund")
    assert world.approve(action, world.token(0, **ANN)).json()["approvals"] == 1
    assert world.approve(action, world.server.token("ANN@example.com")).json()["approvals"] == 1
    assert world.approve(action, world.server.token("bob@example.com")).json()["status"] == "approved"


def test_two_people_are_two(world: World) -> None:
    """The same ``sub`` at two issuers is two people, and so are two accounts of one issuer."""
    for pair in (
        [(0, ANN), (1, {"sub": "u-1", "email": "bob@example.com"})],
        [(0, ANN), (0, {"sub": "u-2", "email": "bob@example.com"})],
    ):
        action = world.action("pay")
        answers = [world.approve(action, world.token(issuer, **claims)).json() for issuer, claims in pair]
        assert [answer["status"] for answer in answers] == ["pending", "approved"]


def test_the_log_says_who_it_was(world: World) -> None:
    """The records of an approval and of a denial have the issuer and the subject beside the name."""
    action = world.action("pay")
    world.approve(action, world.token(0, **ANN))
    denied = world.server.ask(
        "POST", f"/api/actions/{action}/deny", world.token(1, sub="v-1", email="b@x.org"), {}
    )
    assert denied.ok
    told = {
        entry["event"]: (entry["actor"], entry["details"].get("identity")) for entry in world.trail(action)
    }
    assert told["approval"] == ("ann@example.com", {"issuer": world.issuers[0].url, "subject": "u-1"})
    assert told["denied"] == ("b@x.org", {"issuer": world.issuers[1].url, "subject": "v-1"})


def test_a_person_that_a_rule_names_is_asked_however_it_is_written(world: World) -> None:
    """The rule's ``Ann@Example.com`` is ``ann@example.com``, and nobody else."""
    action = world.action("sign")
    other = world.approve(action, world.token(0, sub="u-3", email="bob@example.com"))
    assert (other.status_code, "Ann@Example.com" in other.text) == (403, True)
    assert world.approve(action, world.token(0, **ANN)).json()["status"] == "approved"


@pytest.mark.parametrize("subject", ["", None, 7, "x" * 300])
def test_a_token_about_nobody_is_refused(world: World, subject: Any) -> None:
    """Without a subject there is nobody to tell apart."""
    action = world.action("refund")
    assert world.approve(action, world.token(0, sub=subject, email="ann@example.com")).status_code == 401


@pytest.mark.parametrize("name", ["ｋｅｙ:1", "Key\u3164:1", "ＳＹＳＴＥＭ", "anony\ufe0fmous", "\u3164"])
def test_no_spelling_takes_a_name_of_the_log(world: World, name: str) -> None:
    """Nobody signs in under a name that is a key's or the system's in its normal form, or cannot be seen."""
    action = world.action("refund")
    assert world.approve(action, world.token(0, sub="u-5", email=None, username=name)).status_code == 401
