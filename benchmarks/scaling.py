"""`make bench-scaling`: one job on one and on two devices: speed, memory of each process, bytes a step; more on paper.

Each run is that of a job, started by torch's launcher; the modes take turns, so that other work on the machine meets
all of them.

Usage: python -m benchmarks.scaling [--rounds 3] [--steps 6] [--json FILE] [--docs FILE]
"""

from __future__ import annotations

import argparse
import json
import os
import random
import statistics
import subprocess
import sys
import tempfile
from collections import defaultdict
from dataclasses import dataclass
from pathlib import Path

import torch

from adamss_core.spec import JobSpec
from adamss_core.training.request import RunRequest
from benchmarks.documents import as_markdown, replace_table
from benchmarks.memory_cases import decoder, vocabulary
from benchmarks.report import Limit, Section, write_json

DOCS = Path(__file__).parents[1] / "docs"
ONE, APART, COPIES, PARTS = "1 process", "2 jobs of half the batch", "2 processes, copies", "2 processes, parts"
MODES = (ONE, APART, COPIES, PARTS)
EFFICIENCY = 0.9  # of twice the speed of one process
BATCH, TOKENS = 8, 64
SIZES = {"hidden_size": 768, "intermediate_size": 2_048, "num_hidden_layers": 12, "num_attention_heads": 12}
GIGABYTE = 1e9
Runs = list[list[dict[str, float]]]  # what each rank measured, by round


@dataclass(frozen=True)
class Link:
    """A GPU and its links, for numbers on paper.

    Attributes:
        flops: that training reaches, a second.
        within, between: bytes a second of each GPU, to those of its host, and to other hosts.
    """

    flops: float = 400e12  # H100 in bf16, at about 40 % of its peak
    within: float = 300e9  # NVLink, as all-reduces reach it
    between: float = 40e9  # 400 Gbit/s for each GPU
    latency: float = 20e-6  # of a message over 8 GPUs


@dataclass(frozen=True)
class Base:
    """A base model, for numbers on paper.

    Attributes:
        tables: parameters of embeddings and head, which stay whole.
    """

    name: str
    parameters: float
    tables: float
    blocks: int

    @property
    def in_blocks(self) -> float:
        return self.parameters - self.tables

    @property
    def copy_bytes(self) -> float:
        """Return the bytes of a copy: in fp32, with what autocast keeps in bf16."""
        return 4 * self.parameters + 2 * self.in_blocks

    def part_bytes(self, gpus: int) -> float:
        """Return the bytes of a part in bf16, of the tables in fp32, and of two blocks that are gathered."""
        return self.copy_bytes if gpus == 1 else 2 * self.in_blocks * (1 / gpus + 2 / self.blocks) + 4 * self.tables


BASES = (Base("8 B", 8.0e9, 1.05e9, 32), Base("70 B", 70.6e9, 2.1e9, 80))  # as Llama 3 has them


def write_request(folder: Path, mode: str, steps: int) -> Path:
    """Write a job of one mode; the base and its decompositions are shared by all."""
    model = folder / "model"
    if not model.exists():
        torch.manual_seed(0)
        decoder(model, **SIZES, vocab_size=2_000, max_position_embeddings=TOKENS, initializer_range=0.05)
        source, words = random.Random(0), vocabulary()
        rows = [{"text": " ".join(source.choices(words, k=2 * TOKENS))} for _ in range(BATCH * (steps + 1))]
        (folder / "rows.jsonl").write_text("".join(json.dumps(row) + "\n" for row in rows))
    spec = {
        "name": "scaling",
        "task": "text-generation",
        "base_model": "decoder",
        "dataset": {"train": "ds_" + "a" * 12, "eval_fraction": 0.05},
        "adamss": {"r": 64, "num_subspaces": 8, "subspace_rank": 1, "target_modules": ["q_proj", "v_proj"]},
        "training": {
            "batch_size": BATCH // 2 if mode == APART else BATCH,
            "max_steps": steps,
            "max_length": TOKENS,
            "precision": "fp32",
            "sample_prompts": 0,
            "eval_steps": steps,
        },
        "artifacts": ["adapter"],
        "resources": {"devices": devices_of(mode), "shard": mode == PARTS},
    }
    own = Path(tempfile.mkdtemp(dir=folder))
    request = RunRequest(
        job_id="job_scaling",
        spec=JobSpec.model_validate(spec),
        train_file=folder / "rows.jsonl",
        eval_file=None,
        model=str(model),
        revision=None,
        folder=own,
        cache=folder / "cache",
    )
    (own / "request.json").write_text(request.to_json())
    return own


def devices_of(mode: str) -> int:
    return 2 if mode in (COPIES, PARTS) else 1


def measure(folder: Path, mode: str, steps: int) -> list[dict[str, float]]:
    """Run a mode once; return what each process measured."""
    devices = devices_of(mode)
    jobs = [write_request(folder, mode, steps) for _ in range(2 if mode == APART else 1)]
    launcher = [sys.executable, "-P", "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", str(devices)]
    # Large weights go back to the system when they are freed: else glibc keeps them, and memory says nothing.
    own_memory = {"MALLOC_MMAP_THRESHOLD_": "5000000"}
    environment = {**os.environ, **own_memory, "OMP_NUM_THREADS": "1", "GLOO_SOCKET_IFNAME": "lo"}
    running = [
        subprocess.Popen(
            [*launcher, "-m", "benchmarks.scaling_rank", str(own)], env=environment, stdout=subprocess.DEVNULL
        )
        for own in jobs
    ]
    assert [process.wait() for process in running] == [0] * len(jobs), mode
    return [json.loads((own / f"rank{rank}.json").read_text()) for own in jobs for rank in range(devices)]


def measured_section(rounds: int, steps: int) -> Section:
    """Measure all modes in turn."""
    found: dict[str, Runs] = defaultdict(list)
    with tempfile.TemporaryDirectory(prefix="adamss-scaling-") as name:
        folder = Path(name)
        measure(folder, ONE, 1)  # fills the cache of decompositions
        for _ in range(rounds):
            for mode in MODES:
                found[mode].append(measure(folder, mode, steps))
    section = Section(
        f"{BATCH} x {TOKENS} tokens a step, fp32, {os.cpu_count()} cores, load {os.getloadavg()[0]:.1f}",
        ["mode", "s a step", "of ideal", "of ideal, CPU", "MB, rank 0", "MB, last rank", "kB a step"],
    )
    one, apart = found[ONE], found[APART]
    for mode, runs in found.items():
        seconds = [ranks[0]["step_seconds"] for ranks in runs]
        peaks = [statistics.median(run[rank]["peak_bytes"] for run in runs) / 1e6 for rank in (0, -1)]
        sent = statistics.median(run[0]["sent_bytes"] for run in runs) / 1e3
        shares = [of_ideal(one, runs, name) for name in ("step_seconds", "cpu_seconds")]
        section.rows.append([mode, statistics.median(seconds), *shares, *peaks, sent])
        if mode == COPIES:
            section.limits.append(Limit("copies: share of ideal, CPU", shares[1], EFFICIENCY, at_least=True))
            within = [of_ideal(apart, runs, name) * 2 for name in ("step_seconds", "cpu_seconds")]
            section.limits += [
                Limit(f"copies: share of two jobs that share nothing, {clock}", share, EFFICIENCY, at_least=True)
                for clock, share in zip(("wall", "CPU"), within, strict=True)
            ]
    section.notes.append(
        "Ratios are of runs that follow each other; CPU: of the busier rank, as on cores that nobody else uses. kB: "
        f"gradients, and gathered weights of parts. {APART}: at once, as much work, nothing to tell each other: "
        "what the two cores give."
    )
    return section


def of_ideal(one: Runs, several: Runs, name: str) -> float:
    """Return the speed of several processes beside as many times that of one; the median over the rounds.

    Args:
        name: of the seconds that are compared; those of the busiest rank count.
    """
    return statistics.median(
        max(rank[name] for rank in single) / (len(ranks) * max(rank[name] for rank in ranks))
        for single, ranks in zip(one, several, strict=True)
    )


def paper_section(link: Link = Link()) -> Section:  # frozen
    """Compute speed and memory of larger bases on more GPUs, from sizes and links alone."""
    section = Section(
        "On paper: 4,096 tokens a step and GPU in bf16, adapters of 0.1 % of the base, H100",
        ["base", "GPUs", "GB each, copies", "GB each, parts", "of ideal, copies", "of ideal, parts"],
    )
    for base in BASES:
        compute = 4 * base.parameters * 4_096 / link.flops  # forward, and backward to the inputs alone
        for gpus in (1, 8, 64):
            hops = link.within if gpus <= 8 else link.between
            gradients = 0.0 if gpus == 1 else 2 * 4 * base.parameters / 1_000 / hops + link.latency * gpus / 8
            gathers = 0.0 if gpus == 1 else 2 * 2 * base.in_blocks / hops  # forward and backward
            parts = max(compute, gathers) + gradients  # the next block arrives while one computes
            memory = [size / GIGABYTE for size in (base.copy_bytes, base.part_bytes(gpus))]
            speeds = [compute / (compute + gradients), compute / parts]
            section.rows.append([base.name, gpus, *memory, *speeds])
    section.notes.append(
        "Weights alone; activations come on top. Several hosts are not supported yet: 64 is a limit, not a promise."
    )
    return section


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--steps", type=int, default=6)
    parser.add_argument("--json", type=Path, default=DOCS / "measurements" / "scaling.json", metavar="FILE")
    parser.add_argument("--docs", type=Path, default=DOCS / "benchmarks.md", metavar="FILE", help="takes the tables")
    options = parser.parse_args(arguments)
    sections = [measured_section(options.rounds, options.steps), paper_section()]
    for section in sections:
        print(section.render(), flush=True)
    write_json(options.json, sections, rounds=options.rounds, steps=options.steps)
    tables = (f"{one.title}.\n\n{as_markdown(one)}" for one in sections)
    replace_table(options.docs, "scaling", "\n\n".join(tables))


if __name__ == "__main__":
    main()
