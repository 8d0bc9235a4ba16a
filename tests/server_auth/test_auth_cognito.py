"""Amazon Cognito's own tokens, from a real sign-in at a local server that speaks its API."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator
from typing import Any

import boto3
import jwt
import pytest
from auth_world import World
from moto.server import ThreadedMotoServer
from world import standing

from ascend_guard.api.endpoint import Access
from ascend_guard.errors import AuthenticationError
from ascend_guard.server.access.auth import Gate
from ascend_guard.server.access.oidc import OidcIssuer
from ascend_guard.server.handling import Caller

PASSWORD = "Correct-horse-7-battery"


class Pool:
    """A user pool with groups, and people in it."""

    def __init__(self, address: str) -> None:
        self.cognito = boto3.client(
            "cognito-idp",
            region_name="us-east-1",
            endpoint_url=address,
            aws_access_key_id="test",
            aws_secret_access_key="test",
        )
        custom = [
            {"Name": name, "AttributeDataType": "String", "Mutable": True}
            for name in ("role", "organization")
        ]
        self.id = self.cognito.create_user_pool(PoolName="people", Schema=custom)["UserPool"]["Id"]
        self.app = self.application("console")
        self.issuer = f"https://cognito-idp.us-east-1.amazonaws.com/{self.id}"
        self.jwks = f"{address}/{self.id}/.well-known/jwks.json"
        for group in ("approvers", "finance"):
            self.cognito.create_group(GroupName=group, UserPoolId=self.id)

    def application(self, name: str) -> str:
        """Another client of the pool."""
        made = self.cognito.create_user_pool_client(
            UserPoolId=self.id,
            ClientName=name,
            ExplicitAuthFlows=["ALLOW_ADMIN_USER_PASSWORD_AUTH"],
            ReadAttributes=["email", "email_verified"],
        )
        client: str = made["UserPoolClient"]["ClientId"]
        return client

    def sign_in(self, user: str, *groups: str, app: str | None = None, **attributes: str) -> dict[str, Any]:
        """A new user's tokens."""
        given = [
            {"Name": name.replace("custom_", "custom:"), "Value": value} for name, value in attributes.items()
        ]
        self.cognito.admin_create_user(
            UserPoolId=self.id, Username=user, UserAttributes=given, MessageAction="SUPPRESS"
        )
        self.cognito.admin_set_user_password(
            UserPoolId=self.id, Username=user, Password=PASSWORD, Permanent=True
        )
        for group in groups:
            self.cognito.admin_add_user_to_group(UserPoolId=self.id, Username=user, GroupName=group)
        answer = self.cognito.admin_initiate_auth(
            UserPoolId=self.id,
            ClientId=app or self.app,
            AuthFlow="ADMIN_USER_PASSWORD_AUTH",
            AuthParameters={"USERNAME": user, "PASSWORD": PASSWORD},
        )
        result: dict[str, Any] = answer["AuthenticationResult"]
        return result


@pytest.fixture(scope="module")
def pool() -> Iterator[Pool]:
    """A pool on a server on this machine."""
    server = ThreadedMotoServer(port=0)
    server.start()
    host, port = server.get_host_and_port()
    try:
        yield Pool(f"http://{'127.0.0.1' if host == '0.0.0.0' else host}:{port}")
    finally:
        server.stop()


def verified(pool: Pool, token: str) -> Caller:
    """Who that is."""
    return asyncio.run(
        OidcIssuer(pool.issuer, pool.app, jwks_url=pool.jwks, organization="acme").verify(token)
    )


def signed_in(token: str) -> tuple[str, str]:
    """The issuer and what it calls the person."""
    claims = jwt.decode(token, options={"verify_signature": False})
    return claims["iss"], claims["sub"]


def test_an_id_token(pool: Pool) -> None:
    """Name, role, groups and organization of somebody who signed in."""
    tokens = pool.sign_in("ann", "approvers", "finance", email="ann@example.com", email_verified="true")
    groups = frozenset({"approvers", "finance"})
    assert verified(pool, tokens["IdToken"]) == Caller(
        "acme", "ann@example.com", True, "approver", None, groups, *signed_in(tokens["IdToken"])
    )


def test_an_access_token(pool: Pool) -> None:
    """It is accepted, with the groups; it names its holder otherwise, so that they may look and not vote again."""
    tokens = pool.sign_in("bob", "approvers", "finance", email="bob@example.com", email_verified="true")
    groups = frozenset({"approvers", "finance"})
    assert verified(pool, tokens["AccessToken"]) == Caller(
        "acme", "bob", True, "viewer", None, groups, *signed_in(tokens["AccessToken"])
    )
    assert signed_in(tokens["AccessToken"]) == signed_in(tokens["IdToken"])


def test_custom_attributes(pool: Pool) -> None:
    """``custom:role`` and ``custom:organization`` say what groups do not."""
    tokens = pool.sign_in("cleo", custom_role="admin", custom_organization="beta")
    caller = verified(pool, tokens["IdToken"])
    assert (caller.name, caller.role, caller.organization) == ("cleo", "admin", "beta")


def test_tokens_for_another_application_of_the_pool(pool: Pool) -> None:
    """Both kinds are refused."""
    tokens = pool.sign_in("dan", "approvers", app=pool.application("other"))
    for kind in ("IdToken", "AccessToken"):
        with pytest.raises(AuthenticationError, match="another application"):
            verified(pool, tokens[kind])


def test_through_the_gate(pool: Pool, world: World) -> None:
    """Somebody who signed in passes where an API key does not; the refresh token is nothing here."""
    tokens = pool.sign_in("eve", "approvers", email="eve@example.com", email_verified="true")

    async def play() -> Caller:
        gate = Gate(world.store, standing(), [OidcIssuer(pool.issuer, pool.app, jwks_url=pool.jwks)])
        with pytest.raises(AuthenticationError):
            await gate.admit({"x-api-key": world.key(role="admin")[0]}, Access.PERSON)
        with pytest.raises(AuthenticationError):
            await gate.admit({"authorization": f"Bearer {tokens['RefreshToken']}"}, Access.PERSON)
        return await gate.admit({"authorization": f"Bearer {tokens['IdToken']}"}, Access.PERSON)

    assert asyncio.run(play()).name == "eve@example.com"
