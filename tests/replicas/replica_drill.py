"""A drill: two replicas under load, and the things that befall them."""

from __future__ import annotations

import itertools
import json
import random
import re
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import Any

from postgres_server import PostgresServer
from recorded import every_action
from replica_balancer import Balancer
from replica_journal import Journal, told
from replica_people import Approver, Person, Stopper
from replica_truth import Line, check
from replica_world import PATIENCE, Replica, World, pair, until

from ascend_guard.store.log import key_of

UNEXPECTED = re.compile(r"Exception in |never retrieved|failed \([^\n]*\)\nTraceback|Fatal Python error")
"""What no process may write, whatever happens to its database."""


class Agent:
    """An agent's process.

    Args:
        drill: where it works.
        name: its agent's.
        kind: of its calls, see ``replica_agent``.
    """

    def __init__(self, drill: Drill, name: str, kind: str) -> None:
        self._drill = drill
        self.name = name
        self.kind = kind
        self.journal = drill.folder / f"{name}.journal"
        self._key = drill.world.key(name)
        self._starts = itertools.count()
        self._log = drill.folder / f"{name}.log"
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        """Start it, at the balancer."""
        given = {
            "url": self._drill.balancer.url,
            "key": self._key,
            "agent": self.name,
            "kind": self.kind,
            "journal": str(self.journal),
            "seed": f"{self._drill.seed}-{next(self._starts)}",
        }
        here = Path(__file__).parent
        with self._log.open("ab") as log:
            self.process = subprocess.Popen(
                [sys.executable, str(here / "replica_agent.py"), json.dumps(given)],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=log,
                env=self._drill.world.environment(ASCEND_POLICY="", PYTHONPATH=str(here)),
            )

    def ran(self, since: float) -> bool:
        """Whether a call that began after this moment has run to its end."""
        begun: set[str] = set()
        for line in told(self.journal):
            if line["what"] == "calling" and line["at"] > since:
                begun.add(line["note"])
            elif line["what"] == "returned" and line["note"] in begun:
                return True
        return False

    def kill(self) -> None:
        """End it without a word."""
        assert self.process is not None
        self.process.kill()
        self.process.wait()
        assert self.process.stdin is not None
        self.process.stdin.close()

    def stop(self) -> None:
        """Let it finish what it is at."""
        assert self.process is not None
        assert self.process.stdin is not None
        self.process.stdin.close()

    def ended(self) -> None:
        """Wait until it has."""
        assert self.process is not None
        assert self.process.wait(PATIENCE) == 0, self._log.read_text()

    def close(self) -> None:
        """End it if it still runs."""
        if self.process is not None and self.process.poll() is None:
            self.kill()


class Drill:
    """Agents and people at work on two replicas.

    Args:
        server: the PostgreSQL, which may be restarted.
        world: the database on it.
        replicas: two of them.
        balancer: before them.
        seed: of everything that chance decides.
    """

    def __init__(
        self, server: PostgresServer, world: World, replicas: list[Replica], balancer: Balancer, seed: int
    ) -> None:
        self.server = server
        self.world = world
        self.folder = world.folder
        self.replicas = replicas
        self.balancer = balancer
        self.seed = seed
        self.chance = random.Random(seed)
        self.agents = [
            Agent(self, f"agent-{number}", kind)
            for number, kind in enumerate(["threads", "tasks", "threads"])
        ]
        self.stuck: list[Agent] = []
        self.people: list[Person] = []
        self.observed: list[str] = []

    def begin(self) -> None:
        """Set everybody to work."""
        for agent in self.agents:
            agent.start()
        names = [agent.name for agent in self.agents]
        self.people = [
            *(
                Approver(self.world, self._urls, name, self._journal(name), self.seed)
                for name in ("ann", "bob")
            ),
            Stopper(self.world, self._urls, names, self._journal("stopper"), self.seed),
        ]
        for person in self.people:
            person.start()
        self.progress("the start", time.monotonic())

    def _urls(self) -> list[str]:
        return [replica.url for replica in self.replicas]

    def _journal(self, name: str) -> Journal:
        return Journal(self.folder / f"{name}.people")

    def progress(self, what: str, since: float) -> None:
        """Wait until each agent has run a call that it began after this moment."""
        until(lambda: all(agent.ran(since) for agent in self.agents), f"work goes on after {what}")
        self.observed.append(f"{what}: all agents went on within {time.monotonic() - since:.2f} s")

    def linger(self) -> None:
        """Let them work for a moment of any length."""
        threading.Event().wait(self.chance.uniform(0.1, 0.6))

    def befall(self, event: str) -> None:
        """Let something happen, and see that work goes on."""
        self.linger()
        happened = time.monotonic()
        EVENTS[event](self)
        self.progress(event, happened)
        self.progress(f"the end of {event}", time.monotonic())

    def end(self) -> dict[str, int]:
        """Let everybody finish, and hold what they were told against the database."""
        *approvers, stopper = self.people
        stopper.stop()
        for agent in self.agents:
            agent.stop()
        for agent in self.agents:
            agent.ended()
        for person in approvers:  # who are there until the last call that waits has ended
            person.stop()
        self.bury()
        for log in self.folder.glob("*.log"):
            written = log.read_text(errors="replace")
            fault = UNEXPECTED.search(written)
            assert fault is None, f"{log.name}: {written[fault.start() :][:4000]}"
        return self.check()

    def check(self) -> dict[str, int]:
        """What everybody was told against the database; how much there was of what."""
        return check(self.world, self._agents(), self._people())

    def journals(self) -> list[Path]:
        """Everybody's."""
        return [*self._agents(), *self._people()]

    def lines(self) -> list[Line]:
        """What everybody was told so far."""
        return [line for path in self.journals() for line in told(path)]

    def _agents(self) -> list[Path]:
        return [agent.journal for agent in (*self.agents, *self.stuck)]

    def _people(self) -> list[Path]:
        return sorted(self.folder.glob("*.people"))

    def bury(self) -> None:
        """A minute later, for those alone who are gone; nothing that was started is left without an outcome then."""
        running = [agent for agent in self.agents if agent.process and agent.process.poll() is None]
        assert not running
        self.pass_minute("true")
        until(lambda: not self._running(), "every started action has an outcome")

    def pass_minute(self, whose: str) -> None:
        """Let a minute pass for the leases of some processes."""
        name = self.world.database_url.rpartition("/")[2]
        self.server.execute(f"UPDATE runners SET seen_at = seen_at - 60 WHERE {whose}", name=name)

    def _running(self) -> list[int]:
        with self.world.store() as store:
            rows = store.read(lambda reader: every_action(reader))
        return [row.id for row in rows if row.claimed_at is not None and row.outcome is None]


# --- what may befall them ------------------------------------------------------------------------------------------------


def kill_replica(drill: Drill, number: int) -> None:
    """``kill -9``, and a new one after a moment."""
    drill.replicas[number].send(signal.SIGKILL)
    drill.linger()
    drill.replicas[number].start()


def kill_replicas(drill: Drill) -> None:
    """Both at once: for a moment there is no control plane."""
    for replica in drill.replicas:
        replica.send(signal.SIGKILL)
    for replica in drill.replicas:
        replica.launch()
    for replica in drill.replicas:
        replica.listening()


def end_replica(drill: Drill) -> None:
    """As an operator ends it, with the agents' streams open."""
    replica = drill.chance.choice(drill.replicas)
    took = replica.send(signal.SIGTERM)  # fails if it does not end by itself
    drill.observed.append(f"a replica told to end did so in {took:.2f} s")
    replica.start()


def stop_database(drill: Drill) -> None:
    """In good order, and start it again after a moment."""
    drill.server.stop("fast")
    drill.linger()
    drill.server.start()


def kill_agent(drill: Drill) -> None:
    """In the middle of its bodies; another process of the same agent follows."""
    agent = drill.chance.choice(drill.agents)
    agent.kill()
    agent.start()


def kill_stuck_agent(drill: Drill) -> None:
    """In the middle of one body: its action is ``unknown`` once its lease is over."""
    agent = Agent(drill, f"stuck-{len(drill.stuck)}", "stuck")
    drill.stuck.append(agent)
    agent.start()

    def begun() -> list[int]:
        return [line["id"] for line in told(agent.journal) if line["what"] == "began"]

    [action_id] = until(begun, "its body begins")
    agent.kill()
    drill.pass_minute(f"runner = (SELECT runner FROM actions WHERE key = {key_of(1, action_id)})")

    def outcome() -> Any:
        with drill.world.store() as store:
            row = store.read(lambda reader: reader.action("local", action_id))
        return row is not None and row.outcome

    assert until(outcome, "its action has an outcome") == "unknown"


EVENTS: dict[str, Callable[[Drill], None]] = {
    "kill -9 of replica a": lambda drill: kill_replica(drill, 0),
    "kill -9 of replica b": lambda drill: kill_replica(drill, 1),
    "kill -9 of both replicas": kill_replicas,
    "a crash of PostgreSQL": lambda drill: drill.server.restart("immediate"),
    "a stop of PostgreSQL": stop_database,
    "SIGTERM of a replica": end_replica,
    "kill -9 of an agent": kill_agent,
    "kill -9 of an agent in a body": kill_stuck_agent,
}


@contextmanager
def drill(server: PostgresServer, folder: Path, seed: int) -> Iterator[Drill]:
    """One on a database of its own. What was observed is printed: times are no promises."""
    with ExitStack() as stack:
        world = World(folder, stack.enter_context(server.database()))
        replicas, balancer = stack.enter_context(pair(world))
        going = Drill(server, world, replicas, balancer, seed)
        stack.callback(lambda: [agent.close() for agent in (*going.agents, *going.stuck)])
        stack.callback(lambda: [person.stopping.set() for person in going.people])
        try:
            going.begin()
            yield going
        finally:
            print(f"seed {seed}", *going.observed, sep="\n")
