"""The model card of an artifact: what it is, what it was measured at, how to load it, what it is not for."""

from __future__ import annotations

import json
from typing import Any

_TITLES = {
    "adapter": "AdaMSS adapter",
    "lora": "LoRA adapter, exported from AdaMSS",
    "merged": "Fine-tuned model, AdaMSS merged in",
}
_WHAT = {
    "adapter": "An AdaMSS (NeurIPS 2025) adapter in PEFT's file format, with the row "
    "placement, a fingerprint of the base model and the pruning state beside PEFT's own tensors.",
    "lora": "A plain PEFT LoRA with the same outputs as the AdaMSS adapter it was exported from. It needs no AdaMSS "
    "code.",
    "merged": "The whole model with the AdaMSS update added to its weights. It needs transformers only.",
}


def model_card(name: str, manifest: dict[str, Any]) -> str:
    """Markdown with the hub's front matter, from an artifact's manifest."""
    spec, result = manifest["spec"], manifest["result"]
    sections = [
        _front_matter(name, manifest),
        f"# {_markdown(spec['name'])}\n\n{_TITLES[name]} for {spec['task']}, on `{manifest['base_model']['name']}`.\n\n"
        f"{_WHAT[name]}",
        _results(result),
        _data(spec, result),
        _method(manifest),
        f"## How to load it\n\n```python\n{_code(name, manifest)}\n```",
        _limits(manifest),
    ]
    return "\n\n".join(sections) + "\n"


def _front_matter(name: str, manifest: dict[str, Any]) -> str:
    """JSON strings are YAML strings, so any name is safe."""
    tags = ["adamss", "text-classification", *([] if name == "merged" else ["peft"])]
    lines = [
        f"library_name: {'transformers' if name == 'merged' else 'peft'}",
        f"base_model: {json.dumps(manifest['base_model']['name'])}",
        f"base_model_relation: {'finetune' if name == 'merged' else 'adapter'}",
        f"pipeline_tag: {manifest['spec']['task']}",
        "tags:",
        *(f"- {tag}" for tag in tags),
        *(["- lora"] if name == "lora" else []),
        "metrics:",
        "- accuracy",
        "- f1",
    ]
    return "---\n" + "\n".join(lines) + "\n---"


def _results(result: dict[str, Any]) -> str:
    majority = result["majority"]
    rows = [
        ("Accuracy", _share(result.get("eval_accuracy")), _share(majority["accuracy"])),
        ("Macro F1", _share(result.get("eval_macro_f1")), _share(majority["macro_f1"])),
        ("Loss", _number(result.get("eval_loss")), "-"),
    ]
    table = "\n".join(f"| {metric} | {value} | {baseline} |" for metric, value, baseline in rows)
    return (
        f"## Results\n\nOn {result['eval_rows']} held-out rows, at step {result['step']} of {result['total_steps']}."
        "\n\n"
        f'| | this model | always "{_markdown(str(majority["label"]))}" |\n| --- | --- | --- |\n{table}'
    )


def _data(spec: dict[str, Any], result: dict[str, Any]) -> str:
    labels = result["labels"]
    shown = ", ".join(f"`{_markdown(label)}`" for label in labels[:20]) + (" …" if len(labels) > 20 else "")
    held_out = (
        "a data set of its own"
        if spec["dataset"]["eval"]
        else f"{spec['dataset']['eval_fraction']:.0%} of the rows, stratified by label"
    )
    return (
        f"## Data\n\n{result['train_rows']} rows were trained on; held out was {held_out}. "
        f"{len(labels)} classes: {shown}."
    )


def _method(manifest: dict[str, Any]) -> str:
    spec, result = manifest["spec"], manifest["result"]
    adamss, training, pruning = spec["adamss"], spec["training"], result["pruning"]
    text = (
        f"## Training\n\nAdaMSS with r={adamss['r']}, {adamss['num_subspaces']} subspaces per module of rank "
        f"{adamss['subspace_rank']}; learning rate {training['learning_rate']:g} (head "
        f"{training['head_learning_rate'] or training['learning_rate']:g}), batch "
        f"{training['batch_size'] * training['gradient_accumulation_steps']}, {result['steps']} steps, seed "
        f"{training['seed']}. {result['trainable_parameters']:,} parameters were trained at the end."
    )
    if adamss["use_asa"]:
        text += (
            f"\n\nAdaptive Subspace Allocation kept {pruning['active']} of {pruning['total']} subspaces (target "
            f"{pruning['target']}), pruning from step {adamss['init_warmup']} to {adamss['final_warmup']}."
        )
    if lora := manifest.get("lora"):
        text += f"\n\nThe LoRA has rank {lora['rank']}" + (" and biases." if lora["lora_bias"] else ".")
    return text


def _code(name: str, manifest: dict[str, Any]) -> str:
    base, revision = manifest["base_model"]["name"], manifest["base_model"]["revision"]
    labels = manifest["result"]["labels"]
    ending = f", revision={revision!r}" if revision else ""
    head = (
        f"labels = {labels!r}\n"
        f"base = AutoModelForSequenceClassification.from_pretrained(\n"
        f"    {base!r}{ending}, num_labels=len(labels), id2label=dict(enumerate(labels)), dtype=torch.float32\n)\n"
    )
    imports = "import torch\nfrom transformers import AutoModelForSequenceClassification, AutoTokenizer\n"
    load = {
        "adapter": f"{imports}from adamss_core import load_adapter\n\n{head}"
        'model = load_adapter(base, ".", is_trainable=False)',
        "lora": f'{imports}from peft import PeftModel\n\n{head}model = PeftModel.from_pretrained(base, ".").eval()',
        "merged": f'{imports}\nmodel = AutoModelForSequenceClassification.from_pretrained(".").eval()',
    }[name]
    second = ', "A second text."' if manifest["spec"]["dataset"]["text_pair"] else ""
    return (
        f'{load}\ntokenizer = AutoTokenizer.from_pretrained(".")\n'
        f'inputs = tokenizer("A text."{second}, truncation=True, max_length={manifest["max_length"]}, '
        'return_tensors="pt")\n'
        "with torch.no_grad():\n    scores = model(**inputs).logits.softmax(-1)[0]\n"
        "print({model.config.id2label[i]: float(score) for i, score in enumerate(scores)})"
    )


def _limits(manifest: dict[str, Any]) -> str:
    check = manifest["verification"]
    return (
        f"## Limits\n\nInputs are cut at {manifest['max_length']} tokens. The model knows only the classes above, from "
        "rows like the ones it was trained on; the held-out rows come from the same source, so other texts can do "
        "worse. It inherits the base model's biases and licence. Nothing here says that the scores are calibrated.\n\n"
        f"These files were loaded again before they were published: on {check['probes']} held-out rows the logits "
        f"differ from the trained model's by at most {check['largest_difference']:.1e}. Checksums of all files, "
        "versions and the whole job are in `manifest.json`."
    )


def _share(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.4f}"


def _markdown(text: str) -> str:
    """Text from users, kept from being markup."""
    return "".join(f"\\{sign}" if sign in "\\`*_[]<>#|" else sign for sign in text.replace("\n", " "))
