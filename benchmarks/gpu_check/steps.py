"""Step time and peak memory of all contenders: in full precision and bf16, quantised, compiled."""

from __future__ import annotations

import gc
import statistics
import time
from collections.abc import Callable, Mapping
from typing import Any

import torch
from torch import nn

from benchmarks.gpu_check.contenders import (
    LORA,
    OURS,
    STOCK,
    WITHOUT_ASA,
    Contender,
    adapted,
    build,
    inputs_of,
    recipes,
)
from benchmarks.gpu_check.machine import TRAINING, missing
from benchmarks.gpu_check.process import Channel
from benchmarks.gpu_check.sizes import Base, Precision, Sizes
from benchmarks.timing import Step, interleaved, quiet, typical

Recipes = Mapping[str, Callable[[nn.Module], nn.Module]]


def encoder_steps(channel: Channel, sizes: Sizes) -> None:
    for precision in sizes.encoder_precisions:
        _all_subspaces(channel, sizes, sizes.encoder, precision)


def decoder_steps(channel: Channel, sizes: Sizes) -> None:
    for precision in sizes.decoder_precisions:
        _all_subspaces(channel, sizes, sizes.decoder, precision)


def _all_subspaces(channel: Channel, sizes: Sizes, base: Base, precision: Precision) -> None:
    slowest = 0.0
    model: nn.Module | None = None
    for subspaces in sizes.subspaces:
        if channel.left < 1.5 * slowest + 2:
            channel.leave_out(f"{base.kind} {precision}, K={subspaces}", "no time left")
            continue
        begun = time.monotonic()
        model = build(base, precision) if model is None else model
        made = recipes(base, subspaces, sizes.r, ramp=4 * sizes.rounds)
        contenders = _contenders(channel, f"{base.kind} {precision}, K={subspaces}", made, model, base, precision)
        common = {"precision": precision, "K": subspaces}
        estimated = _estimate(base, precision, subspaces, sizes.r)
        _measure(channel, f"steps: {base}", common, contenders, sizes.rounds, estimated)
        del contenders
        _free()
        slowest = max(slowest, time.monotonic() - begun)


def quantised_steps(channel: Channel, sizes: Sizes) -> None:
    """The decoder in 4 bits (nf4), as bitsandbytes keeps it; adapters and norms in fp32, computing in bf16."""
    base, subspaces = sizes.quantised, sizes.subspaces[0]
    model = in_four_bits(build(base, "fp32"))
    _free()
    made = recipes(base, subspaces, sizes.r, ramp=4 * sizes.rounds)
    contenders = _contenders(channel, f"{base.kind} 4bit, K={subspaces}", made, model, base, "bf16")
    common = {"precision": "4bit", "K": subspaces}
    estimated = _estimate(base, "bf16", subspaces, sizes.r, "4bit")
    _measure(channel, f"steps: {base}, 4 bits", common, contenders, sizes.rounds, estimated)


def in_four_bits(model: nn.Module) -> nn.Module:
    """Every linear layer of the body as bitsandbytes' Linear4bit."""
    import bitsandbytes as bnb

    anything: Any = model
    for name, module in list(model.named_modules()):
        if not isinstance(module, nn.Linear) or name == "lm_head":
            continue
        place = module.weight.device
        linear = bnb.nn.Linear4bit(
            module.in_features, module.out_features, module.bias is not None, torch.bfloat16, quant_type="nf4"
        )
        linear.weight = bnb.nn.Params4bit(
            module.weight.data.cpu(), requires_grad=False, quant_type="nf4", module=linear
        )
        linear.bias = module.bias
        linear.support_avx512bf16_for_cpu = False  # as `adamss_core.training.quantization.settle`
        model.set_submodule(name, linear.to(place))
    anything.is_loaded_in_4bit = True  # PEFT asks for it
    return model


def compiled_steps(channel: Channel, sizes: Sizes) -> None:
    """Without ASA, which gives parameters other shapes. Compiled as a job's `compile` does, with dynamic shapes."""
    if not sizes.compiled:
        channel.leave_out("all", "at full size only: a C++ compiler takes minutes")
    slowest = 20.0
    for base, precision, subspaces in sizes.compiled:
        torch._dynamo.reset()
        torch._dynamo.config.recompile_limit = 64  # all contenders run the same code objects
        model, inputs = build(base, precision), inputs_of(base)
        contenders: list[Contender] = []
        firsts: dict[str, dict[str, Any]] = {}
        for name, recipe in recipes(base, subspaces, sizes.r, ramp=None).items():
            what = f"{base.kind} {precision}, K={subspaces}, {name}"
            if channel.left < 1.2 * slowest + 3:
                channel.leave_out(what, "no time left")
                continue
            begun = time.monotonic()
            try:
                contender = adapted(name, recipe, model, inputs, precision)
                contender.model.compile(dynamic=True)
                contender.step()
            except Exception as error:
                _report(channel, name, what, error)
                continue
            slowest = time.monotonic() - begun
            firsts[name] = {"first step s": slowest - contender.init_seconds}
            contenders.append(contender)
            twin = adapted(name, recipe, model, inputs, precision)
            twin.name = f"{name}, not compiled"
            contenders.append(twin)
        common = {"base": base.kind, "precision": precision, "K": subspaces}
        _measure(channel, "compiled steps, 2 layers", common, contenders, sizes.rounds, None, firsts)
        contenders.clear()
        _free()


def _contenders(
    channel: Channel, what: str, made: Recipes, model: nn.Module, base: Base, precision: Precision
) -> list[Contender]:
    """Contenders that can be put on the base and make a step; of the others the reason is reported."""
    inputs = inputs_of(base)
    found = []
    for name, recipe in made.items():
        try:
            contender = adapted(name, recipe, model, inputs, precision)
            contender.step()
        except Exception as error:
            _report(channel, name, f"{what}, {name}", error)
        else:
            found.append(contender)
    return found


def _report(channel: Channel, name: str, what: str, error: Exception) -> None:
    """A fault where it is ours; with other contenders it is only a row less."""
    if name in (OURS, WITHOUT_ASA):
        channel.fail(what, error)
    else:
        channel.leave_out(what, f"{type(error).__name__}: {' '.join(str(error).split())[:300]}")


def _measure(
    channel: Channel,
    section: str,
    common: dict[str, Any],
    contenders: list[Contender],
    rounds: int,
    estimated: int | None,
    extra: dict[str, dict[str, Any]] | None = None,
) -> None:
    """Rows of step times, in turns within one run, and of peaks; ratios to LoRA of rank 1, paired by round."""
    if not contenders:
        return
    # Memory first: ASA has pruned little by then.
    peaks = {c.name: c.peak_bytes() for c in contenders}
    # Not of stock PEFT's: its tens of thousands of kernels take the profiler too long.
    work = {c.name: None if c.name == STOCK else c.device_work() for c in contenders}
    times = interleaved({c.name: Step(c.step) for c in contenders}, rounds=rounds)
    for contender in contenders:
        name, peak = contender.name, peaks[contender.name]
        ratio = None
        if LORA in times:
            pairs = zip(quiet(times[name]), quiet(times[LORA]), strict=True)
            ratio = statistics.median(own / lora for own, lora in pairs)
        values = {
            "contender": name,
            "init s": contender.init_seconds,
            **(extra or {}).get(name, {}),
            "step ms": typical(times[name]) * 1e3,
            "step/LoRA": ratio,
            "GPU ms": None if (done := work[name]) is None else done[1],
            "kernels": None if done is None else done[0],
            "peak MB": None if peak is None else peak / 1e6,
        }
        if name == OURS and estimated is not None:
            values |= {
                "estimate MB": estimated / 1e6,
                "estimate/peak": None if peak is None else estimated / peak,
            }
        channel.row(section, **common, **values)


def _estimate(base: Base, precision: Precision, subspaces: int, r: int, quantization: str | None = None) -> int | None:
    """None where the spec's packages are missing, or a job cannot ask for this precision."""
    if missing(TRAINING) or precision == "bf16 weights":
        return None
    from benchmarks.gpu_check.estimates import memory_of_steps

    return memory_of_steps(base, precision, subspaces, r, quantization)


def _free() -> None:
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
