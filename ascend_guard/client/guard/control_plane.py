"""The control plane on a server: governed calls over the REST API, in the document's strictest form.

REST API document, "Fail-Closed Reference Implementations": the kill switch is checked before every action, 402 means that
the kill switch is on, 429 and 503 are retried after a wait, and everything else blocks. Our own server (``features`` in
``/api/deployment-info``) has a pushed stream with kill switches and decisions, gives out the permits itself, and repeats
each request's correlation id. An answer that a proxy took from its cache or from another request is therefore not used
(promise 3). Any other server is polled, and its permits are used once in this process.
"""

from __future__ import annotations

import asyncio
import queue
import re
import uuid
from collections.abc import Callable, Mapping
from functools import partial
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, TypeVar, cast

import msgspec

from ascend_guard.arguments import digest_key_of
from ascend_guard.calling.scope import scoped
from ascend_guard.client.api.asking import ask, decided, kill_switch_asked, told
from ascend_guard.client.http.exchange import GUARD, Exchange, arun, require_own, run
from ascend_guard.client.http.identity import identity_of
from ascend_guard.client.http.threads import Threads
from ascend_guard.client.http.transport import Answer, Stream, Transport
from ascend_guard.errors import (
    AscendError,
    NetworkError,
    NotFoundError,
    RateLimitError,
    ServerError,
    TimeoutError,
)
from ascend_guard.errors.not_run import stopped as kill_switch_error
from ascend_guard.flow import (
    AwaitDecision,
    Begin,
    CheckKillSwitch,
    Claim,
    Effect,
    Settle,
    Submit,
    Withdraw,
)
from ascend_guard.kill_switch import ANSWER_SECONDS, is_off
from ascend_guard.model import ActionResult, KillSwitchState, Outcome, OutcomeStatus
from ascend_guard.processes import renewed_in_children

from . import wire_format
from .feed import Feed, LastWord, News
from .outbox import Outbox
from .outcomes import Outcomes, reported
from .process_permits import ProcessPermits, Underway
from .waiting import Inbox, Listen, Waiting, aplay, play
from .wire_format import Features

if TYPE_CHECKING:
    import requests

    from .kill_switch_channel import KillSwitchChannel

R = TypeVar("R")

LONGEST_SILENCE = 300.0
"""Seconds after which a waiting call polls the server even if the stream is live."""

CHANNEL_LOOK = 1.0
"""Seconds between two checks of the kill switch's SNS/SQS channel by a waiting call."""


class RemoteControlPlane:
    """A control plane on a server.

    Args:
        api_key: by default ``ASCEND_API_KEY``.
        api_url: by default ``ASCEND_API_URL``.
        agent_id: the agent of its calls, unless the call or its scope names another.
        agent_name: that agent's name for people; by default the id.
        timeout: seconds for one request.
        poll_interval: seconds between two polls for a decision, where nothing is pushed.
        push: whether to use the pushed stream where there is one.
        session: its proxies, certificates and authentication are used.
        channel: the kill switch's SNS/SQS channel, started by the caller. It can only add stops, never lift one.

    Attributes:
        runner: this process's name on the server.

    Raises:
        AuthenticationError: the key is missing or malformed.
        ConfigurationError: the address cannot be used.
    """

    def __init__(
        self,
        api_key: str | None = None,
        api_url: str | None = None,
        *,
        agent_id: str | None = None,
        agent_name: str | None = None,
        timeout: float = 30.0,
        poll_interval: float = 2.0,
        push: bool = True,
        session: requests.Session | None = None,
        channel: KillSwitchChannel | None = None,
    ) -> None:
        self._api = identity_of(
            api_key=api_key,
            api_url=api_url,
            timeout=timeout,
            debug=None,
            agent_id=agent_id,
            agent_name=agent_name,
            environment=None,
            signing_secret=None,
        )
        self.agent_id, self.agent_name = self._api.agent()
        self.place = f"server {re.sub(r'//[^/@]*@', '//', self._api.api_url)}"  # where to decide, for people
        self.digest_key = digest_key_of(self._api.api_key.encode())
        self._transport = Transport(
            self._api.api_url, headers=self._api.headers(), timeout=timeout, session=session
        )
        self._listening = Transport(
            self._api.api_url, headers=self._api.headers(), timeout=ANSWER_SECONDS, session=session, pool=1
        )
        self._poll_interval = poll_interval
        self._retry = GUARD
        self._push = push
        self._channel = channel
        self._features: Features | None = None
        self._feed = Feed(self._open_stream, self._api.clock)
        self._word = LastWord(self._feed.patience, self._api.clock)
        self._outbox = Outbox(self._transport)
        self._outcomes = Outcomes(self._api, self._transport, self._outbox)
        self._threads = Threads(16, "ascend-guard-http")
        self.renew()
        renewed_in_children(self)
        self._flows: dict[type[Effect[Any]], Callable[[Any], Exchange[Any]]] = {
            CheckKillSwitch: self._check_kill_switch,
            Submit: self._submit,
            Claim: self._claim,
            Withdraw: self._withdraw,
        }

    def __repr__(self) -> str:
        return f"RemoteControlPlane({self._api.api_url!r}, agent_id={self.agent_id!r})"

    def renew(self) -> None:
        """Start as a separate process, with its own approvals. Called automatically in forked children."""
        self.runner = uuid.uuid4().hex
        self._permits = ProcessPermits()

    def close(self) -> None:
        """Send what is still to be sent, and close the connections. It may be called twice."""
        self._feed.close()
        self._outbox.close()
        self._transport.close()
        self._listening.close()
        self._threads.close()

    def always_denies(self, action_type: str, tool_name: str) -> bool:
        """Return whether the policy denies every such call of this agent, with any arguments. Raises ``AscendError``."""
        body = {"action_type": action_type, "tool_name": tool_name, "resource": tool_name}
        body["agent_id"] = scoped().agent_id or self.agent_id
        answer = run(told(self._api, "evaluate_policy", body=body), self._transport)
        return answer.get("always_denied") is True  # other servers do not have this field

    # --- performing ------------------------------------------------------------------------------------------------

    def perform(self, effect: Effect[R]) -> R:
        """Perform one effect of a flow, blocking. Raises ``AscendError``."""
        if isinstance(effect, AwaitDecision):
            return cast(R, self._wait(effect))
        if isinstance(effect, Settle):
            return cast(R, self._outcomes.settle(effect, self._features))
        if isinstance(effect, CheckKillSwitch):
            state = self._known_state(effect.action.agent_id)
            if state is None and isinstance(effect, Begin):
                state = self._word.state(effect.action.agent_id)
            if state is not None:
                return cast(R, state)
        asked = self._api.clock()
        answer = run(self._flows[type(effect)](effect), self._transport)
        self._word.note(effect, asked, answer)
        return cast(R, answer)

    async def aperform(self, effect: Effect[R]) -> R:
        """Perform one effect of a flow without blocking the event loop. Raises ``AscendError``."""
        if isinstance(effect, AwaitDecision):
            return cast(R, await self._await(effect))
        if isinstance(effect, Settle):
            if not self._outcomes.posted(effect, self._features):
                await asyncio.get_running_loop().run_in_executor(
                    self._threads.pool(), self._outcomes.report, effect
                )
            return cast(R, None)
        if isinstance(effect, CheckKillSwitch):
            state = self._known_state(effect.action.agent_id)
            if state is not None:
                return cast(R, state)
        # A request in progress cannot be cancelled. If it takes a permit, report that nothing ran with it.
        underway = Underway(self._transport, partial(self._orphaned, effect))
        asked = self._api.clock()
        try:
            answer = await arun(self._flows[type(effect)](effect), underway, self._threads.pool())
            self._word.note(effect, asked, answer)
            return cast(R, answer)
        except (asyncio.CancelledError, GeneratorExit):
            underway.abandon()
            if isinstance(effect, Claim):  # if it was not sent, the same call can resume the action
                self._detach(effect.action_id)
            raise

    def _known_state(self, agent_id: str) -> KillSwitchState | None:
        """Return the state of the kill switch if it is known without a request; None when it must be requested."""
        if self._channel is not None:
            state = self._channel.state(agent_id)
            if not is_off(state):
                return state
        return self._feed.state(agent_id)

    def _orphaned(self, effect: Effect[Any], answer: Answer) -> None:
        if not isinstance(effect, Submit | Claim):
            return
        try:
            result = decided(answer)
        except AscendError:
            return  # nothing was granted
        if result.is_approved() and (result.claimed or not (self._features and self._features.claims)):
            outcome = Outcome(OutcomeStatus.FAILED, error="not started: the caller was cancelled")
            self._outbox.post(partial(reported, self._api, Settle(result.action_id, outcome)))
        else:
            self._detach(result.action_id)

    # --- what is asked ---------------------------------------------------------------------------------------------

    def _known(self) -> Exchange[Features]:
        """Return the server's features, requested once. A failure to get them blocks, like every failed request."""
        if self._features is None:
            try:
                answer = yield from ask(self._api, "deployment_info", retry=self._retry)
                self._features = wire_format.features_of(answer.body)
            except NotFoundError:
                self._features = Features()
        if self._push and self._features.stream:
            self._feed.start()
        return self._features

    def _ask(
        self,
        features: Features,
        name: str,
        *,
        body: dict[str, Any] | None = None,
        parameters: Mapping[str, Any] = MappingProxyType({}),
        deadline: float | None = None,
    ) -> Exchange[Answer]:
        """Send a request of the flow. Where the server repeats correlation ids, an answer must have this request's."""
        return ask(
            self._api,
            name,
            body=body,
            parameters=parameters,
            retry=self._retry,
            deadline=deadline,
            echoed=features.echo,
        )

    def _check_kill_switch(self, effect: CheckKillSwitch) -> Exchange[KillSwitchState]:
        features = yield from self._known()
        # A platform without kill switches for single agents answers for the organization.
        agent_id = effect.action.agent_id if features.claims else None
        return (yield from kill_switch_asked(self._api, agent_id, echoed=features.echo))

    def _submit(self, effect: Submit) -> Exchange[ActionResult]:
        features = yield from self._known()
        body = wire_format.submission(effect, features, self.runner)
        answer = yield from self._ask(features, "submit_action", body=body)
        return decided(answer) if features.claims else self._permits.keep(decided(answer))

    def _status(self, effect: AwaitDecision) -> Exchange[ActionResult]:
        features = yield from self._known()
        # A decision that arrives meanwhile is not delayed for long.
        deadline, path = self._api.clock() + ANSWER_SECONDS, {"action_id": effect.action_id}
        answer = yield from self._ask(features, "get_action_status", parameters=path, deadline=deadline)
        result = decided(answer, effect.action_id)
        return result if features.claims else self._permits.keep(result)

    def _claim(self, effect: Claim) -> Exchange[ActionResult]:
        features = yield from self._known()
        if not features.claims:
            if effect.edits:
                yield from self._withdraw(Withdraw(effect.action_id, wire_format.NOT_JUDGED))
                raise wire_format.not_judged(effect)
            return self._permits.take(effect.action_id)
        path, body = {"action_id": effect.action_id}, wire_format.claiming(effect, self.runner)
        answer = yield from self._ask(features, "claim_action", parameters=path, body=body)
        return decided(answer, effect.action_id)

    def _withdraw(self, effect: Withdraw) -> Exchange[None]:
        features = yield from self._known()
        if features.claims:
            body: dict[str, Any] = {"reason": effect.reason}
            path = {"action_id": effect.action_id}
            yield from self._ask(features, "withdraw_action", parameters=path, body=body)
            return
        self._permits.drop(effect.action_id)
        outcome = Outcome(OutcomeStatus.FAILED, error=f"not started: {effect.reason}")
        yield from reported(self._api, Settle(effect.action_id, outcome))

    # --- waiting ---------------------------------------------------------------------------------------------------

    def _wait(self, effect: AwaitDecision) -> ActionResult:
        told: queue.SimpleQueue[News] = queue.SimpleQueue()
        token = self._feed.wait_for(effect.action_id, effect.action.agent_id, told.put)
        try:
            return play(self._waiting(effect), told, self._transport)
        finally:
            self._feed.forget(token)

    async def _await(self, effect: AwaitDecision) -> ActionResult:
        told = Inbox(asyncio.get_running_loop())
        token = self._feed.wait_for(effect.action_id, effect.action.agent_id, told.put)
        try:
            return await aplay(self._waiting(effect), told, self._transport, self._threads.pool())
        finally:
            self._feed.forget(token)

    def _waiting(self, effect: AwaitDecision) -> Waiting:
        """Wait for a decision: listen to the feed, and poll where the feed is not live or may have missed something.

        A server that is unavailable for a moment ends no wait. One that stays unavailable does, because the state of
        the kill switch is then unknown.
        """
        clock = self._api.clock
        ends = None if effect.timeout is None else clock() + effect.timeout
        known = clock()
        approved = False
        try:
            while True:
                news: News | KillSwitchState = None
                try:
                    news = yield self._standing(effect)
                    known = clock()
                except (NetworkError, ServerError, TimeoutError, RateLimitError) as error:
                    if ends is not None and clock() >= ends:
                        raise
                    if clock() - max(known, self._feed.heard) > self._feed.patience:
                        raise wire_format.nobody_knows(effect, error) from error
                while True:
                    if isinstance(news, KillSwitchState):
                        raise kill_switch_error(effect.action, news, effect.action_id, "start")
                    if news is not None and not news.is_pending():
                        approved = news.is_approved()
                        # Only the answer to a claim is a permit.
                        return msgspec.structs.replace(news, claimed=False)
                    left = None if ends is None else ends - clock()
                    if news is not None and left is not None and left <= 0:
                        return news
                    pause = LONGEST_SILENCE if self._feed.live and news is not None else self._poll_interval
                    if self._channel is not None:  # the channel can stop a call, and sends no notice
                        pause = min(pause, CHANNEL_LOOK)
                    news = yield Listen(pause if left is None else max(0.0, min(pause, left)))
                    if news is None:
                        break
        finally:
            if not approved:
                self._detach(effect.action_id)

    def _standing(self, effect: AwaitDecision) -> Exchange[ActionResult | KillSwitchState]:
        """Return the state of the action, unless the agent is stopped."""
        agent_id = effect.action.agent_id
        state = self._known_state(agent_id)
        if state is None:
            features = yield from self._known()
            state = yield from kill_switch_asked(
                self._api, agent_id if features.claims else None, echoed=features.echo
            )
        if not is_off(state):
            return state
        return (yield from self._status(effect))

    def _detach(self, action_id: str) -> None:
        """Report that no call here waits for the action: the same call made later may resume it."""
        if self._features is not None and self._features.claims:
            runner = self.runner
            self._outbox.post(
                lambda: ask(
                    self._api, "detach_action", parameters={"action_id": action_id}, body={"runner": runner}
                )
            )

    def _open_stream(self, last_id: str | None, silence: float) -> Stream:
        resumed = {} if last_id is None else {"Last-Event-ID": last_id}
        headers = {**self._api.call_headers(None), **resumed}
        stream = self._listening.open(
            f"/api/v1/stream?runner={self.runner}", headers=headers, silence=silence
        )
        if stream.status == 200 and self._features is not None and self._features.echo:
            try:
                require_own("stream", headers, stream.headers)
            except ServerError:
                stream.close()
                raise
        return stream
