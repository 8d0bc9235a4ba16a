"""What processes of their own do in these tests: governed refunds, and a word on standard output about each."""

from __future__ import annotations

import multiprocessing
import os
import sys
import threading

from ascend_guard import AscendError, RemoteControlPlane, governed


def plane_of(url: str, key: str, **options: object) -> RemoteControlPlane:
    return RemoteControlPlane(key, url, agent_id="my-agent", poll_interval=0.02, **options)  # type: ignore[arg-type]


def refunded(plane: RemoteControlPlane, amount: int, on_pending: str = "wait") -> str:
    """One refund; "ran", or the error's name."""
    ran: list[int] = []

    @governed("refund", "stripe", control_plane=plane, on_pending=on_pending)  # type: ignore[arg-type]
    def refund(amount: int) -> None:
        ran.append(amount)

    try:
        refund(amount)
    except AscendError as error:
        assert not ran
        return type(error).__name__
    assert ran == [amount]
    return "ran"


def say(*words: object) -> None:
    """One line, whole, whoever else is writing."""
    os.write(1, (" ".join(map(str, words)) + "\n").encode())


def heard() -> None:
    """Until the test sends a line; those that come later belong to whoever reads next."""
    byte = b""
    while byte != b"\n":
        byte = os.read(0, 1)
        assert byte, "the test has gone"


def work(url: str, key: str, amount: int, plane: RemoteControlPlane | None = None) -> None:
    assert refunded(plane or plane_of(url, key), amount) == "ran"


def pool(how: str, url: str, key: str) -> None:
    """A refund here, and one in each of two workers."""
    plane = plane_of(url, key)
    work(url, key, 0, plane)
    context = multiprocessing.get_context(how)
    for amount in (1, 2):
        inherited = (plane,) if how == "fork" else ()
        process = context.Process(target=work, args=(url, key, amount, *inherited))
        process.start()
        process.join()
        assert process.exitcode == 0


def rush(url: str, key: str, amount: str) -> None:
    """Ready, and at a word eight threads make the same detached call."""
    plane = plane_of(url, key)
    refunded(plane, 1)
    say("ready")
    heard()
    ends: list[str] = []
    threads = [
        threading.Thread(target=lambda: ends.append(refunded(plane, int(amount), "raise"))) for _ in range(8)
    ]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    for end in ends:
        say(end)
    plane.close()


def family(url: str, key: str, children: str) -> None:
    """A parent that has used its guard forks workers, as gunicorn does; all make the same waiting call."""
    plane = plane_of(url, key)
    assert refunded(plane, 1) == "ran"
    names = [plane.runner]
    made = []
    for _ in range(int(children)):
        child = os.fork()
        if child == 0:
            say("runner", plane.runner)
            say(refunded(plane, 900))
            plane.close()
            os._exit(0)
        made.append(child)
    say("runner", names[0])
    say(refunded(plane, 900))
    for child in made:
        assert os.waitpid(child, 0)[1] == 0
    plane.close()


def first_use_in_threads(url: str, key: str) -> None:
    """A forked child whose threads all use the guard at once, the first thing they do."""
    plane = plane_of(url, key)
    assert refunded(plane, 1) == "ran"
    child = os.fork()
    if child == 0:
        gate = threading.Barrier(8)
        ends: list[str] = []

        def use() -> None:
            gate.wait()
            ends.append(refunded(plane, 2))

        threads = [threading.Thread(target=use) for _ in range(8)]
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
        feeds = [thread for thread in threading.enumerate() if thread.name == "ascend-guard-feed"]
        say(len(feeds), *ends)
        plane.close()
        sys.stdout.flush()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    plane.close()


def forks_while_it_waits(url: str, key: str) -> None:
    """A child that is forked while another thread of the parent holds every lock there is."""
    plane = plane_of(url, key)
    assert refunded(plane, 1) == "ran"
    with plane._feed._lock, plane._outbox._lock, plane._permits._lock:
        child = os.fork()
    if child == 0:
        say(refunded(plane, 2))
        plane.close()
        os._exit(0)
    assert os.waitpid(child, 0)[1] == 0
    say(refunded(plane, 3))
    plane.close()
