"""``ascend-guard audit``: verify the audit trail, and export it."""

from __future__ import annotations

import re
import sys
from collections.abc import Callable, Iterable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, TypeVar, cast

import typer

from ascend_guard.cli.command import command
from ascend_guard.cli.context import Refusal, Run
from ascend_guard.cli.files import write_file
from ascend_guard.cli.screen.database_snapshot import looking

if TYPE_CHECKING:
    from ascend_guard.engine.audit import Report
    from ascend_guard.store.port import Reader

R = TypeVar("R")

app = typer.Typer(help="Verify the audit trail.", no_args_is_help=True, rich_markup_mode="rich")

_SHOWN = 20


def _a_key(value: str | None) -> str | None:
    if value is not None and not re.fullmatch(r"[0-9a-fA-F]{64}", value.strip()):
        raise typer.BadParameter("a public key is 64 hexadecimal digits, as `audit export` prints it.")
    return None if value is None else value.strip().lower()


@command(app, "verify")
def verify(
    run: Run,
    file: Annotated[
        Path | None,
        typer.Argument(metavar="[FILE]", help="An export, verified offline; by default the database."),
    ] = None,
    public_key: Annotated[
        str | None,
        typer.Option(metavar="HEX", callback=_a_key, help="The export must be signed with this key."),
    ] = None,
) -> int:
    """Verify the audit trail: was a record edited, removed, reordered, or cut from the end?"""
    if file is None and public_key is not None:
        raise typer.BadParameter(
            "it is for an export; the database has its own key.", param_hint="--public-key"
        )
    report = _verify_database(run) if file is None else _verify_file(run, file, public_key)
    checked = run.database() if file is None else str(file)
    run.emit(
        {
            "ok": report.ok,
            "checked": checked,
            "records": report.records,
            "head": report.head,
            "signed_by": report.signed_by,
            "problems": [
                {"organization": problem.organization, "seq": problem.seq, "what": problem.what}
                for problem in report.problems
            ],
        }
    )
    run.named()
    if not run.json:
        _say(run, report, checked, public_key)
    return 0 if report.ok else 1


@command(app, "export")
def export(
    run: Run,
    file: Annotated[str, typer.Argument(metavar="FILE", help="The file to write; - is standard output.")],
    force: Annotated[bool, typer.Option("--force", help="Replace an existing file.")] = False,
) -> None:
    """Export the trail with its signed checkpoint, to verify it anywhere. A broken trail is not signed."""
    import time

    from ascend_guard.engine import audit

    if file == "-" and run.json:
        raise Refusal("An export on standard output is already JSON, line by line. Remove --json.")

    def work(reader: Reader, key: bytes) -> dict[str, Any]:
        report = audit.verify(reader, key)
        if not report.ok:
            problems = "; ".join(map(str, report.problems[:3]))
            raise Refusal(
                f"Not exported: a trail that was tampered with is not signed ({problems}). "
                f"See ascend-guard audit verify.",
                1,
            )
        return _write(file, force, audit.export(reader, key, time.time()))

    checkpoint = _with_trail(run, "Exporting", work, passes=2)
    signed_by = checkpoint["public_key"]
    heads = [(name, seq, bytes.fromhex(hash_)) for name, seq, hash_ in checkpoint["heads"]]
    records = sum(seq for _, seq, _ in heads)
    record = {"file": file, "records": records, "head": audit.head_of(heads), "public_key": signed_by}
    run.emit(record)
    if not run.json:
        from ascend_guard.cli.output import shown

        to = run.err if file == "-" else run.out
        to.print(shown(f"Exported {records:,} records{'' if file == '-' else f' to {file}'}.", "green"))
        to.print(f"Signed by {signed_by}", soft_wrap=True)
        to.print("Store that key elsewhere: audit verify FILE --public-key KEY then verifies the export.")


@command(app, "rebuild")
def rebuild(run: Run) -> int:
    """Compute actions, approvals, kill switches and registered things anew from the logs. Changed logs are not used."""
    from ascend_guard.cli.context import approver
    from ascend_guard.engine.rebuilding import rebuild as rebuilt

    run.require_database()
    store, who = run.plane().store, approver()
    records = store.read(lambda reader: sum(head.seq for head in reader.heads()))
    with run.progress("Rebuilding", records) as step:
        before = rebuilt(store, who, step)
    wrong = len(before.problems)
    run.emit({"rebuilt": run.database(), "records": before.records, "problems": wrong})
    run.named()
    if not run.json:
        from ascend_guard.cli.output import shown

        gone = "1 difference is gone" if wrong == 1 else f"{wrong:,} differences are gone"
        what = gone if wrong else "nothing differed"
        run.line(
            shown(f"✓ {run.database()}: computed anew from {before.records:,} records; {what}.", "green")
        )
    return 0


def _verify_database(run: Run) -> Report:
    from ascend_guard.engine import audit

    return _with_trail(run, "Verifying", audit.verify)


def _verify_file(run: Run, path: Path, public_key: str | None) -> Report:
    from ascend_guard.engine.audit import verify_export

    try:
        with path.open("rb") as file:
            count = sum(1 for _ in file)
            file.seek(0)
            with run.progress("Verifying", count) as step:
                return verify_export(_stepping(file, step), public_key)
    except OSError as error:
        raise Refusal(f"{path} cannot be read ({error.strerror or error}).", 1) from error


def _with_trail(run: Run, what: str, work: Callable[[Reader, bytes], R], *, passes: int = 1) -> R:
    """Run ``work`` on one snapshot of the trail, and show a progress bar while it is read."""
    from ascend_guard.store.sqlite.queries import SQLiteReader

    def watched(reader: Reader, key: bytes) -> R:
        with run.progress(what, passes * sum(head.seq for head in reader.heads())) as step:
            return work(cast("Reader", _Watched(reader, step)), key)

    settings = run.settings()
    if settings.postgres:
        store = run.plane().store
        return store.snapshot(lambda reader: watched(reader, store.secret))
    run.require_database()
    run.works_on(settings.place)
    with looking(settings.database()[0]) as (connection, key):
        return watched(SQLiteReader(connection), key)


class _Watched:
    """A reader that reports its progress through the trail."""

    def __init__(self, reader: Reader, step: Callable[[], None]) -> None:
        self._reader = reader
        self._step = step

    def __getattr__(self, name: str) -> Any:
        return getattr(self._reader, name)

    def log(self, organization: str, after: int = 0) -> Iterator[Any]:
        return _stepping(self._reader.log(organization, after), self._step)

    def stored(self, number: int, after: int = 0) -> Iterator[Any]:
        return _stepping(self._reader.stored(number, after), self._step)


def _stepping(items: Iterable[Any], step: Callable[[], None]) -> Iterator[Any]:
    for item in items:
        yield item
        step()


def _write(file: str, force: bool, lines: Iterable[bytes]) -> dict[str, Any]:
    """Write the lines and return the checkpoint, which is the last line."""
    import msgspec

    last = [b""]

    def passed() -> Iterator[bytes]:
        for line in lines:
            last[0] = line
            yield line

    if file == "-":
        sys.stdout.flush()
        sys.stdout.buffer.writelines(passed())
        sys.stdout.buffer.flush()
    else:
        write_file(Path(file), passed(), force=force, mode=0o600)
    checkpoint: dict[str, Any] = msgspec.json.decode(last[0])["checkpoint"]
    return checkpoint


def _say(run: Run, report: Report, checked: str, public_key: str | None) -> None:
    from rich.text import Text

    from ascend_guard.cli.output import cell, shown, table

    if report.ok:
        run.line(
            shown(
                f"✓ {checked}: {report.records:,} records, none edited, removed, reordered or cut.", "green"
            )
        )
        run.say(Text(f"  head {report.head}", "dim"))
    else:
        run.line(shown(f"✗ {checked} was changed after it was written.", "bold red"))
        listed = table("Where", "What is wrong")
        for problem in report.problems[:_SHOWN]:
            listed.add_row(cell(problem.where), shown(problem.what, "red"))
        run.say(listed)
        if len(report.problems) > _SHOWN:
            run.say(f"and {len(report.problems) - _SHOWN:,} more problems")
    if report.signed_by is not None:
        run.say(shown(f"  signed by {report.signed_by}", "dim"))
        if public_key is None:
            run.say(
                Text(
                    "  Anyone can sign with some key: compare it with the key that audit export printed.",
                    "yellow",
                )
            )
