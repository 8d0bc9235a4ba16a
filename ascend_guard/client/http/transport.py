"""HTTP to the control plane: a requests session's settings, a urllib3 pool, one deadline for the whole call.

requests decides the settings (proxies, certificates) once, when a transport is made. The calls use a urllib3 pool directly,
which costs less than half of a call of requests.

Rules (promise 1: any fault is an error; promise 3: no request is repeated unnoticed; promise 8: keys go nowhere else):

1. Nothing is sent again here. ``exchange`` decides that, where there is an idempotency key.
2. No redirect is followed and no cookie is kept: nobody else gets the request and its keys.
3. A call ends by its deadline, with a bounded answer or an error of the tree (``connection``, ``reading``).
4. A forked child starts with no connection.
"""

from __future__ import annotations

import copy
import logging
import os
import threading
import weakref
from collections.abc import Iterator, Mapping
from types import MappingProxyType

import msgspec
import requests
import urllib3

from ascend_guard.errors import (
    ConfigurationError,
    NetworkError,
    ValidationError,
)
from ascend_guard.processes import renewed_in_children, this_process
from ascend_guard.redaction.hidden import masks

from .connection import Idle, RequestProgress, current
from .settings import Peer, authenticated, check_target, checked, settle
from .unanswered import Unsent, explain

__all__ = ["Answer", "Stream", "Transport", "Unsent"]

_log = logging.getLogger("ascend_guard").getChild("client")

_NONE: Mapping[str, str] = MappingProxyType({})
_CHUNK = 64 << 10


@masks("headers", "body")
class Answer(msgspec.Struct, frozen=True):
    """What the server answered.

    Args:
        status: the HTTP status. A redirect is an answer like any other.
        headers: by lower-case name; several of one name are joined by a comma.
        body: all of it.
    """

    status: int
    headers: dict[str, str]
    body: bytes


class Stream:
    """A long answer, such as server-sent events. Iterate over it for chunks of bytes.

    The iteration ends with the answer, or when the stream is closed. It raises ``NetworkError`` when nothing came for
    ``silence`` seconds, or the connection broke.
    """

    def __init__(self, peer: Peer, response: urllib3.BaseHTTPResponse, call: RequestProgress) -> None:
        self.status: int = response.status
        self.headers: dict[str, str] = call.fields
        self._peer = peer
        self._response = response
        self._call = call
        self._made_in = this_process()
        self._closed = False
        self._reading = threading.Lock()

    def __iter__(self) -> Iterator[bytes]:
        return self

    def __next__(self) -> bytes:
        if self._made_in is not this_process():
            raise NetworkError("This stream belongs to the parent process. Open another one in this process.")
        with self._reading:
            data = b""
            try:
                if not self._closed:
                    data = self._response.read1(_CHUNK, decode_content=False)
            except Exception as error:
                if not self._closed:
                    raise explain(self._peer, error, self._call) from None
                data = b""
            finally:
                if self._closed or not data:
                    self._closed = True
                    self._response.close()
        if self._closed:
            raise StopIteration
        return data

    def close(self) -> None:
        """End it, from any thread. A thread that waits for a chunk wakes. Closing twice is allowed."""
        self._closed = True
        if self._made_in is this_process() and self._call.sock is not None:
            try:
                self._call.sock.shutdown()
            except OSError:
                pass  # the peer was first
        if self._reading.acquire(blocking=False):  # else the thread that reads closes it
            try:
                self._response.close()
            finally:
                self._reading.release()

    def abandon(self) -> None:
        """In a forked child: close its copy of the connection. The parent's is not affected."""
        sock = self._call.sock
        if sock is not None:
            try:
                os.close(sock.raw.detach())
            except OSError:
                pass  # the parent had closed it


class Transport:
    """Sends requests to one control plane. Threads share one; a forked child makes connections of its own.

    Args:
        base_url: https, or http on this machine; a path in it goes before every call's.
        headers: sent with every request. They replace the session's; those that ``session.auth`` sets replace them.
        timeout: seconds for a whole call, from looking up the host to the last byte; one day at most.
        session: gives proxies, CA bundle, client certificate, authentication and headers. Without one, the environment is
            used as requests reads it. It is read once, here, and not changed; its authentication is called for each
            request. ``~/.netrc`` is not used.
        pool: number of connections that are kept for the next calls; more may be open.
        limit: bytes a body may have.
        setting: what errors name as the place where the URL is set.

    Raises:
        ConfigurationError: the URL or the session cannot be used; the message names the remedy.
        ValidationError: a header cannot be sent.
    """

    def __init__(
        self,
        base_url: str,
        *,
        headers: Mapping[str, str] = _NONE,
        timeout: float = 30.0,
        session: requests.Session | None = None,
        pool: int = 32,
        limit: int = 8 << 20,
        setting: str = "ASCEND_API_URL",
    ) -> None:
        if not timeout > 0:
            raise ConfigurationError("The timeout must be more than 0 seconds.")
        self._peer = Peer(base_url, setting)
        self._template, self._headers = settle(self._peer, session, checked(headers))
        self._session = session
        self._timeout = timeout
        self._size = pool
        self._limit = limit
        self._once = urllib3.Retry(False)
        self._closed = False
        self.renew()
        renewed_in_children(self)

    def renew(self) -> None:
        """Start without connections. Called automatically in forked children."""
        pool = copy.copy(self._template)
        idle = Idle(self._size)
        pool.pool = idle  # type: ignore[assignment]  # urllib3 names a queue, and uses of it what Idle has
        weakref.finalize(pool, idle.close)
        self._pool = pool

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = _NONE,
        timeout: float | None = None,
    ) -> Answer:
        """One request, sent once.

        Args:
            method: as in "POST".
            path: begins with "/", is quoted, and may have a query.
            body: sent unchanged; the headers should name its content type.
            headers: of this request; they replace all others except those that ``session.auth`` sets.
            timeout: seconds for this call instead of the transport's.

        Raises:
            TimeoutError: the answer was not complete in time. The server may have received the request.
            Unsent: the server certainly received nothing.
            NetworkError: no answer, or a broken one. The server may have received the request.
            ServerError: the answer is too large or compressed.
            ValidationError: the method, the path or a header cannot be sent.
            ConfigurationError: the transport is closed.
        """
        call = RequestProgress(self._timeout if timeout is None else timeout, self._limit)
        response = self._ask(call, method, path, body, headers, preload=True)
        return Answer(response.status, call.fields, response.data)

    def open(self, path: str, *, headers: Mapping[str, str] = _NONE, silence: float) -> Stream:
        """A long-lived GET. Until the head of the answer has come, it behaves like ``send`` and raises the same errors.

        Args:
            silence: seconds without any byte after which the stream counts as broken.
        """
        if not silence > 0:
            raise ValidationError("The silence that a stream may have must be more than 0 seconds.")
        call = RequestProgress(self._timeout, float("inf"), silence)
        return Stream(self._peer, self._ask(call, "GET", path, None, headers, preload=False), call)

    def close(self) -> None:
        """Close idle connections; those in use close when their calls end. Closing twice is allowed."""
        self._closed = True
        self._pool.close()

    def _ask(
        self,
        call: RequestProgress,
        method: str,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str],
        *,
        preload: bool,
    ) -> urllib3.BaseHTTPResponse:
        check_target(method, path)
        pool = self._live()
        sent = {**self._headers, **checked(headers)} if headers else self._headers
        if self._session is not None and self._session.auth is not None:
            sent = authenticated(self._session, method, self._peer.url(path), sent, body)
        token = current.set(call)
        outcome: object = "interrupted"
        try:
            response = pool.urlopen(
                method,
                self._peer.prefix + path,
                body=body,
                headers=sent,
                retries=self._once,
                redirect=False,
                assert_same_host=False,
                preload_content=preload,
                decode_content=False,
            )
            outcome = response.status
            return response
        except Exception as error:
            failure = explain(self._peer, error, call)
            outcome = type(failure).__name__
            raise failure from None  # urllib3's message may contain the server's text
        finally:
            current.reset(token)
            if _log.isEnabledFor(logging.DEBUG):
                _log.debug("%s %s: %s in %.1f ms", method, path, outcome, call.taken() * 1000)

    def _live(self) -> urllib3.HTTPConnectionPool:
        if self._closed:
            raise ConfigurationError("This client is closed. Create a new one.")
        return self._pool
