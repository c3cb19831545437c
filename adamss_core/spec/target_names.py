"""Names of target modules: those that transformers 5 gave families of models anew, and those that a model has."""

from __future__ import annotations

from collections import Counter
from collections.abc import Collection, Iterable, Mapping

SHOWN = 12  # kinds of linear layers that an error lists

Renamed = Mapping[str, tuple[str, ...]]

_ATTENTION: Renamed = {"query": ("q_proj",), "key": ("k_proj",), "value": ("v_proj",)}
_WITH_MLP: Renamed = {**_ATTENTION, "dense": ("o_proj", "fc1", "fc2")}
_WITHOUT_MLP: Renamed = {**_ATTENTION, "dense": ("o_proj",)}  # fc1 and fc2 are old names here

# Model type -> name before transformers 5 -> names now, as in `transformers.conversion_mapping`. BERT, GPT-2 and T5
# have kept theirs.
FORMER_NAMES: Mapping[str, Renamed] = {
    **dict.fromkeys(
        ("audio-spectrogram-transformer", "beit", "deit", "ijepa", "vit", "vit_mae", "vit_msn", "vivit"), _WITH_MLP
    ),
    **dict.fromkeys(("dinov2", "dinov2_with_registers"), _WITHOUT_MLP),
}


def find_renamed(targets: Collection[str] | str | None, names: Iterable[str], model_type: str | None) -> Renamed:
    """Return former name -> present names, of the targets that match nothing under their former name.

    Args:
        targets: as in `peft.AdamssConfig`; only a list has names, a regular expression is taken as it is.
        names: of the model's modules.
    """
    known = FORMER_NAMES.get(model_type or "", {})
    if targets is None or isinstance(targets, str) or known.keys().isdisjoint(targets):
        return {}
    ends = {name.rpartition(".")[2] for name in names}
    present = {former: tuple(name for name in new if name in ends) for former, new in known.items()}
    return {name: present[name] for name in known if name in targets and name not in ends and present[name]}


def present_names(targets: Iterable[str], renamed: Renamed) -> list[str]:
    """Return the targets with former names replaced, each once."""
    return list(dict.fromkeys(new for name in targets for new in renamed.get(name, (name,))))


def describe_renamed(renamed: Renamed, model_type: str | None) -> str:
    """Return the notice on former names that were replaced."""
    pairs = ", ".join(f"'{former}' is now {' and '.join(new)}" for former, new in renamed.items())
    return (
        f"target_modules holds names that models of type {model_type} had before transformers 5: {pairs}. The present "
        "names are adapted; write them to choose others."
    )


def count_ends(names: Iterable[str]) -> str:
    """Return the linear layers that a model has, by the last part of their names, with their numbers."""
    ends = Counter(name.rpartition(".")[2] for name in names)
    if not ends:
        return "It has: no linear layer."
    shown = ", ".join(f"{end} ({number})" for end, number in list(ends.items())[:SHOWN])
    return f"It has: {shown}{', …' if len(ends) > SHOWN else ''}."
