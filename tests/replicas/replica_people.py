"""People around the replicas: some approve and deny, some click at the same moment, one pulls the kill switch."""

from __future__ import annotations

import random
import threading
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from typing import Any

import requests
from replica_journal import Journal
from replica_world import Api, World

DECIDES = {"approve": "approved", "deny": "denied"}


class Person(threading.Thread):
    """Does something again and again, until told to stop.

    Args:
        name: whose token they have.
        journal: what they were told.
        seed: of their chance.
    """

    def __init__(self, name: str, journal: Journal, seed: int) -> None:
        super().__init__(name=name, daemon=True)
        self.journal = journal
        self.chance = random.Random(f"{name}-{seed}")
        self.stopping = threading.Event()
        self.failure: BaseException | None = None

    def run(self) -> None:
        try:
            while not self.stopping.wait(self.chance.uniform(0.05, 0.25)):
                self.turn()
        except BaseException as error:
            self.failure = error

    def turn(self) -> None:
        """What they do."""
        raise NotImplementedError

    def stop(self) -> None:
        """Let them finish what they are at."""
        self.stopping.set()
        self.join()
        if self.failure is not None:
            raise self.failure


class Approver(Person):
    """Two hands on two replicas: what waits is decided, now and then by both at the same moment.

    Args:
        world: where.
        urls: the replicas' addresses as they are now.
        name: whose token the first hand has; the second has another person's.
        journal: what they were told.
        seed: of their chance.
    """

    def __init__(
        self, world: World, urls: Callable[[], Sequence[str]], name: str, journal: Journal, seed: int
    ) -> None:
        super().__init__(name, journal, seed)
        self._urls = urls
        self._tokens = {one: world.token(one) for one in (f"{name}@example.com", f"{name}.two@example.com")}
        self._hands = ThreadPoolExecutor(2)

    def turn(self) -> None:
        urls = list(self._urls())
        self.chance.shuffle(urls)
        who = list(self._tokens)
        try:
            page = Api(urls[0], self._tokens[who[0]]).get("/api/v1/actions", status="pending", limit=50)
        except requests.RequestException:
            return
        if page.status_code != 200:
            return
        waiting = [action["id"] for action in page.json()["actions"]]
        self.chance.shuffle(waiting)
        for action_id in waiting[:4]:
            clicks = [(who[0], urls[0], self._verb())]
            if self.chance.random() < 0.5:
                clicks.append((who[1], urls[-1], self._verb()))
            for done in [self._hands.submit(self._decide, action_id, *click) for click in clicks]:
                done.result()

    def _verb(self) -> str:
        return self.chance.choice(("approve", "approve", "approve", "deny"))

    def _decide(self, action_id: int, who: str, url: str, verb: str) -> None:
        comment = f"{verb} {action_id} {random.getrandbits(60)}"
        self.journal.write("clicked", id=action_id, who=who, verb=verb, comment=comment)
        try:
            answer = Api(url, self._tokens[who]).post(
                f"/api/actions/{action_id}/{verb}", {"comments": comment}
            )
        except requests.RequestException:
            return  # nobody was told anything
        if answer.status_code == 200:
            status = answer.json()["status"]
            self.journal.write("decided", id=action_id, who=who, verb=verb, comment=comment, status=status)
        else:
            self.journal.write("not decided", id=action_id, who=who, status=answer.status_code)


class Stopper(Person):
    """Pulls the switch for one agent through one replica, and releases it through another.

    Args:
        world: where.
        urls: the replicas' addresses as they are now.
        agents: one of whom is stopped each time.
        journal: what it was told.
        seed: of its chance.
    """

    def __init__(
        self,
        world: World,
        urls: Callable[[], Sequence[str]],
        agents: Sequence[str],
        journal: Journal,
        seed: int,
    ) -> None:
        super().__init__("stopper", journal, seed)
        self._urls = urls
        self._agents = agents
        self._key = world.key()

    def turn(self) -> None:
        agent = self.chance.choice(self._agents)
        self._ask("trigger", agent)
        self.stopping.wait(self.chance.uniform(0.1, 0.5))
        self._ask("release", agent)
        self.stopping.wait(self.chance.uniform(0.3, 1.0))

    def _ask(self, what: str, agent: str) -> None:
        """Until it is told that it is done: a switch is never left half way."""
        body: dict[str, Any] = {"agent_id": agent, "reason": f"{what} by the stopper"}
        while True:
            self.journal.write(f"{what} sent", agent=agent)
            url = self.chance.choice(list(self._urls()))
            try:
                answer = Api(url, self._key).post(f"/api/billing/kill-switch/local/{what}", body)
            except requests.RequestException:
                threading.Event().wait(0.05)
                continue
            if answer.status_code == 200 or (what, answer.status_code) == ("release", 404):
                self.journal.write(f"{what} answered", agent=agent)
                return
            threading.Event().wait(0.05)
