"""``ascend-guard keys``: API keys for agents in other processes and on other machines that use a server."""

from __future__ import annotations

import shlex
from typing import TYPE_CHECKING, Annotated, Any

import typer

from ascend_guard.cli.command import command
from ascend_guard.cli.context import Refusal, Run, approver

if TYPE_CHECKING:
    from ascend_guard.engine.keys import KeyInfo
    from ascend_guard.store.port import Transaction

app = typer.Typer(
    help="API keys for agents that use a server.", no_args_is_help=True, rich_markup_mode="rich"
)

LOCAL = "local"


def _given(value: str | None) -> str | None:
    # An empty shell variable must not turn "this agent" into "any agent".
    if value is not None and not value.strip():
        raise typer.BadParameter("it is empty. Write a name, or remove the option.")
    return value


def _number(value: str) -> str:
    return value.removeprefix("key:")  # in the form of the audit trail


OrganizationOption = Annotated[
    str, typer.Option("--organization", "-o", metavar="NAME", callback=_given, help="Whose.")
]


@command(app, "create")
def create(
    run: Run,
    agent: Annotated[
        str | None,
        typer.Option(
            "--agent", metavar="ID", callback=_given, help="For this agent only; by default for any."
        ),
    ] = None,
    role: Annotated[
        str, typer.Option(metavar="ROLE", help="agent, or admin: may register agents, policies and webhooks.")
    ] = "agent",
    organization: OrganizationOption = LOCAL,
    tier: Annotated[
        str | None,
        typer.Option(
            metavar="TIER", help="For a new organization: free, pro or enterprise; by default free."
        ),
    ] = None,
    signing_secret: Annotated[
        bool,
        typer.Option(
            "--signing-secret", help="Accept only signed requests of this key; shows the signing secret."
        ),
    ] = False,
) -> None:
    """Create a key and show it, only this once."""
    from ascend_guard.engine.keys import known, make_key, make_organization, signing_secret_of, tier_of

    missing, who = run.missing(), approver()

    def work(tx: Transaction) -> tuple[str, KeyInfo, str, bool]:
        new = not known(tx, organization)
        if new:
            make_organization(tx, organization, tier or "free", who)
        key, info = make_key(tx, organization, agent_id=agent, role=role, by=who, signed=signing_secret)
        return key, info, tier_of(tx, organization), new

    store = run.plane().store
    if tier is not None:
        has = store.read(
            lambda reader: tier_of(reader, organization) if known(reader, organization) else tier
        )
        if has != tier:
            raise Refusal(f"{organization} already exists, and its tier is {has}. Remove --tier.", 1)
    key, info, has, new = store.write(work)
    signs = signing_secret_of(store.secret, info)
    if missing is not None:
        run.warn(f"The database {missing} was created. The server must use this database.")
    if new:
        run.warn(f"The organization {organization} was created, with the tier {has}.")
    run.emit(
        {
            "api_key": key,
            "key_id": info.key_id,
            "agent_id": info.agent_id,
            "organization": info.organization,
            "role": info.role,
            **({} if signs is None else {"signing_secret": signs}),
        }
    )
    if run.json:
        return
    from ascend_guard.cli.output import shown

    whom = f"agent {agent}" if agent is not None else f"any agent of {organization}"
    run.say(shown(f"Key {info.key_id}, for {whom}, with the role {role}. It is shown only now:", "green"))
    run.out.print(shown(f"  {key}", "bold"), soft_wrap=True)  # to be copied
    run.say(shown("Where the agent runs:", "bold"))
    run.out.print(shown(f"  export ASCEND_API_KEY={key}", "cyan"), soft_wrap=True)
    run.out.print(shown("  export ASCEND_API_URL=...  # the server's address", "cyan"), soft_wrap=True)
    if signs is not None:
        run.out.print(shown(f"  export ASCEND_SIGNING_SECRET={signs}", "cyan"), soft_wrap=True)
    if agent is not None:
        run.out.print(shown(f"  export ASCEND_AGENT_ID={shlex.quote(agent)}", "cyan"), soft_wrap=True)
    run.say(shown(f"To revoke it: ascend-guard keys revoke {info.key_id}{_option(organization)}"))


@command(app, "list")
def list_(run: Run, organization: OrganizationOption = LOCAL) -> None:
    """List keys by their first characters; the rest of a key is not stored."""
    from ascend_guard.engine.keys import keys

    plane = run.existing(unused=True)
    found = plane.read(lambda reader: keys(reader, organization))
    run.emit({"keys": [_record(info) for info in found], "total": len(found)})
    if run.json:
        return
    from ascend_guard.cli.output import ago, cell, shown
    from ascend_guard.cli.screen.columns import Column, Listing, Row

    if not found:
        run.say(
            shown(
                f"{organization} has no keys. Create one: ascend-guard keys create --agent "
                f"my-agent{_option(organization)}"
            )
        )
    else:
        columns = [Column("Key"), Column("Begins"), Column("Agent", 2), Column("Role", least=5)]
        columns += [Column("Signed"), Column("Made", least=10), Column("By", 1), Column("Revoked", least=10)]
        rows = (
            Row(
                [
                    [
                        cell(info.key_id),
                        cell(f"{info.prefix}…"),
                        cell(info.agent_id or "any"),
                        cell(info.role),
                        cell("" if info.signing is None else "yes"),
                        cell(ago(info.created_at)),
                        cell(info.created_by),
                        cell("" if info.revoked_at is None else ago(info.revoked_at), "red"),
                    ]
                ]
            )
            for info in found
        )
        run.stream(Listing(columns, run.out.width).lines(rows))


@command(app, "revoke")
def revoke(
    run: Run,
    key_id: Annotated[str, typer.Argument(metavar="KEY_ID", callback=_number, help="See keys list.")],
    organization: OrganizationOption = LOCAL,
) -> None:
    """Revoke a key: servers refuse it within a second. Never asks for confirmation."""
    from ascend_guard.engine.keys import revoke_key

    plane, who = run.existing(unused=True), approver()
    info = plane.store.write(lambda tx: revoke_key(tx, organization, key_id, by=who))
    run.emit(_record(info))
    if not run.json:
        from ascend_guard.cli.output import shown

        run.say(shown(f"Revoked: key {info.key_id} ({info.prefix}…). It can no longer be used.", "bold red"))


def _record(info: KeyInfo) -> dict[str, Any]:
    from ascend_guard.model import iso

    return {
        "key_id": info.key_id,
        "organization": info.organization,
        "prefix": info.prefix,
        "agent_id": info.agent_id,
        "role": info.role,
        "signed": info.signing is not None,
        "created_at": iso(info.created_at),
        "created_by": info.created_by,
        "revoked_at": None if info.revoked_at is None else iso(info.revoked_at),
    }


def _option(organization: str) -> str:
    return "" if organization == LOCAL else f" --organization {organization}"
