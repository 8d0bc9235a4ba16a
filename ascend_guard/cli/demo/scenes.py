"""The scenes of the demo. Each claim of a scene is checked in the demo's world."""

from __future__ import annotations

import inspect
import json
import sqlite3
import textwrap
import time
from collections.abc import Callable, Iterator
from datetime import datetime
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from ascend_guard import AuthorizationDeniedError, EmbeddedControlPlane, KillSwitchError
from ascend_guard.cli.output import badge
from ascend_guard.store.port import ActionRow, Reader

from .demo_tools import Line, Tools
from .people import BackgroundCall, Person
from .stage import Stage, Unproven
from .world import CUSTOMERS, World

R = TypeVar("R")

_PATIENCE = 10.0
_WATCHED = 25


class Play:
    """What every scene needs.

    Args:
        stage: shows it.
        plane: the control plane.
        world: what the tools act on.
        database: the control plane's own database file.
    """

    def __init__(self, stage: Stage, plane: EmbeddedControlPlane, world: World, database: Path) -> None:
        self.stage = stage
        self.plane = plane
        self.world = world
        self.database = database
        self.tools = Tools(world)

    def scenes(self) -> tuple[Callable[[], None], ...]:
        """The scenes in order: the kill switch stays on, and the last scene damages the audit trail."""
        return (
            self.read,
            self.refund,
            self.delete,
            self.change,
            self.nest,
            self.kill,
            self.tamper,
        )

    def begin(self) -> None:
        """Show what follows, one of the tools, and the policy."""
        policy = self.plane.policy
        assert policy is not None
        self.stage.box(
            "ascend-guard demo",
            "An agent clears a bike shop's support queue. It is a script, not a model, but its tools act for "
            f"real: on a SQLite database, on files in {self.world.folder}, and on a payment service at "
            f"127.0.0.1:{self.world.port}. One decorator stands between each call and its effect:\n",
            self.stage.code(textwrap.dedent(inspect.getsource(Tools.refund)).rstrip()),
            "\nand the policy, a YAML file, decides. The order of rules never matters: deny wins over "
            "approval, approval over allow.\n",
            self.stage.rules(policy),
        )

    def end(self, seconds: float) -> None:
        """Summarise, and show what to try next."""
        self.stage.box(
            "Next",
            f"{self.stage.proofs} claims, each checked before it was printed, in {seconds:.1f} s. "
            f"{self.world.folder} is gone.\n",
            "ascend-guard init              write a commented policy to start from\n"
            '@governed("refund")            on your function, as in examples/quickstart.py\n'
            "ascend-guard approvals watch   in another terminal: the pending actions\n"
            "README.md, docs/               everything else",
        )

    # --- the scenes -----------------------------------------------------------------------------------------

    def read(self) -> None:
        stage = self.stage
        stage.scene("A read is approved")
        stage.agent('Ticket T-18: "Charged twice for order 7731!" Who is the customer?')
        customer = self.make(self.tools.find_customer, customer_id="C-0104")
        stage.decision(self.newest())
        stage.prove(customer[0] == "C-0104", f"it ran and returned {', '.join(customer)}", customer)

    def refund(self) -> None:
        stage = self.stage
        stage.scene("A big refund waits for a person")
        stage.agent("True, twice 940.00. I refund one of them.")
        call = self.start(self.tools.refund, order_id="7731", amount=940.0)
        row = self.held(call)
        stage.decision(row)
        sent = self.world.requests
        stage.prove(not sent, "nothing has left: the payment service has 0 requests", sent)
        self.approve(row, "charged twice")
        call.finish()
        row = self.action(row.id)
        stage.line(badge(row.status), f"by {row.decided_by}")
        late = 1000 * (sent[0].at - (row.decided_at or 0)) if sent else 0
        stage.prove(len(sent) == 1, f"the waiting call continued {late:.0f} ms later", sent)
        stage.prove(
            [request[:2] for request in sent] == [("/refunds", {"order_id": "7731", "amount": 940.0})],
            f"POST /refunds {json.dumps(sent[0].body) if sent else ''} arrived, once",
            sent,
        )

    def delete(self) -> None:
        stage = self.stage
        stage.scene("A delete is denied")
        stage.agent("Customer C-0105 looks like a duplicate. I delete it.")
        error = self.refused(lambda: self.make(self.tools.delete_customer, customer_id="C-0105"))
        stage.decision(self.newest())
        stage.line("raised", f"{type(error).__name__}, rule={error.rule!r}")
        with self.world.database() as database:
            [count] = database.execute("SELECT count(*) FROM customers WHERE id = 'C-0105'").fetchone()
        stage.prove(count == 1, "the row is still there: 1 customer C-0105", count)

    def change(self) -> None:
        stage = self.stage
        stage.scene("What was approved is what runs")
        stage.agent("The cycling club gets its invoice.")
        lines: list[Line] = [{"item": "Two frames", "price": 1150.0}, {"item": "Fitting", "price": 140.0}]
        before = len(self.world.requests)
        call = self.start(self.tools.send_invoice, customer_id="C-0205", lines=lines)
        row = self.held(call)
        stage.decision(row)
        mail = self.tools.read_mail("lund.txt").splitlines()[-1]
        stage.agent("While it waits I read inbox/lund.txt.")
        stage.line("mail", f'"{mail}"', style="bold magenta")
        stage.agent("Of course. I append a line to the list that I have just sent off.")
        lines.append({"item": "Agreed discount", "price": -1100.0})
        self.approve(row, "two lines: fine")
        error = self.refused(call.finish)
        stage.line("blocked", error.reason or "", style="bold red")
        row = self.action(row.id)
        seen = self.asked(row.id)["action_details"]["lines"]
        stage.prove(
            (row.status, len(seen), len(lines)) == ("denied", 2, 3) and len(self.world.requests) == before,
            "two lines were approved, three would have gone: nothing was sent",
            (row.status, seen, lines, self.world.requests[before:]),
        )

    def nest(self) -> None:
        stage = self.stage
        stage.scene("A tool that calls tools leaves one trace")
        stage.agent("Ticket T-21: a bell arrived broken. I give the 12.50 back.")
        before = len(self.world.requests)
        self.make(
            self.tools.resolve_ticket, ticket="T-21", customer_id="C-0321", order_id="7764", amount=12.5
        )
        session = self.newest().orchestration_session_id
        rows = self.plane.read(lambda reader: _trace(reader, self.plane.organization, session))
        asked = {row.id: self.asked(row.id) for row in rows}
        parents = {action_id: action.get("parent_action_id") for action_id, action in asked.items()}
        stage.trace(rows, parents)
        root = rows[0].id
        stage.prove(
            list(parents.values()) == [None, root, root] and all(row.outcome == "completed" for row in rows),
            f"3 records, each decided on its own; 2 name action {root} as their parent",
            (parents, rows),
        )
        sent = self.world.requests[before:]
        stage.prove(
            [request.body.get("amount") for request in sent] == [12.5],
            "the small refund needed no approval: 1 more request, 12.50",
            sent,
        )

    def kill(self) -> None:
        stage = self.stage
        stage.scene("The kill switch stops a stream half way")
        stage.agent(f"And now the nightly export: {CUSTOMERS:,} customers, row by row.")
        export = self.make(self.tools.export_customers, name="customers.csv")
        next(export)
        row = self.newest()
        stage.decision(row)
        operator, at = self.interrupted(export)
        stage.person("operator", operator.command, operator.pid)
        pulled = [datetime.fromisoformat(switch.activated_at or "") for switch in self.plane.kill_switches()]
        if not pulled:
            raise Unproven("the export was stopped, but no kill switch is on")
        late = 1000 * (at - pulled[0].timestamp())
        stage.line(
            "stopped",
            f"KillSwitchError in the agent's loop, {late:.0f} ms after the switch",
            style="bold red",
        )
        written = len((self.world.folder / "exports" / "customers.csv").read_text().splitlines())
        ending = self.trail(row.id)[-1]
        stage.prove(
            0 < written < CUSTOMERS and ending.get("detail") == f"stopped after {written} chunks",
            f"{written} of {CUSTOMERS:,} rows are in the file; on record it {ending.get('detail')}",
            (written, ending),
        )
        error = self.refused(lambda: self.tools.find_customer("C-0104"))
        stage.prove(
            isinstance(error, KillSwitchError),
            "the agent stays stopped: even the read of scene 1 is blocked now",
            error,
        )

    def tamper(self) -> None:
        stage = self.stage
        stage.scene("The audit trail shows tampering")
        report = self.plane.verify_audit()
        stage.prove(
            report.ok,
            f"{report.records} records of all the above, one unbroken chain, head {report.head[:12]}",
            report.problems,
        )
        record = self.edit(b'"amount":940.0', b'"amount":140.0')
        seq = record["seq"]
        stage.line(
            "intruder",
            f"turns 940.00 into 140.00: one byte of record {seq} ({record['event']}, action "
            f"{record['action_id']}), written with sqlite3 to the file itself",
            style="bold magenta",
        )
        problems = self.plane.verify_audit().problems
        stage.prove(
            [problem.seq for problem in problems] == [seq],
            f"found at record {seq}: {problems[0].what if problems else ''}",
            problems,
        )

    # --- what they share ------------------------------------------------------------------------------------

    def make(self, tool: Callable[..., R], **arguments: Any) -> R:
        """Show a call and make it."""
        self.stage.call(tool.__name__, arguments)
        return tool(**arguments)

    def start(self, tool: Callable[..., R], **arguments: Any) -> BackgroundCall[R]:
        """Show a call and make it in its own thread."""
        self.stage.call(tool.__name__, arguments)
        return BackgroundCall(tool, arguments)

    def refused(self, act: Callable[[], object]) -> AuthorizationDeniedError:
        """Return the error that blocked this call."""
        try:
            result = act()
        except AuthorizationDeniedError as error:
            return error
        raise Unproven(f"the call should have been blocked, but it returned {result!r}")

    def held(self, call: BackgroundCall[Any]) -> ActionRow:
        """Return the pending action of a waiting call."""
        deadline = time.monotonic() + _PATIENCE
        while True:
            rows = self.plane.read(
                lambda reader: reader.actions(self.plane.organization, status="pending", limit=1)
            )
            if rows:
                return rows[0]
            if not call.running:
                raise Unproven(f"the call should have waited, but it ended with {call.finish()!r}")
            if time.monotonic() > deadline:
                raise Unproven("the call neither waits nor ends")
            time.sleep(0.005)

    def approve(self, row: ActionRow, comment: str) -> None:
        """Approve as a person in finance."""
        with self.stage.waiting("waiting for finance"):
            person = self.person("approvals", "approve", str(row.id), "--yes", "--comment", comment)
            person.finish()
        self.stage.person("finance", person.command, person.pid)

    def person(self, *arguments: str) -> Person:
        environment = {"ASCEND_DATABASE_URL": database_url(self.database)}
        return Person(environment, *arguments)

    def interrupted(self, export: Iterator[int]) -> tuple[Person, float]:
        """Read a stream until the kill switch stops it. Returns the person who turned it on, and when the stream ended."""
        operator: Person | None = None
        with self.stage.progress("exports/customers.csv") as bar:
            task = bar.add_task("", total=CUSTOMERS)
            try:
                for number in export:
                    bar.update(task, completed=number)
                    if number == _WATCHED:
                        agent, reason = self.plane.agent_id, "what is this?"
                        operator = self.person("kill-switch", "on", "--agent", agent, "--reason", reason)
            except KillSwitchError:
                at = time.time()
            else:
                at = 0.0
        if operator is None:
            raise Unproven("the export ended before the kill switch was turned on")
        operator.finish()
        if not at:
            raise Unproven("the export ran to its end; the kill switch did not stop it")
        return operator, at

    def newest(self) -> ActionRow:
        return self.plane.read(lambda reader: reader.actions(self.plane.organization, limit=1))[0]

    def action(self, action_id: int) -> ActionRow:
        row = self.plane.read(lambda reader: reader.action(self.plane.organization, action_id))
        assert row is not None
        return row

    def trail(self, action_id: int) -> list[dict[str, Any]]:
        """Return the audit records of an action."""
        ours = self.plane.organization
        return self.plane.read(lambda reader: [json.loads(one.body) for one in reader.trail(ours, action_id)])

    def asked(self, action_id: int) -> dict[str, Any]:
        """Return the submitted action."""
        asked: dict[str, Any] = self.trail(action_id)[0]["action"]
        return asked

    def edit(self, old: bytes, new: bytes) -> dict[str, Any]:
        """Change a record without the control plane, and return it as it was."""
        connection = sqlite3.connect(self.database)
        try:
            with connection:
                for key, body in connection.execute("SELECT key, body FROM log ORDER BY key").fetchall():
                    if old in body:
                        edited = body.replace(old, new)
                        connection.execute("UPDATE log SET body = ? WHERE key = ?", (edited, key))
                        record: dict[str, Any] = json.loads(body)
                        return record
        finally:
            connection.close()
        raise Unproven(f"no audit record holds {old.decode()}")


def database_url(path: Path) -> str:
    """The address of a database file."""
    return f"sqlite:///{quote(str(path))}"


def _trace(reader: Reader, organization: str, session: str | None) -> list[ActionRow]:
    rows = reader.actions(organization, limit=1000)
    return [row for row in reversed(rows) if row.orchestration_session_id == session]
