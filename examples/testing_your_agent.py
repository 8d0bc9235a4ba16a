"""How to test an agent whose calls are allowed, denied, held or stopped: without policy and database.

Run it with pytest (``pip install pytest``), or directly::

    pytest examples/testing_your_agent.py

The fixture ``ascend_guard_script`` comes with ascend-guard: a ``ScriptedControlPlane`` that answers as the
test says, denies what the test does not mention, and remembers the submitted actions.
"""

import os
import sys

try:
    import pytest
except ModuleNotFoundError as error:
    sys.exit(f"This needs {error.name}. Install it: pip install pytest")

from ascend_guard import ActionPendingError, AuthorizationDeniedError, Decision, governed
from ascend_guard.testing import ScriptedControlPlane

# --- the agent under test ---

ledger: list[tuple[str, float]] = []


@governed("refund", resource="orders/{order_id}", on_pending="raise")
def refund(order_id: str, amount: float) -> None:
    ledger.append((order_id, amount))


def settle_complaint(order_id: str, amount: float) -> str:
    """Return what the agent tells the customer."""
    try:
        refund(order_id, amount)
    except ActionPendingError:
        return "A colleague has to look at this first."
    except AuthorizationDeniedError as error:
        return f"I cannot do that: {error.reason}."
    return f"You get {amount:.2f} back."


@pytest.fixture(autouse=True)
def _empty_ledger() -> None:
    ledger.clear()


# --- its tests ---


def test_an_approved_refund_is_booked(ascend_guard_script: ScriptedControlPlane) -> None:
    """An approved call runs, once, and the control plane saw the arguments that ran."""
    ascend_guard_script.approve("refund")
    assert settle_complaint("7764", 12.5) == "You get 12.50 back."
    assert ledger == [("7764", 12.5)]
    [asked] = ascend_guard_script.asked
    assert asked.resource == "orders/7764"
    assert asked.action_details == {"order_id": "7764", "amount": 12.5}


def test_a_denied_refund_is_explained(ascend_guard_script: ScriptedControlPlane) -> None:
    """The agent passes the reason on, and nothing is booked."""
    ascend_guard_script.deny("refund", reason="the order is too old")
    assert settle_complaint("7764", 12.5) == "I cannot do that: the order is too old."
    assert ledger == []


def test_a_held_refund_runs_once_somebody_agreed(ascend_guard_script: ScriptedControlPlane) -> None:
    """The same call, made again after the approval, resumes the action."""
    ascend_guard_script.pending("refund")
    assert settle_complaint("7731", 940.0) == "A colleague has to look at this first."
    assert ledger == []
    ascend_guard_script.decide("1", Decision.APPROVED)
    assert settle_complaint("7731", 940.0) == "You get 940.00 back."
    assert ledger == [("7731", 940.0)]


def test_a_stopped_agent_books_nothing(ascend_guard_script: ScriptedControlPlane) -> None:
    """The kill switch comes before all other decisions."""
    ascend_guard_script.approve()
    ascend_guard_script.kill("an incident")
    assert settle_complaint("7764", 12.5) == "I cannot do that: an incident."
    assert ledger == []


def test_what_the_script_does_not_mention_is_denied() -> None:
    """Without the fixture: a scripted control plane works with any test runner."""
    plane = ScriptedControlPlane()
    delete = governed("order_delete", control_plane=plane)(ledger.clear)
    with pytest.raises(AuthorizationDeniedError, match="does not mention order_delete"):
        delete()


if __name__ == "__main__":
    # Only for this file: without the settings of a surrounding folder and the output of other plugins.
    alone = (
        "-c",
        os.devnull,
        "--noconftest",
        "-p",
        "no:cacheprovider",
        "-p",
        "no:asyncio",
        "-p",
        "no:benchmark",
    )
    quiet = ("-q", "-W", "ignore::pytest.PytestAssertRewriteWarning")
    sys.exit(pytest.main([__file__, *alone, *quiet]))
