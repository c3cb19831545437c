"""The spectrum of a model on training rows, measured as a job; and that of its weights alone, as a child does."""

from __future__ import annotations

import json
from dataclasses import replace
from itertools import pairwise
from pathlib import Path

import pytest

from adamss_core.inspection import inspect_model
from adamss_core.spec.spectrum_report import SpectrumReport
from adamss_core.spectrum_job import measure_spectrum
from adamss_core.training.errors import Stopped, TrainingError
from adamss_core.training.request import RunRequest
from adamss_core.weight_spectra import measure_weights
from tests.adamss_core.training.support import Recorder, job, request, texts

pytestmark = pytest.mark.slow
NAMES = [f"bert.encoder.layer.{i}.attention.self.{part}" for i in range(2) for part in ("query", "value")]


def asked(model: Path, folder: Path, rows: int = 90) -> RunRequest:
    spec = job(adamss={"use_asa": False, "r": 16, "num_subspaces": 1, "target_modules": ["query", "value", "key"]})
    wish = replace(request(model, folder, texts(rows), spec=spec), inspects=True)
    assert RunRequest.from_json(wish.to_json()) == wish
    return wish


def test_energies_lie_between_none_and_all_and_grow(model: Path, tmp_path: Path) -> None:
    recorder = Recorder()
    outcome = measure_spectrum(asked(model, tmp_path / "run"), recorder)
    assert outcome.spectrum is not None
    report = SpectrumReport.model_validate(outcome.spectrum)
    assert len(report.modules) == outcome.result["modules"] == 6
    assert (report.basis_rows, report.measured_rows) == (41, 40)
    assert report.suggestion.targets == ["query", "value"]
    shares = [module.gradient_share for module in report.modules]
    assert sum(share or 0 for share in shares) == pytest.approx(1)
    for module in report.modules:
        assert module.ranks == [1, 2, 4, 8, 16]
        for energy in (module.inputs, module.gradient):
            assert energy is not None
            for caught in (energy.weights, energy.inputs, energy.gradient):
                assert all(0 <= low <= high <= 1 for low, high in pairwise(caught))
        assert module.inputs is not None
        assert module.inputs.inputs[-1] > module.inputs.weights[-1]
    assert recorder.steps[-1]["step"] == recorder.steps[-1]["total"] == 6 + 81
    assert outcome.artifacts == []
    json.dumps(outcome.result, allow_nan=False)
    again = measure_spectrum(asked(model, tmp_path / "again"), Recorder())
    assert again.spectrum is not None
    assert again.spectrum["modules"] == outcome.spectrum["modules"]


def test_a_measurement_stops_when_it_is_asked_to(model: Path, tmp_path: Path) -> None:
    with pytest.raises(Stopped):
        measure_spectrum(asked(model, tmp_path), Recorder(stop_at=3))


def test_the_weights_alone_have_the_same_singular_values(model: Path, tmp_path: Path) -> None:
    facts = inspect_model(model)
    order = (str(model), None, "text-classification", NAMES, facts["default_targets"])
    alone = {module.name: module for module in measure_weights(*order).modules}
    assert list(alone) == NAMES
    outcome = measure_spectrum(asked(model, tmp_path), Recorder())
    assert outcome.spectrum is not None
    for module in SpectrumReport.model_validate(outcome.spectrum).modules:
        if module.name in alone:
            assert alone[module.name].energy == module.energy
            assert alone[module.name].gradient is None


def test_too_few_rows_are_refused(model: Path, tmp_path: Path) -> None:
    rows = texts(4)
    wish = replace(asked(model, tmp_path), spec=job(adamss={"use_asa": False}))
    wish.train_file.write_text("".join(json.dumps(row) + "\n" for row in rows))
    with pytest.raises(TrainingError) as caught:
        measure_spectrum(wish, Recorder())
    assert caught.value.code in {"too_few_rows", "bad_data"}
