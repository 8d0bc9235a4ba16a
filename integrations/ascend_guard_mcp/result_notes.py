"""Add a note for the client's model to a tool's result: a person changed the call's arguments.

The note is a text block after the tool's own content. Structured content stays unchanged, because it has a schema.
"""

from __future__ import annotations

from typing import TypeVar

R = TypeVar("R")


def with_note(result: R, note: str) -> R:
    """Return the same result, of either major version of mcp or of fastmcp, or as plain data, with one more text block.

    Results without content, such as a protocol error, a task, or a question to the client, stay unchanged: the model reads
    the note with the result that follows, or not at all.
    """
    if (
        isinstance(result, tuple) and result and isinstance(result[0], list)
    ):  # content, and structured content
        return type(result)((with_note(result[0], note), *result[1:]))
    if isinstance(result, list):
        return [*result, _block(note)]  # type: ignore[return-value]  # a list as it was
    root = getattr(result, "root", None)  # mcp 1.x wraps results
    if root is not None:
        noted = with_note(root, note)
        if noted is not root:
            return type(result)(noted)  # type: ignore[call-arg]  # its one field is the root
        return result
    if isinstance(result, dict):
        content = result.get("content")
        if not isinstance(content, list):
            return result
        return {**result, "content": [*content, {"type": "text", "text": note}]}  # type: ignore[return-value]  # a dict as it was
    content = getattr(result, "content", None)
    if not isinstance(content, list):
        return result
    block = _block(note)
    copy = getattr(result, "model_copy", None)
    if copy is not None:
        copied: R = copy(update={"content": [*content, block]})
        return copied
    result.content = [*content, block]  # type: ignore[attr-defined]  # fastmcp 3's result is a plain object, made for this call
    return result


def _block(note: str) -> object:
    from importlib import import_module

    return import_module("mcp.types").TextContent(type="text", text=note)
