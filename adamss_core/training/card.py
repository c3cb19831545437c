"""Write the model card of an artifact: description, scores, data, method, code to load it, limits."""

from __future__ import annotations

import json
from typing import Any

from adamss_core.spec.contender_names import OWN
from adamss_core.spec.tasks import find_record
from adamss_core.spec.tasks.metrics import LOSS, Metric
from adamss_core.training.tasks.base import Usage
from adamss_core.visible import visible

_TITLES = {
    "adapter": "AdaMSS adapter",
    "lora": "LoRA adapter, exported from AdaMSS",
    "merged": "Fine-tuned model, AdaMSS merged in",
}
_WHAT = {
    "adapter": "An AdaMSS (NeurIPS 2025) adapter in PEFT's file format, with the row "
    "placement, a sketch of the base weights and the pruning state beside PEFT's own tensors.",
    "lora": "A plain PEFT LoRA with the same outputs as the AdaMSS adapter it was exported from. It needs no AdaMSS "
    "code.",
    "merged": "The whole model with the AdaMSS update added to its weights. It needs transformers only.",
}


def model_card(name: str, manifest: dict[str, Any], usage: Usage) -> str:
    """Markdown with the hub's front matter, from an artifact's manifest."""
    spec, result = manifest["spec"], manifest["result"]
    sections = [
        _front_matter(name, manifest),
        f"# {_markdown(spec['name'])}\n\n{_TITLES[name]} for {spec['task']}, on `{manifest['base_model']['name']}`.\n\n"
        f"{_WHAT[name]}{_needs_our_code(manifest)}",
        _results(manifest),
        _data(spec, result),
        _method(manifest),
        f"## How to load it\n\n```python\n{_code(name, manifest, usage)}\n```",
        _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _needs_our_code(manifest: dict[str, Any]) -> str:
    """Say that PEFT alone does not load an adapter on Conv1D modules."""
    count = manifest.get("conv1d_modules")
    if not count:
        return ""
    return (
        f" It adapts {count} modules of the class Conv1D, which PEFT's own AdaMSS refuses: it loads with `adamss_core` "
        "only. The same job's LoRA has the same outputs and loads with PEFT alone."
    )


def _front_matter(name: str, manifest: dict[str, Any]) -> str:
    """JSON strings are YAML strings, so any name is safe."""
    tags = ["adamss", manifest["spec"]["task"], *([] if name == "merged" else ["peft"])]
    lines = [
        f"library_name: {'transformers' if name == 'merged' else 'peft'}",
        f"base_model: {json.dumps(manifest['base_model']['name'])}",
        f"base_model_relation: {'finetune' if name == 'merged' else 'adapter'}",
        f"pipeline_tag: {manifest['spec']['task']}",
        "tags:",
        *(f"- {tag}" for tag in tags),
        *(["- lora"] if name == "lora" else []),
        "metrics:",
        *(f"- {name}" for name in dict.fromkeys(metric.hub for metric in _metrics(manifest) if metric.hub)),
    ]
    return "---\n" + "\n".join(lines) + "\n---"


def _metrics(manifest: dict[str, Any]) -> list[Metric]:
    """Return the task's metrics that the result has: first what chose the checkpoint, the loss at the end."""
    spec, result = manifest["spec"], manifest["result"]
    metrics = find_record(spec["task"], spec.get("problem_type")).metrics
    found = [metric for metric in metrics if metric != LOSS and f"eval_{metric.name}" in result]
    return [*sorted(found, key=lambda metric: metric.name != spec["training"]["metric_for_best"]), LOSS]


def _results(manifest: dict[str, Any]) -> str:
    result = manifest["result"]
    baseline = result.get("baseline") or {"predicts": "no baseline"}
    table = "\n".join(
        f"| {metric.title} | {_value(metric, result.get(f'eval_{metric.name}'))} "
        f"| {_value(metric, baseline.get(metric.name))} |"
        for metric in _metrics(manifest)
    )
    return (
        f"## Results\n\nOn {result['eval_rows']} held-out rows, at step {result['step']} of {result['total_steps']}."
        f"{_end(result)}\n\n"
        f"| | this model | {_markdown(str(baseline['predicts']))} |\n| --- | --- | --- |\n{table}"
        f"{_judgement(result)}{_before(manifest)}{_test(manifest)}{_comparison(manifest)}"
    )


def _end(result: dict[str, Any]) -> str:
    """Say that the time limit ended the training, where it did."""
    if not result.get("time_limit_reached"):
        return ""
    return f" The job's time limit ended the training after step {result['steps']}; this is the best model by then."


def _test(manifest: dict[str, Any]) -> str:
    """Return the scores on the test data, where the job has any."""
    result = manifest["result"]
    if not result.get("test_rows"):
        return ""
    values = (
        f"{metric.title.lower()} {_value(metric, result.get(f'test_{metric.name}'))}" for metric in _metrics(manifest)
    )
    return (
        f"\n\nOn {result['test_rows']} rows of test data, which neither training nor the choice of the checkpoint saw: "
        f"{', '.join(values)}."
    )


def _judgement(result: dict[str, Any]) -> str:
    """Return the interval of the main metric, and the warnings."""
    judgement, warnings = result.get("judgement"), result.get("warnings", [])
    interval = (
        f"\n\n{judgement['level']:.0%} interval of the {_markdown(judgement['metric'].replace('_', ' '))} "
        f"({judgement['method']}): {judgement['low']:.4g} to {judgement['high']:.4g}."
        if judgement and judgement["low"] is not None
        else ""
    )
    return interval + "".join(f"\n\n**Warning.** {_markdown(warning['message'])}" for warning in warnings)


def _before(manifest: dict[str, Any]) -> str:
    """Say what the model could do before training, where that was measured."""
    before = manifest["result"].get("before_training")
    if not before:
        return ""
    values = (
        f"{metric.title.lower()} {_value(metric, before.get(f'eval_{metric.name}'))}" for metric in _metrics(manifest)
    )
    model = "the adapter that it starts from" if manifest["spec"].get("init_from") else "the base model"
    return f"\n\nBefore training, {model} had {', '.join(values)} on the same rows."


def _comparison(manifest: dict[str, Any]) -> str:
    """Put the contenders that were trained for comparison beside this adapter, on the test rows if there are any."""
    compared = manifest["result"].get("comparison")
    if not compared:
        return ""
    metric = next(one for one in _metrics(manifest) if one.name == compared["metric"])
    part = "test" if manifest["result"].get("test_rows") else "held_out"
    lines = "\n".join(_contender(entry, metric, part) for entry in compared["contenders"])
    return (
        f"\n\n### Compared\n\nTrained on the same rows and batches, for as many steps and with the same seed, and "
        f"evaluated on the same {'test' if part == 'test' else 'held-out'} rows. Elements are those of A and B; the "
        f"difference has its {compared['level']:.0%} interval, paired by row.\n\n"
        f"| | elements | learning rate | {metric.title.lower()} | difference |\n"
        f"| --- | --- | --- | --- | --- |\n{lines}"
    )


def _contender(entry: dict[str, Any], metric: Metric, part: str) -> str:
    name = "this adapter" if entry["contender"] == OWN else f"`{entry['contender']}`"
    if entry["error"] is not None:
        return f"| {name} | | | failed | {_markdown(entry['error']['message'])} |"
    measured = entry[part] or {"metrics": {}, "difference": None, "difference_low": None}
    difference = "" if measured["difference"] is None else f"{measured['difference']:+.4f}"
    if measured["difference_low"] is not None:
        difference += f" ({measured['difference_low']:+.4f} to {measured['difference_high']:+.4f})"
    rate = "" if entry["learning_rate"] is None else f"{entry['learning_rate']:g}"
    value = _value(metric, measured["metrics"].get(metric.name))
    return f"| {name} | {entry['adapter_parameters']:,} | {rate} | {value} | {difference} |"


def _data(spec: dict[str, Any], result: dict[str, Any]) -> str:
    labels, split = result["labels"], result["held_out"]
    shown = ", ".join(f"`{_markdown(label)}`" for label in labels[:20]) + (" …" if len(labels) > 20 else "")
    how = f", whole groups of `{_markdown(split['group'])}`" if split.get("group") else ""
    how = how or (", stratified by label" if split["stratified"] else "")
    train = spec["dataset"]["train"]
    sets = f" of {len(train)} data sets" if isinstance(train, list) else ""
    held_out = (
        "a data set of its own"
        if split["from"] == "eval"
        else f"{spec['dataset']['eval_fraction']:.0%} of the rows{how}"
    )
    classes = f" {len(labels)} classes: {shown}." if labels else ""
    return f"## Data\n\n{result['train_rows']} rows{sets} were trained on; held out was {held_out}.{classes}"


def _method(manifest: dict[str, Any]) -> str:
    spec, result = manifest["spec"], manifest["result"]
    adamss, training, pruning = spec["adamss"], spec["training"], result["pruning"]
    text = (
        f"## Training\n\nAdaMSS with r={adamss['r']}, {adamss['num_subspaces']} subspaces per module of rank "
        f"{adamss['subspace_rank']}; learning rate {training['learning_rate']:g} (head "
        f"{training['head_learning_rate'] or training['learning_rate']:g}), batch "
        f"{training['batch_size'] * training['gradient_accumulation_steps']}, {result['steps']} steps, seed "
        f"{training['seed']}{_losses(training)}. {result['trainable_parameters']:,} parameters were trained at the end."
        f"{_elements(result)}{_start(spec)}{_basis(spec, result)}{_biases(adamss)}{_former_names(manifest)}"
    )
    if adamss["use_asa"]:
        text += (
            f"\n\nAdaptive Subspace Allocation kept {pruning['active']} of {pruning['total']} subspaces (target "
            f"{pruning['target']}), pruning from step {adamss['init_warmup']} to {adamss['final_warmup']}."
        )
        if adamss.get("asa_pruned") == "removed":
            text += " Pruned subspaces were removed, and have no effect." + _emptied(manifest)
    if lora := manifest.get("lora"):
        text += f"\n\nThe LoRA has rank {lora['rank']}" + (" and biases." if lora["lora_bias"] else ".")
    return text


def _elements(result: dict[str, Any]) -> str:
    """Count A and B at the start, at the end and as published; artifacts of older versions did not."""
    counts = result.get("elements")
    if not counts:
        return ""
    peak, end, published = (f"{counts[name]:,}" for name in ("peak", "end", "published"))
    return f" Elements of A and B: {peak} at the start, {end} trained at the end, {published} published."


def _start(spec: dict[str, Any]) -> str:
    """Name the values that A and B started from."""
    if spec.get("init_from"):
        return " A and B started from another job's adapter."
    if spec["adamss"]["init_weights"] is None:
        return " A started with orthonormal rows and B as small noise, so training did not start at the base model."
    return " A started with orthonormal rows and B at zero, so training started at the base model's outputs."


def _basis(spec: dict[str, Any], result: dict[str, Any]) -> str:
    """Name the source of the basis and the share of the rows, where they are not all of the weight's."""
    basis, share = spec["adamss"].get("basis", "weights"), spec["adamss"].get("row_share", 1.0)
    calibration = result.get("calibration", {})
    rows, caught = calibration.get("rows"), calibration.get("caught")
    origin = f"over {rows} training rows" if rows else "as in the adapter that training started from"
    directions = {
        "inputs": "the adapted layers' inputs vary most",
        "gradient": "the gradient of their weights is largest",
    }
    text = ""
    if basis in directions:
        text += f" A works in the directions in which {directions[basis]}, {origin} (`basis: {basis}`)."
        text += f" They catch {caught['median']:.0%} of these rows' energy in the median module." if caught else ""
    if share < 1:
        text += f" Trained were the {share:.0%} of each module's output rows with the largest gradient, {origin}."
    return text


def _emptied(manifest: dict[str, Any]) -> str:
    """Count the modules that the adapter was written without."""
    count = len(manifest.get("emptied_modules", ()))
    return f" Of {count} adapted modules nothing is left; the adapter leaves them out." if count else ""


def _biases(adamss: dict[str, Any]) -> str:
    """Say that the biases stayed as they were, where they did."""
    return " The biases of the adapted modules are the base model's own." if adamss.get("bias") == "frozen" else ""


def _former_names(manifest: dict[str, Any]) -> str:
    """Name the modules that were adapted where the job gave names from before transformers 5."""
    pairs = [f"`{former}` as {' and '.join(new)}" for former, new in manifest.get("renamed_targets", {}).items()]
    return f" The job names modules as before transformers 5; adapted were {', '.join(pairs)}." if pairs else ""


def _losses(training: dict[str, Any]) -> str:
    """Name what changes the training loss."""
    parts = []
    if weights := training.get("class_weights"):
        shown = weights if isinstance(weights, str) else ", ".join(f"{name} {one:g}" for name, one in weights.items())
        parts.append(f", class weights {_markdown(shown)}")
    if smoothing := training.get("label_smoothing"):
        parts.append(f", label smoothing {smoothing:g}")
    return "".join(parts)


def _code(name: str, manifest: dict[str, Any], usage: Usage) -> str:
    base, revision = manifest["base_model"]["name"], manifest["base_model"]["revision"]
    shaping = [usage.head, "ignore_mismatched_sizes=True"] if usage.head else []  # the base's head may be for others
    arguments = ", ".join([*([f"revision={revision!r}"] if revision else []), *shaping])
    head = (
        f"{usage.setup}base = {usage.auto_model}.from_pretrained(\n    {base!r}, {arguments}{', ' if arguments else ''}"
        "dtype=torch.float32\n)\n"
    )
    names = sorted((usage.auto_model, usage.processor, *usage.names))
    imports = f"import torch\nfrom transformers import {', '.join(names)}\n"
    load = {
        "adapter": f"{imports}from adamss_core import load_adapter\n\n{head}"
        'model = load_adapter(base, ".", is_trainable=False)',
        "lora": f'{imports}from peft import PeftModel\n\n{head}model = PeftModel.from_pretrained(base, ".").eval()',
        "merged": f'{imports}\nmodel = {usage.auto_model}.from_pretrained(".").eval()',
    }[name]
    return f'{load}\nprocessor = {usage.processor}.from_pretrained(".")\n{usage.lines}'


def _limits(manifest: dict[str, Any]) -> str:
    check, length = manifest["verification"], manifest["max_length"]
    cut = f"Inputs are cut at {length} tokens. " if length else ""
    return (
        f"## Limits\n\n{cut}The model knows only what the rows above teach; held-out rows come from the same source, "
        "so other inputs can do worse. It inherits the base model's biases and licence. Nothing here says that the "
        "scores are calibrated.\n\n"
        f"These files were loaded again before they were published: on {check['probes']} held-out rows the logits "
        f"differ from the trained model's by at most {check['largest_difference']:.1e}. Checksums of all files, "
        "versions and the whole job are in `manifest.json`."
    )


def _value(metric: Metric, value: float | None) -> str:
    if value is None:
        return "-"
    return f"{value:.1%}" if metric.is_share else f"{value:.4f}"


def _markdown(text: str) -> str:
    """Escape Markdown and control characters in users' text: a card is also read in terminals."""
    plain = visible(text.replace("\n", " "))
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in plain)
