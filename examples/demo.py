"""Demo of a complete fine-tune: `make demo`, or `python -m examples.demo`.

Starts the service with its embedded defaults (or uses a running one), trains MiniLM on movie reviews with AdaMSS and
ASA, shows the pruning live, compares the adapter with a LoRA and with the head alone, downloads the artifacts and
classifies with them. Stops the service that it started.
"""

from __future__ import annotations

import argparse
import csv
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from shutil import rmtree
from types import FrameType
from typing import Any

import yaml
from rich.console import Console
from rich.table import Table

from examples.demo_model import BASE_MODEL, DemoError, install_model
from service.cli.contender_table import lines, titles
from service.cli.serve import free_port
from service.cli.watch import watch
from service.client import ApiError, Client
from service.client.types import ENDED, JobJson
from service.shared.settings import Settings

HERE = Path(__file__).resolve().parent
DATA = HERE / "data" / "movie_reviews_demo.csv"
SPEC = HERE / "movie_sentiment.yaml"
QUICK_ROWS = 320
CONTENDERS = ["head", "lora:r=1"]
STEPS = 96  # of the job and of each contender
START_SECONDS = 90.0
STOP_SECONDS = 75.0
CLOSE_ENOUGH = 1e-3  # difference of probabilities


def main() -> int:
    """Run the demo; return 0 if every step succeeds and the artifacts agree."""
    arguments = parse()
    console = Console(width=None if sys.stdout.isatty() else 110)
    signal.signal(signal.SIGTERM, _interrupt)  # unwinds, so that no process is left running
    begun = time.monotonic()
    try:
        run(console, arguments)
    except KeyboardInterrupt:
        console.print("Interrupted; the demo's processes are stopped.")
        return 130
    except (DemoError, ApiError, OSError) as error:
        console.print(f"[red]The demo stopped:[/red] {error}", highlight=False)
        return 1
    console.print(f"\nDone in {time.monotonic() - begun:.0f} s. For daily use: [bold]adamss up[/bold]")
    return 0


def parse() -> argparse.Namespace:
    parser = argparse.ArgumentParser(description="A real model, fine-tuned on real data, and pruned while you watch.")
    parser.add_argument("--quick", action="store_true", help="few rows, same path")
    return parser.parse_args()


def run(console: Console, arguments: argparse.Namespace) -> None:
    settings = Settings()
    base = install_model(settings.files.models)
    with service(console, settings) as client:
        console.rule("train")
        data = few_rows(settings.resolved_home / "demo") if arguments.quick else DATA
        job = train(console, client, data, arguments)
        show_result(console, job)
        console.rule("is it worth it?")
        show_comparison(console, job)
        console.rule("the artifacts")
        folder = download(console, client, job["id"], settings.resolved_home / "demo")
        agree(console, base, folder)


@contextmanager
def service(console: Console, settings: Settings) -> Iterator[Client]:
    """Connect to the home folder's running service, or start one and stop it at the end."""
    with ExitStack() as stack:
        client = stack.enter_context(Client())
        if ready(client):
            console.print(f"Using the service at {client.url}")
            yield client
            return
        url, process = start(stack, settings)
        client = stack.enter_context(wait_until_ready(url, process, settings))
        console.print(f"Started the service at {url}")
        yield client


def wait_until_ready(url: str, process: subprocess.Popen[bytes], settings: Settings) -> Client:
    """Wait for the started service; return a client, which reads the key that the first start writes."""
    until = time.monotonic() + START_SECONDS
    while time.monotonic() < until and process.poll() is None:
        client = Client(url)
        if ready(client):
            return client
        client.close()
        time.sleep(0.3)
    raise DemoError(f"the service did not start; see the logs in {settings.files.logs}")


def start(stack: ExitStack, settings: Settings) -> tuple[str, subprocess.Popen[bytes]]:
    """Start `adamss up` on a free port; closing the stack stops the service."""
    port = free_port("127.0.0.1")
    log = stack.enter_context(settings.files.log("demo").open("w"))
    command = [sys.executable, "-P", "-m", "service.cli", "up", "--port", str(port)]
    process = subprocess.Popen(command, stdout=log, stderr=log, start_new_session=True)

    def stop() -> None:
        process.terminate()
        try:
            process.wait(STOP_SECONDS)
        except subprocess.TimeoutExpired:
            process.kill()

    stack.callback(stop)
    return f"http://127.0.0.1:{port}", process


def ready(client: Client) -> bool:
    """Whether the service accepts our key, has a worker, and lists the demo's base model."""
    with suppress(ApiError):
        return client.ready() and any(model["name"] == BASE_MODEL for model in client.models())
    return False


def train(console: Console, client: Client, data: Path, arguments: argparse.Namespace) -> JobJson:
    """Upload the data, submit a job and follow it; cancel it on an interrupt."""
    spec: dict[str, Any] = yaml.safe_load(SPEC.read_text())
    spec["dataset"]["train"] = client.upload_dataset(data)["id"]
    spec["training"] |= {"max_steps": STEPS, "eval_steps": STEPS // 2}
    if arguments.quick:
        spec["training"] |= {"max_steps": STEPS // 6, "eval_steps": STEPS // 6, "batch_size": 16}
    spec["compare"] = CONTENDERS
    job = client.submit(spec)
    console.print(f"Job {job['id']}: {spec['base_model']} on {data.name}")
    try:
        job = watch(client, job["id"], console)
    finally:
        with suppress(ApiError):
            if client.get_job(job["id"])["status"] not in ENDED:
                client.cancel(job["id"])
    if job["status"] != "succeeded":
        error = job["error"] or {"message": f"the job is {job['status']}", "hint": ""}
        raise DemoError(f"{error['message']} {error.get('hint') or ''}")
    return job


def show_result(console: Console, job: JobJson) -> None:
    result, asa = job["result"] or {}, job["asa"]
    accuracy, baseline = float(result["eval_accuracy"]), float(result["baseline"]["accuracy"])
    console.print(f"Held-out accuracy [bold]{accuracy:.3f}[/bold]; always guessing the larger class: {baseline:.3f}")
    if asa:
        console.print(f"{asa['active']} of {asa['total']} subspaces are left.")


def show_comparison(console: Console, job: JobJson) -> None:
    """Print the job's adapter beside its contenders, trained on the same batches."""
    compared = job.get("comparison")
    if compared is None or len(compared["contenders"]) != len(CONTENDERS) + 1:
        raise DemoError("the job has no comparison")
    table = Table(*(title.lower() for title in titles(compared)), box=None, header_style="dim")
    for line in lines(compared):
        table.add_row(*line)
    console.print(table)


def download(console: Console, client: Client, job_id: str, folder: Path) -> Path:
    target = folder / "artifacts"
    rmtree(target, ignore_errors=True)  # of an earlier demo
    for artifact in client.artifacts(job_id):
        path = client.download(job_id, artifact["name"], target, extract=True)
        console.print(f"{artifact['name']:<8} {artifact['size_bytes'] / 1e6:7.2f} MB   {path}", highlight=False)
    return target


def agree(console: Console, base: Path, folder: Path) -> None:
    """Classify three sentences with each artifact.

    Raises:
        DemoError: the artifacts' probabilities differ.
    """
    from adamss_core.lean import leave_out_bitsandbytes

    leave_out_bitsandbytes()  # where it is installed, importing peft would print its notice of a missing kernel
    from examples.use_artifacts import SENTENCES, classify

    results, names = classify(base, folder, SENTENCES)
    table = Table("sentence", *results, box=None, header_style="dim")
    for index, sentence in enumerate(SENTENCES):
        rows = [row[index] for row in results.values()]
        table.add_row(sentence, *(f"{names[int(row.argmax())]} {float(row.max()):.4f}" for row in rows))
    console.print(table)
    first, *others = results.values()
    difference = max(float((first - other).abs().max()) for other in others)
    if difference > CLOSE_ENOUGH:
        raise DemoError(f"the artifacts disagree: their probabilities differ by {difference:.2g}")
    console.print(f"They agree: the largest difference is {difference:.1e}.")


def few_rows(folder: Path) -> Path:
    """Write the first rows of the data, for `--quick`."""
    folder.mkdir(parents=True, exist_ok=True)
    target = folder / "quick.csv"
    with DATA.open(newline="") as source, target.open("w", newline="") as file:
        writer = csv.writer(file)
        for number, row in enumerate(csv.reader(source)):
            if number > QUICK_ROWS:
                break
            writer.writerow(row)
    return target


def _interrupt(number: int, frame: FrameType | None) -> None:
    raise KeyboardInterrupt


if __name__ == "__main__":
    sys.exit(main())
