"""What ``debug=True`` shows: every request and answer on the logger ``ascend_guard.client``, without secrets."""

from __future__ import annotations

import json
import logging
from collections.abc import Mapping, Sequence

import msgspec

from ascend_guard.arguments import normalise
from ascend_guard.errors import AscendError
from ascend_guard.redaction import REDACTED, is_secret_name, scrub

from .exchange import Sender
from .transport import Answer

_log = logging.getLogger("ascend_guard.client")
_MOST = 4000


class Logged:
    """Wraps a transport and logs requests and answers.

    Args:
        sender: the transport.
        secrets: texts that must not be shown, in addition to everything that looks like a secret.
    """

    def __init__(self, sender: Sender, secrets: Sequence[str]) -> None:
        self._sender = sender
        self._secrets = tuple(secrets)

    def send(
        self,
        method: str,
        path: str,
        *,
        body: bytes | None = None,
        headers: Mapping[str, str] = {},
        timeout: float | None = None,
    ) -> Answer:
        """One request, sent once."""
        if not _log.isEnabledFor(logging.DEBUG):
            return self._sender.send(method, path, body=body, headers=headers, timeout=timeout)
        mark = headers.get("X-Correlation-ID", "")
        where = scrub(path, self._secrets)
        _log.debug("%s -> %s %s %s %s", mark, method, where, self._names(headers), self._shown(body))
        try:
            answer = self._sender.send(method, path, body=body, headers=headers, timeout=timeout)
        except AscendError as error:
            _log.debug("%s <- %s: %s", mark, type(error).__name__, scrub(str(error), self._secrets))
            raise
        _log.debug("%s <- %d %s", mark, answer.status, self._shown(answer.body))
        return answer

    def _names(self, headers: Mapping[str, str]) -> str:
        hidden = {
            name: REDACTED
            if is_secret_name(name) or name.lower() == "x-signature"
            else scrub(value, self._secrets)
            for name, value in headers.items()
        }
        return json.dumps(hidden)

    def _shown(self, body: bytes | None) -> str:
        if not body:
            return "(no body)"
        try:
            plain = normalise({"body": msgspec.json.decode(body)}, key=b"").plain["body"]
            text = json.dumps(plain)
        except (msgspec.MsgspecError, ValueError, RecursionError):
            return f"({len(body):,} bytes that are not shown)"
        clean = scrub(text, self._secrets)
        return clean if len(clean) <= _MOST else f"{clean[:_MOST]}... ({len(body):,} bytes)"
