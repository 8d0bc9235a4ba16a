"""The documented client in two classes, blocking and asynchronous: each operation is one generator, and a method of
both."""

from __future__ import annotations

import functools
import inspect
import re
import weakref
from collections.abc import AsyncIterator, Callable, Coroutine, Iterator
from functools import partial
from types import TracebackType
from typing import TYPE_CHECKING, Any, Concatenate, ParamSpec, TypeVar

import msgspec

from ascend_guard.client.http.debugging import Logged
from ascend_guard.client.http.exchange import Exchange, Sender, arun, run
from ascend_guard.client.http.identity import RETRY_FOR, Identity, identity_of
from ascend_guard.client.http.threads import Threads
from ascend_guard.client.http.transport import Transport
from ascend_guard.model import ActionResult

from . import actions, asking, registry, system
from .answers import ActionPage
from .following import Following

if TYPE_CHECKING:
    from typing import Self

    import requests

__all__ = ["AscendClient", "AsyncAscendClient"]

P = ParamSpec("P")
R = TypeVar("R")
C = TypeVar("C", bound=Callable[..., Any])

LARGEST_PAGE = 100
"""REST API document, "List Actions"."""

THREADS = 32
"""The most requests that one ``AsyncAscendClient`` has in progress; further requests wait, without a thread."""


def _method(
    operation: Callable[Concatenate[Identity, P], Exchange[R]],
) -> Callable[Concatenate[AscendClient, P], R]:
    @functools.wraps(operation)
    def call(self: AscendClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return self._run(operation(self._identity, *args, **kwargs))

    return _as_method(call, operation)


def _coroutine(
    operation: Callable[Concatenate[Identity, P], Exchange[R]],
) -> Callable[Concatenate[AsyncAscendClient, P], Coroutine[Any, Any, R]]:
    @functools.wraps(operation)
    async def call(self: AsyncAscendClient, /, *args: P.args, **kwargs: P.kwargs) -> R:
        return await self._run(operation(self._identity, *args, **kwargs))

    return _as_method(call, operation)


def _as_method(call: C, operation: Callable[..., object]) -> C:
    """Set what ``help`` shows: a method's parameters and result instead of those of an exchange."""
    # Functions have these attributes, but the type ``Callable`` does not declare them.
    signature = inspect.signature(operation)
    own = inspect.Parameter("self", inspect.Parameter.POSITIONAL_ONLY)
    result = re.sub(r"^Exchange\[(.*)\]$", r"\1", str(signature.return_annotation))
    call.__signature__ = signature.replace(  # type: ignore[attr-defined]
        parameters=[own, *list(signature.parameters.values())[1:]], return_annotation=result
    )
    del call.__wrapped__  # type: ignore[attr-defined]
    return call


class _Client:
    """The common part: an identity and its transport.

    Args:
        api_key: begins with ``ask_`` or ``owkai_`` (``ASCEND_API_KEY``).
        api_url: the control plane's address (``ASCEND_API_URL``); by default ``https://pilot.owkai.app``.
        timeout: seconds for one request.
        debug: whether to log requests and answers, without secrets, on ``ascend_guard.client`` (``ASCEND_DEBUG``).
        agent_id: the agent that calls are made for (``ASCEND_AGENT_ID``).
        agent_name: its name for people (``ASCEND_AGENT_NAME``).
        environment: the name of the environment; by default ``production``.
        signing_secret: signs every request that has a body (``X-Signature``).
        retry_for: seconds within which the pauses between retries must end, including those of ``Retry-After``. If a server
            asks for a longer pause, the client does not wait.
        session: its proxies, certificates and authentication are used.

    Raises:
        AuthenticationError: the key is missing or malformed.
        ConfigurationError: another setting cannot be used; the message says how to fix it.
    """

    def __init__(
        self,
        api_key: str | None = None,
        api_url: str | None = None,
        *,
        timeout: float = 30,
        debug: bool | None = None,
        agent_id: str | None = None,
        agent_name: str | None = None,
        environment: str | None = None,
        signing_secret: str | None = None,
        retry_for: float = RETRY_FOR,
        session: requests.Session | None = None,
    ) -> None:
        identity = identity_of(
            api_key=api_key,
            api_url=api_url,
            timeout=timeout,
            debug=debug,
            agent_id=agent_id,
            agent_name=agent_name,
            environment=environment,
            signing_secret=signing_secret,
            retry_for=retry_for,
        )
        self._transport = Transport(
            identity.api_url, headers=identity.headers(), timeout=identity.timeout, session=session
        )
        connect = partial(
            Transport,
            identity.api_url,
            headers=identity.headers(),
            timeout=identity.timeout,
            session=session,
            pool=1,
        )
        self._following = following = Following(identity, connect)
        self._identity = msgspec.structs.replace(identity, pushed=following.state, follow=following.start)
        self._threads = Threads(THREADS, "ascend-guard-client")  # only coroutines use them
        # A client that is collected without ``close`` leaves no thread and no connection behind.
        weakref.finalize(self, following.close).atexit = False
        self._sender: Sender = self._transport
        if self._identity.debug:
            self._sender = Logged(self._transport, self._identity.secrets())

    def __repr__(self) -> str:
        name = type(self).__name__
        return f"{name}(api_key={self._identity.masked()!r}, api_url={self._identity.api_url!r})"


class AscendClient(_Client):
    """The Ascend API, blocking. Threads may share one client. As a context manager it closes itself."""

    call = _method(asking.call)
    submit_action = _method(actions.submit_action)
    evaluate_action = _method(actions.evaluate_action)
    evaluate_mcp_action = _method(actions.evaluate_mcp_action)
    wait_for_decision = _method(actions.wait_for_decision)
    get_action_status = _method(actions.get_action_status)
    get_action = _method(actions.get_action)
    list_actions = _method(actions.list_actions)
    kill_switch_status = _method(actions.kill_switch_status)
    complete_action = _method(actions.complete_action)
    fail_action = _method(actions.fail_action)
    get_approval = _method(system.get_approval)
    approve_action = _method(system.approve_action)
    deny_action = _method(system.deny_action)
    clear_denial = _method(system.clear_denial)
    evaluate_policy = _method(system.evaluate_policy)
    trigger_kill_switch = _method(system.trigger_kill_switch)
    release_kill_switch = _method(system.release_kill_switch)
    query_audit_log = _method(system.query_audit_log)
    configure_webhook = _method(system.configure_webhook)
    list_webhooks = _method(system.list_webhooks)
    update_webhook = _method(system.update_webhook)
    delete_webhook = _method(system.delete_webhook)
    test_webhook = _method(system.test_webhook)
    list_webhook_deliveries = _method(system.list_webhook_deliveries)
    deployment_info = _method(system.deployment_info)
    test_connection = _method(system.test_connection)
    register_agent = _method(registry.register_agent)
    get_agent = _method(registry.get_agent)
    update_agent = _method(registry.update_agent)
    deregister_agent = _method(registry.deregister_agent)
    link_model_to_agent = _method(registry.link_model_to_agent)
    heartbeat = _method(registry.heartbeat)
    get_pending_commands = _method(registry.get_pending_commands)
    ack_command = _method(registry.ack_command)
    register_supply_chain_component = _method(registry.register_supply_chain_component)
    register_mcp_server = _method(registry.register_mcp_server)
    list_mcp_servers = _method(registry.list_mcp_servers)
    get_mcp_server = _method(registry.get_mcp_server)
    activate_mcp_server = _method(registry.activate_mcp_server)
    deactivate_mcp_server = _method(registry.deactivate_mcp_server)
    delete_mcp_server = _method(registry.delete_mcp_server)
    register_topology = _method(registry.register_topology)
    get_orchestration_session = _method(registry.get_orchestration_session)
    get_orchestration_session_risk = _method(registry.get_orchestration_session_risk)
    get_orchestration_stats = _method(registry.get_orchestration_stats)
    scan_output = _method(registry.scan_output)
    get_resource_classifications = _method(registry.get_resource_classifications)

    def iterate_actions(
        self, *, status: str | None = None, agent_id: str | None = None, limit: int = LARGEST_PAGE
    ) -> Iterator[ActionResult]:
        """Yield every action once, newest first. Pages are requested as needed.

        Args:
            status: approved, denied or pending; by default all.
            agent_id: yield only this agent's actions.
            limit: the page size, 1 to 100.
        """
        pages = _Pages()
        while pages.more:
            yield from pages.take(self.list_actions(limit, pages.offset, status, agent_id))

    def close(self) -> None:
        """Close idle connections. It may be called twice."""
        self._following.close()
        self._transport.close()

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()

    def _run(self, flow: Exchange[R]) -> R:
        return run(flow, self._sender)


class AsyncAscendClient(_Client):
    """The Ascend API for coroutines: the same methods, to be awaited. As an asynchronous context manager it closes itself.

    Requests use a few threads of the client. Waiting for a decision or between retries holds no thread.
    """

    call = _coroutine(asking.call)
    submit_action = _coroutine(actions.submit_action)
    evaluate_action = _coroutine(actions.evaluate_action)
    evaluate_mcp_action = _coroutine(actions.evaluate_mcp_action)
    wait_for_decision = _coroutine(actions.wait_for_decision)
    get_action_status = _coroutine(actions.get_action_status)
    get_action = _coroutine(actions.get_action)
    list_actions = _coroutine(actions.list_actions)
    kill_switch_status = _coroutine(actions.kill_switch_status)
    complete_action = _coroutine(actions.complete_action)
    fail_action = _coroutine(actions.fail_action)
    get_approval = _coroutine(system.get_approval)
    approve_action = _coroutine(system.approve_action)
    deny_action = _coroutine(system.deny_action)
    clear_denial = _coroutine(system.clear_denial)
    evaluate_policy = _coroutine(system.evaluate_policy)
    trigger_kill_switch = _coroutine(system.trigger_kill_switch)
    release_kill_switch = _coroutine(system.release_kill_switch)
    query_audit_log = _coroutine(system.query_audit_log)
    configure_webhook = _coroutine(system.configure_webhook)
    list_webhooks = _coroutine(system.list_webhooks)
    update_webhook = _coroutine(system.update_webhook)
    delete_webhook = _coroutine(system.delete_webhook)
    test_webhook = _coroutine(system.test_webhook)
    list_webhook_deliveries = _coroutine(system.list_webhook_deliveries)
    deployment_info = _coroutine(system.deployment_info)
    test_connection = _coroutine(system.test_connection)
    register_agent = _coroutine(registry.register_agent)
    get_agent = _coroutine(registry.get_agent)
    update_agent = _coroutine(registry.update_agent)
    deregister_agent = _coroutine(registry.deregister_agent)
    link_model_to_agent = _coroutine(registry.link_model_to_agent)
    heartbeat = _coroutine(registry.heartbeat)
    get_pending_commands = _coroutine(registry.get_pending_commands)
    ack_command = _coroutine(registry.ack_command)
    register_supply_chain_component = _coroutine(registry.register_supply_chain_component)
    register_mcp_server = _coroutine(registry.register_mcp_server)
    list_mcp_servers = _coroutine(registry.list_mcp_servers)
    get_mcp_server = _coroutine(registry.get_mcp_server)
    activate_mcp_server = _coroutine(registry.activate_mcp_server)
    deactivate_mcp_server = _coroutine(registry.deactivate_mcp_server)
    delete_mcp_server = _coroutine(registry.delete_mcp_server)
    register_topology = _coroutine(registry.register_topology)
    get_orchestration_session = _coroutine(registry.get_orchestration_session)
    get_orchestration_session_risk = _coroutine(registry.get_orchestration_session_risk)
    get_orchestration_stats = _coroutine(registry.get_orchestration_stats)
    scan_output = _coroutine(registry.scan_output)
    get_resource_classifications = _coroutine(registry.get_resource_classifications)

    async def iterate_actions(
        self, *, status: str | None = None, agent_id: str | None = None, limit: int = LARGEST_PAGE
    ) -> AsyncIterator[ActionResult]:
        """Yield every action once, newest first. Pages are requested as needed.

        Args:
            status: approved, denied or pending; by default all.
            agent_id: yield only this agent's actions.
            limit: the page size, 1 to 100.
        """
        pages = _Pages()
        while pages.more:
            for action in pages.take(await self.list_actions(limit, pages.offset, status, agent_id)):
                yield action

    async def close(self) -> None:
        """Close idle connections and end the threads. It may be called twice."""
        self._following.close()
        self._transport.close()
        self._threads.close()

    async def __aenter__(self) -> Self:
        return self

    async def __aexit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        await self.close()

    async def _run(self, flow: Exchange[R]) -> R:
        return await arun(flow, self._sender, self._threads.pool())


class _Pages:
    """The position in a list. New actions shift the others to later positions; no action is returned twice."""

    def __init__(self) -> None:
        self.offset = 0
        self.more = True
        self._seen: set[str] = set()

    def take(self, page: ActionPage) -> list[ActionResult]:
        fresh = [action for action in page.actions if action.action_id not in self._seen]
        self._seen.update(action.action_id for action in fresh)
        self.offset += len(page.actions)
        self.more = page.has_more and bool(fresh)  # ends for a server that sends the same page for ever
        return fresh
