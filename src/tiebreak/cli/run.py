"""`tiebreak run FILE`: a test from a file, from the dataset to the verdict."""

import argparse
import asyncio
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any
from urllib.parse import quote

from tiebreak.cli.connection import Connection, converse
from tiebreak.cli.dataset import name_of, upload
from tiebreak.cli.entry import FINISHED, INFRASTRUCTURE, INTERRUPTED, OVER_BUDGET
from tiebreak.cli.files import definition_of, wire
from tiebreak.cli.follow import follow, progress
from tiebreak.cli.output import print_json
from tiebreak.cli.render import print_results
from tiebreak.errors import Conflict, InvalidInput, NotFound, TiebreakError
from tiebreak.experiments.definition import Definition, Sample, digest

BUDGET = "budget"  # how the reason of a run that its budget paused begins


def configure(parser: argparse.ArgumentParser) -> None:
    """The file, and what to change for this once."""
    parser.add_argument(
        "file", type=Path, help="the test: variants, dataset, metrics, decision (YAML or JSON)"
    )
    parser.add_argument("--dataset", type=Path, metavar="PATH", help="upload this file and use it")
    parser.add_argument(
        "--limit", type=int, metavar="N", help="only so many items, drawn with the test's seed"
    )
    parser.add_argument("--concurrency", type=int, metavar="N", help="calls in flight")
    parser.add_argument("--max-cost", type=float, metavar="USD", help="stop at this spend, in US dollars")
    parser.add_argument(
        "--resume", action="store_true", help="go on with the unfinished run of this file and dataset"
    )


def run(options: argparse.Namespace) -> int:
    """From the file to the verdict."""
    definition = definition_of(options.file)
    if options.limit is not None:
        definition = limited(definition, options.limit)
    return converse(options, lambda api: whole(options, definition, api))


def limited(definition: Definition, size: int) -> Definition:
    """The same test on `size` items.

    Raises:
        InvalidInput: no size of a sample.
    """
    if size < 1:
        raise InvalidInput(f"--limit {size} leaves nothing to compare; it is 1 or more")
    stratify = definition.sample.stratify if definition.sample else None
    return definition.model_copy(update={"sample": Sample(size=size, stratify=stratify)})


async def whole(options: argparse.Namespace, definition: Definition, api: Connection) -> int:
    """Upload, start or resume, wait, show."""
    if options.dataset is not None:
        name = (definition.dataset or name_of(options.dataset)).partition("@")[0]
        stored = await upload(api, options.dataset, name)
        definition = definition.model_copy(update={"dataset": f"{stored['name']}@{stored['version']}"})
    if definition.dataset is None:
        raise InvalidInput(f"{options.file} names no dataset; write `dataset: NAME`, or pass --dataset PATH")
    try:
        begun = await (resumed if options.resume else started)(options, definition, api)
    except Conflict as exc:
        if not str(exc.detail).startswith(BUDGET):
            raise
        print(f"tiebreak: {exc.detail}; raise it with --max-cost", file=sys.stderr)
        return OVER_BUDGET
    async with working(api):
        ended = await waited(options, api, begun)
    return INTERRUPTED if ended is None else await shown(options, api, ended)


async def started(options: argparse.Namespace, definition: Definition, api: Connection) -> dict[str, Any]:
    """A new test and its run; the test is taken back when it cannot run."""
    test = await api.send("POST", "/tests", wire(definition))
    try:
        run: dict[str, Any] = await api.send("POST", "/runs", {"test": test["id"], **limits(options)})
    except TiebreakError:
        await api.send("DELETE", f"/tests/{test['id']}")
        raise
    return run


async def resumed(options: argparse.Namespace, definition: Definition, api: Connection) -> dict[str, Any]:
    """The newest unfinished run of this definition and dataset, going on.

    Raises:
        NotFound: there is none.
        Conflict: its budget is used up and not raised.
    """
    stored = await dataset_of(definition, api)
    rows = [
        row
        async for row in api.pages(
            "/runs",
            definition_hash=digest(definition),
            content_hash=stored["content_hash"],
            unfinished="true",
        )
    ]
    if not rows:
        raise NotFound(
            f"no unfinished run of {options.file} on {definition.dataset}; leave --resume out to start one"
        )
    run: dict[str, Any] = rows[-1]
    if run["state"] == "paused":
        run = await api.send("POST", f"/runs/{run['id']}/resume", limits(options))
    elif limits(options):
        run = await api.send("PATCH", f"/runs/{run['id']}", limits(options))
    return run


async def dataset_of(definition: Definition, api: Connection) -> dict[str, Any]:
    """The dataset's version that the definition names."""
    name, _, version = str(definition.dataset).partition("@")
    path = f"/datasets/{quote(name, safe='')}"
    if not version:
        latest: dict[str, Any] = await api.get(path)
        return latest
    async for row in api.pages(f"{path}/versions"):
        if row["version"] == int(version):
            return row
    raise NotFound(f"dataset {name!r} has no version {version}; `tiebreak dataset list` shows the latest")


def limits(options: argparse.Namespace) -> dict[str, Any]:
    """What the command line says of concurrency and budget."""
    said: dict[str, Any] = {}
    if options.concurrency is not None:
        said["concurrency"] = options.concurrency
    if options.max_cost is not None:
        said["budget"] = {"max_cost": options.max_cost}
    return said


@asynccontextmanager
async def working(api: Connection) -> AsyncIterator[None]:
    """A worker in this process while the app is in it; a server has its own."""
    if api.parts is None:
        yield
        return
    from tiebreak.cli.worker import worker_of

    try:
        async with asyncio.TaskGroup() as tasks:
            worker = tasks.create_task(worker_of(api.parts).run())
            yield
            worker.cancel()
    except BaseExceptionGroup as group:
        raise group.exceptions[0] from None  # whichever of the two failed; the other was only cancelled


async def waited(options: argparse.Namespace, api: Connection, run: dict[str, Any]) -> dict[str, Any] | None:
    """The run when it has stopped; None when Ctrl-C paused it."""
    with progress(quiet=options.json) as meter:
        try:
            return await follow(api, run["id"], meter)
        except asyncio.CancelledError:
            # Ctrl-C: the run is paused, not left to workers nobody watches. A second Ctrl-C ends at once.
            this = asyncio.current_task()
            if this is None or this.uncancel() > 0:
                raise
            await api.send("POST", f"/runs/{run['id']}/pause")
    print(f"tiebreak: paused; go on with `{resume_command(options)}`", file=sys.stderr)
    return None


def resume_command(options: argparse.Namespace) -> str:
    """The command line that goes on with this run."""
    dataset = f" --dataset {options.dataset}" if options.dataset else ""
    limit = f" --limit {options.limit}" if options.limit else ""
    return f"tiebreak run {options.file}{dataset}{limit} --resume"


async def shown(options: argparse.Namespace, api: Connection, run: dict[str, Any]) -> int:
    """Print the results; the exit code says how the run stopped."""
    path = f"/analytics/tests/{run['test']}/results"
    document = await api.get(path)
    if options.json:
        print_json(document)
    else:
        print_results(document)
        if api.url is not None:
            print(f"{api.url}/api/v1{path}")
    if run["state"] == "completed":
        return FINISHED
    reason = run["reason"] or "no reason given"
    print(f"tiebreak: the run is {run['state']}: {reason}", file=sys.stderr)
    if run["state"] != "paused":
        return INFRASTRUCTURE
    if reason.startswith(BUDGET):
        print(f"tiebreak: raise the budget: `{resume_command(options)} --max-cost USD`", file=sys.stderr)
        return OVER_BUDGET
    print(f"tiebreak: go on with `{resume_command(options)}`", file=sys.stderr)
    return INFRASTRUCTURE
