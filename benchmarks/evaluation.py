"""Print how fast the evaluator asks: every task, against a server that behaves like vLLM.

python benchmarks/evaluation.py [--tasks NAME,...] [--in-flight N] [--quick]

The rows are those of the cache (``ptb prefetch``), or of the folder named by PTB_TEST_DATA as the
tests use it; AIME and GPQA rows are then invented ones, repeated to the real number. The server's
time is a tenth or so of a large GPU's, so that the client has to be faster than there.
"""

from __future__ import annotations

import argparse
import gzip
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from loaded_server import Load, lengths, shortest_s
from measuring import in_own_process, print_table

MEAN_TOKENS = {
    "aime2025": 4000,
    "arenahardwriting": 900,
    "bfcl": 60,
    "gpqamain": 900,
    "gsm8k": 180,
    "healthbench": 500,
    "humaneval": 250,
}
"""Mean length of an answer, about what small models write."""

PUBLISHED_IN_FLIGHT = {"arenahardwriting": 1, "healthbench": 1, "humaneval": 1, "gsm8k": 2}
"""Connections of the published way; 6 for the other tasks."""

SLOW = ("arenahardwriting", "gsm8k", "healthbench", "humaneval")
HEADING = (
    "task",
    "samples",
    "wall s",
    "capacity bound s",
    "% of capacity",
    "published way s",
    "times faster",
    "client cores",
    "client peak MB",
    "most in flight",
    "start to first request s",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast the evaluator asks.")
    parser.add_argument("--tasks", default=",".join(MEAN_TOKENS))
    parser.add_argument("--in-flight", type=int, default=200)
    parser.add_argument("--quick", action="store_true", help="20 samples, short answers")
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.client:
        print(json.dumps(ask_all(json.loads(options.client))))
        return
    print(
        f"Targets: at least 90 % of capacity; at least 10 times the published way on "
        f"{', '.join(SLOW)}; a client below one core and 600 MB; first request within 6 s."
    )
    rows = []
    with tempfile.TemporaryDirectory(prefix="ptb-", dir="/tmp") as folder:
        for task in options.tasks.split(","):
            rows.append(measure(task, Path(folder), options))
    print_table(HEADING, rows)


def measure(task: str, folder: Path, options: argparse.Namespace) -> tuple[str, ...]:
    """Evaluate one task in a process of its own, and compare."""
    try:
        data = prepare(task, folder)
    except LookupError as error:
        return (task, f"not measured: {error}", *[""] * (len(HEADING) - 2))
    mean = MEAN_TOKENS[task] / (20 if options.quick else 1)
    order = {
        "task": task,
        "mean": mean,
        "data": data,
        "limit": 20 if options.quick else None,
        "in_flight": options.in_flight,
        "socket": str(folder / f"{task}.socket"),
    }
    with server(Path(order["socket"]), options.in_flight, mean):
        began = time.time()
        found = in_own_process(__file__, order)
    load = Load(slots=options.in_flight)
    bound = shortest_s(load, found["lengths"], options.in_flight)
    connections = PUBLISHED_IN_FLIGHT.get(task, 6)
    published = shortest_s(load, found["lengths"], connections)
    return (
        task,
        str(len(found["lengths"])),
        f"{found['wall_s']:.2f}",
        f"{bound:.2f}",
        f"{100 * bound / found['wall_s']:.1f}",
        f"{published:.1f} ({connections} at once)",
        f"{published / found['wall_s']:.1f}",
        f"{found['cpu_s'] / found['wall_s']:.2f}",
        f"{found['peak_mb']:.0f}",
        str(found["most_open"]),
        f"{found['first_request_unix_s'] - began:.2f}",
    )


@contextmanager
def server(socket: Path, slots: int, mean: float) -> Iterator[None]:
    """Run the server in another process."""
    script = Path(__file__).with_name("loaded_server.py")
    command = [sys.executable, str(script), str(socket), "--slots", str(slots), "--mean", str(mean)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    try:
        assert process.stdout is not None
        if process.stdout.readline() != "ready\n":
            raise RuntimeError("the server did not start")
        yield
    finally:
        process.terminate()
        process.wait()
        if process.stdout is not None:
            process.stdout.close()


def ask_all(order: Mapping[str, Any]) -> dict[str, Any]:
    """Be the client: from nothing to all completions, as the generate stage is."""
    from ptb_core.api import DataDir, Endpoint, ProcessHandle
    from ptb_core.catalogue import load_catalogue
    from ptb_core.evaluation.generate import GenerateOptions, SampleRequests, generate
    from ptb_core.evaluation.questions import questions

    task = load_catalogue().task(order["task"])
    files = {name: Path(path) for name, path in order["data"]["files"].items()}
    samples = task.samples(DataDir(files=files, prompts=order["data"]["prompts"]))
    asked = [
        SampleRequests(id=sample.id, requests=task.requests(sample, "published"))
        for sample in task.order(samples, order["limit"])
    ]
    socket = Path(order["socket"])
    endpoint = Endpoint(
        socket=socket,
        process=ProcessHandle(session="none", id="0"),
        model_name="scripted",
        max_in_flight=order["in_flight"],
    )
    options = GenerateOptions(requests="published", max_tokens=task.spec.max_tokens)
    log = socket.with_suffix(".completions")
    cpu_before, began = time.process_time(), time.perf_counter()
    result = generate(asked, endpoint, options, log, lambda done, total: None)
    wall_s, cpu_s = time.perf_counter() - began, time.process_time() - cpu_before
    assert not result.missing, next(iter(result.missing.values()))
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    bodies = [question.body for question in questions(asked, options)]
    return {
        "wall_s": wall_s,
        "cpu_s": cpu_s,
        "peak_mb": peak_kb / 1024,
        "lengths": [lengths(body, order["mean"]) for body in bodies],
        **facts(socket),
    }


def facts(socket: Path) -> dict[str, Any]:
    """Return what the server has seen."""
    import asyncio

    import aiohttp

    async def get() -> dict[str, Any]:
        connector = aiohttp.UnixConnector(str(socket))
        async with (
            aiohttp.ClientSession(connector=connector) as session,
            session.get("http://server/facts") as response,
        ):
            return dict(await response.json())

    return asyncio.run(get())


def prepare(task: str, folder: Path) -> dict[str, Any]:
    """Return paths of a task's data and texts of its prompts.

    Raises:
        LookupError: If they cannot be had; says why.
    """
    from ptb_core.catalogue import load_catalogue
    from ptb_core.data import data_dir
    from ptb_core.errors import PtbError
    from ptb_core.fetch import ensure_data

    try:
        spec = load_catalogue().task(task).spec
        if "PTB_TEST_DATA" in os.environ:
            packaged = {
                file.name: str(data_dir() / file.source.packaged)
                for file in spec.data
                if file.source.packaged
            }
            files = {**packaged, **test_rows(task, folder)}
            return {"files": files, "prompts": prompts(spec)}
        data = ensure_data(spec)
    except PtbError as error:
        raise LookupError(str(error).splitlines()[0]) from error
    files = {name: str(path) for name, path in data.files.items()}
    return {"files": files, "prompts": dict(data.prompts)}


def prompts(spec: Any) -> dict[str, str]:
    """Return the task's prompts, from the cache or the package index."""
    from ptb_core.fetch.prompts import resolve_prompt

    return {prompt.name: resolve_prompt(prompt)[0] for prompt in spec.prompts}


def test_rows(task: str, folder: Path) -> dict[str, str]:
    """Return the files of a task, in the form of the hub, from the tests' data."""
    root = Path(os.environ["PTB_TEST_DATA"])
    data = root / "data"
    if task == "bfcl":
        answers = {row["id"]: row for row in read(data / "bfcl-exec-simple-answer.jsonl.gz")}
        questions = read(data / "bfcl-exec-simple-question.jsonl.gz")
        return {"test": write(folder, task, [{**row, **answers[row["id"]]} for row in questions])}
    if task in ("aime2025", "gpqamain"):
        name, key, count = {
            "aime2025": ("invented-aime-rows", "id", 30),
            "gpqamain": ("invented-gpqa-rows", "Record ID", 448),
        }[task]
        rows = read(root / "golden" / f"{name}.jsonl.gz")
        repeated = [{**rows[number % len(rows)], key: f"row-{number}"} for number in range(count)]
        return {"test": write(folder, task, repeated)}
    names = {
        "gsm8k": {"test": "gsm8k-test", "train": "gsm8k-train"},
        "humaneval": {"test": "humaneval"},
        "healthbench": {"test": "healthbench-easy"},
        "arenahardwriting": {
            "test": "arena-hard-writing-question",
            "baseline": "arena-hard-writing-baseline-qwen3-1.7b",
        },
    }[task]
    return {name: str(data / f"{file}.jsonl.gz") for name, file in names.items()}


def read(path: Path) -> list[dict[str, Any]]:
    """Return the rows of a file."""
    with gzip.open(path, "rt", encoding="utf-8") as lines:
        return [json.loads(line) for line in lines]


def write(folder: Path, task: str, rows: Sequence[Mapping[str, Any]]) -> str:
    """Write rows to a file, and return its path."""
    path = folder / f"{task}.jsonl"
    path.write_text("".join(json.dumps(row) + "\n" for row in rows), "utf-8")
    return str(path)


if __name__ == "__main__":
    main()
