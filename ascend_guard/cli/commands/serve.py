"""``ascend-guard serve``: the control plane as a server."""

from __future__ import annotations

import gc
import sys
from typing import TYPE_CHECKING, Annotated

import typer

from ascend_guard.cli.command import command
from ascend_guard.cli.context import Refusal, Run
from ascend_guard.cli.databases import no_policy, there
from ascend_guard.cli.output import Unwritable, printing

if TYPE_CHECKING:
    import uvicorn

LOOPBACK = ("127.0.0.1", "localhost", "::1")

SWITCH_INTERVAL = 0.0005
"""Seconds that the event loop may keep the interpreter while the writer has something to commit."""


def register(app: typer.Typer) -> None:
    """Register it as a command of the root."""
    command(app, "serve")(serve)


def serve(
    run: Run,
    host: Annotated[str, typer.Option(metavar="ADDRESS", help="The address to listen on.")] = "127.0.0.1",
    port: Annotated[
        int, typer.Option(metavar="N", help="The port to listen on; 0 takes a free one.", min=0, max=65535)
    ] = 8080,
    environment: Annotated[
        str, typer.Option(metavar="NAME", help="The name of this deployment's environment.")
    ] = "production",
    oidc_issuer: Annotated[
        str | None,
        typer.Option(metavar="URL", envvar="ASCEND_OIDC_ISSUER", help="The issuer of people's tokens."),
    ] = None,
    oidc_audience: Annotated[
        str | None,
        typer.Option(
            metavar="ID", envvar="ASCEND_OIDC_AUDIENCE", help="This application's client id at the issuer."
        ),
    ] = None,
    oidc_jwks_url: Annotated[
        str | None,
        typer.Option(
            metavar="URL",
            envvar="ASCEND_OIDC_JWKS_URL",
            help="The issuer's keys; by default found by discovery.",
        ),
    ] = None,
    tier: Annotated[
        str,
        typer.Option(
            metavar="TIER",
            help="The rate limit of the organization local: unlimited, enterprise, pro or free.",
        ),
    ] = "unlimited",
    private_webhooks: Annotated[
        bool, typer.Option("--private-webhooks", help="Allow webhooks to private addresses.")
    ] = False,
) -> None:
    """Serve the Ascend API: agents request decisions, people decide, everything is recorded. Ctrl-C stops it cleanly."""
    try:
        from ascend_guard.server.access.limits import TIERS
        from ascend_guard.server.access.oidc import OidcIssuer
        from ascend_guard.server.app import Server
        from ascend_guard.server.handling import ServerSettings
        from ascend_guard.server.serve import serve as answer
    except ModuleNotFoundError as error:
        raise Refusal(
            f"The server needs {error.name}, which is not installed. Install it: pip install 'ascend-guard[server]'",
            1,
        ) from None
    from ascend_guard.config import NOTHING_CONFIGURED, absolute
    from ascend_guard.engine.policy import load_policy
    from ascend_guard.errors import ConfigurationError

    if (oidc_issuer is None) != (oidc_audience is None):
        raise typer.BadParameter("--oidc-issuer and --oidc-audience need each other.")
    if tier not in TIERS:
        raise typer.BadParameter(f"tiers are {', '.join(TIERS)}.", param_hint="--tier")
    settings = run.settings()
    if settings.policy is None:
        raise ConfigurationError(NOTHING_CONFIGURED)
    place = absolute(settings.policy)
    if not there(place):
        raise no_policy(place)
    policy = load_policy(settings.policy)
    people = (
        []
        if oidc_issuer is None or oidc_audience is None
        else [OidcIssuer(oidc_issuer, oidc_audience, jwks_url=oidc_jwks_url)]
    )
    sys.setswitchinterval(SWITCH_INTERVAL)
    gc.collect()
    gc.freeze()  # imported objects stay, and are not scanned again while requests wait
    store = settings.store()
    server = Server(
        store,
        policy,
        ServerSettings(environment=environment, private_webhooks=private_webhooks, tier=tier),
        people,
    )

    webs: list[uvicorn.Server] = []
    lost: list[Unwritable] = []

    def ready(url: str) -> None:
        try:
            with printing():
                announce(url)
        except Unwritable as error:  # raised in the event loop, it would end in a traceback
            lost.append(error)
            webs[0].should_exit = True

    def announce(url: str) -> None:
        run.emit({"url": url, "database": settings.place, "policy": str(settings.policy)})
        if run.json:
            return
        from ascend_guard.cli.output import shown

        run.say(shown(f"Serving {url}", "green"))
        run.say(shown(f"policy {settings.policy}, database {settings.place}", "dim"))
        if host not in LOOPBACK:
            run.warn(
                "This is plain HTTP: put a proxy with TLS in front of it. Clients refuse http to other machines."
            )
        run.say(shown("A key for an agent:    ascend-guard keys create --agent my-agent", "cyan"))
        run.say(
            shown("A person who decides:  ascend-guard token --user you@example.com --role approver", "cyan")
        )

    answer(server, host, port, ready, webs.append)
    if lost:
        raise lost[0]
