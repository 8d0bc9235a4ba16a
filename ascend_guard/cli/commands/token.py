"""``ascend-guard token``: sign a person in to a server that has no OpenID Connect issuer."""

from __future__ import annotations

from typing import TYPE_CHECKING, Annotated, Any

import typer

from ascend_guard.cli.command import command, typed_duration
from ascend_guard.cli.context import Refusal, Run, approver
from ascend_guard.durations import EXAMPLES

if TYPE_CHECKING:
    from ascend_guard.store.port import Transaction


def register(app: typer.Typer) -> None:
    """Register it as a command of the root."""
    command(app, "token")(token)


def _some(values: list[str]) -> list[str]:
    if any(not value.strip() for value in values):
        raise typer.BadParameter("it is empty. Write a name, or remove the option.")
    return values


def token(
    run: Run,
    user: Annotated[str, typer.Option("--user", "-u", metavar="EMAIL", help="The person who signs in.")],
    role: Annotated[str, typer.Option(metavar="ROLE", help="viewer, approver or admin.")] = "viewer",
    group: Annotated[
        list[str] | None,
        typer.Option(
            "--group", "-g", metavar="NAME", help="A group that the person approves for. May be repeated."
        ),
    ] = None,
    organization: Annotated[
        str, typer.Option("--organization", "-o", metavar="NAME", help="Theirs.")
    ] = "local",
    lifetime: Annotated[
        Any,
        typer.Option(
            "--for",
            metavar="DURATION",
            parser=typed_duration(1, 720 * 3600),
            help=f"How long it is valid, such as {EXAMPLES}; at most 30d.",
        ),
    ] = "12h",
) -> None:
    """Print a token with which a person decides over HTTP. Anyone who has it acts as that person until it expires."""
    import sys

    from ascend_guard.engine.keys import known
    from ascend_guard.model import iso

    try:
        import jwt

        from ascend_guard.server.access.tokens import LocalIssuer
    except ModuleNotFoundError as error:
        raise Refusal(
            f"Tokens need {error.name}, which is not installed. Install it: pip install 'ascend-guard[server]'",
            1,
        ) from None

    groups = _some(group or [])
    missing, who = run.missing(), approver()
    store = run.plane().store
    if not store.read(lambda reader: known(reader, organization)):
        raise Refusal(
            f"There is no organization {organization}. Its first key creates it: ascend-guard keys create "
            f"--organization NAME",
            1,
        )
    made = LocalIssuer(store.secret).issue(
        user, role=role, groups=groups, organization=organization, hours=lifetime / 3600
    )
    claims = jwt.decode(made, options={"verify_signature": False})
    expires_at = iso(claims["exp"])
    kept = {"user": user, "role": role, "groups": claims["groups"], "organization": organization}

    def work(tx: Transaction) -> None:
        data = {name: value for name, value in kept.items() if name != "organization"}
        tx.record(
            "token.issued",
            organization=organization,
            actor=who,
            token_id=claims["jti"],
            expires_at=expires_at,
            **data,
        )

    store.write(work)  # before the token is shown
    if missing is not None:
        run.warn(f"The database {missing} was created. The server must use this database.")
    run.emit({"token": made, "expires_at": expires_at, **kept})
    if not run.json:
        sys.stdout.write(f"{made}\n")
