"""Why a request has no answer, as an error of the tree that says what to check.

Rules (promise 3: only a request that was not sent may be sent again without a key; promise 8: secrets are not repeated):

1. The error is ``Unsent`` only if nothing was sent. Anything else says that the server may have received the request.
2. No error repeats what the server sent, what was sent to it, or a proxy's password.
"""

from __future__ import annotations

import http.client
import os
import socket
import ssl

import urllib3

from ascend_guard.bounded_socket import TooLarge
from ascend_guard.errors import AscendError, ConfigurationError, NetworkError, ServerError, TimeoutError

from .connection import RequestProgress
from .reading import AnswerRefused
from .settings import Peer


class Unsent(NetworkError):
    """The request certainly did not reach the server: no such host, refused, no TLS. Sending it again is safe."""


def explain(peer: Peer, error: Exception, call: RequestProgress) -> AscendError:
    """The error of the tree for what was raised while a request was sent and its answer read.

    Args:
        peer: the server that was asked.
        error: what was raised.
        call: how far the request got.
    """
    if isinstance(error, AscendError):
        return error
    if isinstance(error, AnswerRefused):
        return ServerError(f"{peer.name} {error}")
    if isinstance(error, TooLarge):
        return ServerError(f"{peer.name} answered with more than {call.limit:,.0f} bytes.")
    cause = _cause(error)
    if isinstance(cause, urllib3.exceptions.ClosedPoolError):
        return ConfigurationError("This client was closed during the call. Create a new one.")
    if call.silence is not None and not call.head:
        if isinstance(cause, socket.timeout):
            return NetworkError(f"{peer.name} sent nothing for {call.silence:g} s. Connect again.")
        return NetworkError(f"{peer.name} ended the stream early ({type(cause).__name__}). Connect again.")
    if call.over():
        fate = "It may have received the request." if call.sent else "Nothing was sent."
        return TimeoutError(
            f"{peer.name} did not answer within {call.seconds:g} s. Is it overloaded, or does something in "
            f"between drop packets? Check {peer.setting}, or allow a longer timeout. {fate}"
        )
    if call.sent:
        return NetworkError(f"{peer.name} {_broken(peer, cause)} It may have received the request.")
    return Unsent(f"{_unreachable(peer, cause)} Nothing was sent.")


def _unreachable(peer: Peer, cause: BaseException) -> str:
    if isinstance(cause, ssl.SSLCertVerificationError):
        return (
            f"The certificate of {peer.name} is not trusted: {cause.verify_message.rstrip('.')}. "
            f"Check {peer.setting}; if the CA is your own, name its bundle in REQUESTS_CA_BUNDLE."
        )
    if isinstance(cause, (ssl.SSLError, urllib3.exceptions.SSLError, ssl.CertificateError)):
        why = getattr(cause, "reason", None) or type(cause).__name__
        return f"No TLS connection to {peer.name} ({why}). Check that {peer.setting} is an https server's."
    who, through, remedy = peer.name, "", f"Check {peer.setting}: is the server running?"
    if peer.proxy:
        who, remedy = f"the proxy {peer.proxy}", "Check HTTPS_PROXY, or put the host into NO_PROXY."
        through = f" through {who}"
    if isinstance(cause, (socket.gaierror, UnicodeError)):
        return f"There is no address for {who}. {remedy}"
    if isinstance(cause, ConnectionRefusedError):
        return f"Nothing listens at {who}. {remedy}"
    why = os.strerror(cause.errno) if isinstance(cause, OSError) and cause.errno else "no connection"
    return f"No way to {peer.name}{through} ({why}). {remedy}"


def _broken(peer: Peer, cause: BaseException) -> str:
    if isinstance(cause, (http.client.IncompleteRead, urllib3.exceptions.IncompleteRead)):
        return "closed the connection in the middle of its answer."
    if isinstance(cause, ssl.SSLError):
        return f"ended the TLS connection ({cause.reason}): does it want a client certificate?"
    if isinstance(cause, OSError):  # http.client.RemoteDisconnected is one
        return "closed the connection before its answer was complete: is it restarting?"
    return f"sent no HTTP answer ({type(cause).__name__}): check that {peer.setting} is the right server's."


def _cause(error: BaseException) -> BaseException:
    """The error that urllib3 wrapped, possibly several times."""
    while True:
        inner = next((part for part in error.args if isinstance(part, BaseException)), error.__cause__)
        if inner is None:
            return error
        error = inner
