"""Print how fast completions are graded: the two judged tasks, against a grader with a delay.

python benchmarks/grading.py [--in-flight N] [--delay S] [--quick]

Every answer is asked about as in the score stage; the grader answers each question after the same
delay. A second scoring finds every reply kept.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from evaluation import prepare
from measuring import in_own_process, print_table

TASKS = ("arenahardwriting", "healthbench")
REPLIES = {"arenahardwriting": "Both are alike. [[A=B]]", "healthbench": '{"criteria_met": true}'}
HEADING = (
    "task",
    "questions",
    "in flight",
    "delay s",
    "wall s",
    "bound s",
    "% of bound",
    "one at a time s",
    "client cores",
    "client peak MB",
    "scored again s",
    "questions then",
)


def main() -> None:
    parser = argparse.ArgumentParser(description="How fast completions are graded.")
    parser.add_argument("--in-flight", type=int, default=32)
    parser.add_argument("--delay", type=float, default=0.5, help="seconds per reply")
    parser.add_argument("--quick", action="store_true", help="5 samples of each task")
    parser.add_argument("--serve", help=argparse.SUPPRESS)
    parser.add_argument("--client", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.serve:
        serve(options.serve, options.delay)
        return
    if options.client:
        print(json.dumps(grade(json.loads(options.client))))
        return
    rows = []
    with tempfile.TemporaryDirectory(prefix="ptb-", dir="/tmp") as folder:
        for task in TASKS:
            rows.append(measure(task, Path(folder), options))
    print_table(HEADING, rows)


def measure(task: str, folder: Path, options: argparse.Namespace) -> tuple[str, ...]:
    """Grade one task twice, in a process of its own."""
    try:
        data = prepare(task, folder)
    except LookupError as error:
        return (task, f"not measured: {error}", *[""] * (len(HEADING) - 2))
    with grader(task, options.delay) as url:
        order = {
            "task": task,
            "data": data,
            "folder": str(folder / task),
            "url": url,
            "in_flight": options.in_flight,
            "limit": 5 if options.quick else None,
        }
        found = in_own_process(__file__, order)
    asked, wall_s = found["asked"], found["wall_s"]
    bound = -(-asked // options.in_flight) * options.delay
    return (
        task,
        str(asked),
        str(options.in_flight),
        f"{options.delay:g}",
        f"{wall_s:.2f}",
        f"{bound:.2f}",
        f"{100 * bound / wall_s:.1f}",
        f"{asked * options.delay:.0f}",
        f"{found['cpu_s'] / wall_s:.2f}",
        f"{found['peak_mb']:.0f}",
        f"{found['again_s']:.2f}",
        str(found["asked_again"]),
    )


def grade(order: dict[str, Any]) -> dict[str, Any]:
    """Be the client: questions of every sample's answer, asked once and then again."""
    from ptb_core.api import Completion, DataDir
    from ptb_core.catalogue import load_catalogue
    from ptb_core.evaluation.checking import Runners, perform_checks
    from ptb_core.grading.opening import open_grader
    from ptb_core.grading.terms import GraderTerms
    from ptb_core.specs import GraderSpec

    task = load_catalogue().task(order["task"])
    files = {name: Path(path) for name, path in order["data"]["files"].items()}
    data = DataDir(files=files, prompts=order["data"]["prompts"])
    samples = task.order(task.samples(data), order["limit"])
    answers = {
        sample.id: (Completion(text=f"An answer to {sample.id}. " * 100),) for sample in samples
    }
    spec = GraderSpec(base_url=order["url"], api_key_env=None, max_in_flight=order["in_flight"])
    folder = Path(order["folder"])
    folder.mkdir()
    times, asked = [], []
    cpu_before = time.process_time()
    for log in ("checks.jsonl", "checks-again.jsonl"):
        grader = open_grader(GraderTerms(grader=spec), folder, scope=order["task"])
        began = time.perf_counter()
        runners = Runners(grader=grader)
        result = perform_checks(task, samples, answers, runners, folder / log)
        times.append(time.perf_counter() - began)
        assert not result.failures, next(iter(result.failures.values()))
        now = grader.facts()["now"]
        asked.append(now["asked"])
        if log == "checks.jsonl":
            cpu_s = time.process_time() - cpu_before
    peak_kb = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return {
        "wall_s": times[0],
        "again_s": times[1],
        "asked": asked[0],
        "asked_again": asked[1],
        "cpu_s": cpu_s,
        "peak_mb": peak_kb / 1024,
    }


@contextmanager
def grader(task: str, delay: float) -> Iterator[str]:
    """Run the grader in another process; yields its address."""
    command = [sys.executable, __file__, "--serve", task, "--delay", str(delay)]
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True)
    assert process.stdout is not None
    try:
        yield f"http://127.0.0.1:{int(process.stdout.readline())}/v1"
    finally:
        process.terminate()
        process.wait()
        process.stdout.close()


def serve(task: str, delay: float) -> None:
    """Answer every question after a delay, until the process is ended."""
    import asyncio

    from aiohttp import web

    async def chat(request: web.Request) -> web.Response:
        await request.read()
        await asyncio.sleep(delay)
        message = {"role": "assistant", "content": REPLIES[task]}
        return web.json_response(
            {
                "choices": [{"message": message, "finish_reason": "stop"}],
                "usage": {"prompt_tokens": 1000, "completion_tokens": 100},
            }
        )

    async def run() -> None:
        app = web.Application(client_max_size=64 * 2**20)
        app.router.add_post("/v1/chat/completions", chat)
        runner = web.AppRunner(app, access_log=None)
        await runner.setup()
        site = web.TCPSite(runner, "127.0.0.1", 0)
        await site.start()
        print(runner.addresses[0][1], flush=True)
        await asyncio.Event().wait()

    asyncio.run(run())


if __name__ == "__main__":
    main()
