"""The `adamss` command and its command groups."""

from __future__ import annotations

import sys
from importlib.metadata import version
from typing import Annotated

import typer

from service.cli import (
    artifacts,
    audit,
    backup,
    datasets,
    doctor,
    import_job,
    init,
    job_checkpoints,
    job_clone,
    job_events,
    job_notes,
    jobs,
    keys,
    migrate,
    model_spectrum,
    models,
    predict,
    presets,
    projects,
    registered_models,
    results,
    retention,
    run_comparison_table,
    serve,
    storage,
    sweeps,
    waiting,
    workers,
)
from service.cli.output import examples, report
from service.cli.terminal import prepare_streams, put


def show_version(requested: bool) -> None:
    if requested:
        put(f"adamss {version('adamss')}")
        raise typer.Exit


app = typer.Typer(
    name="adamss",
    epilog=examples(
        "adamss up                                     start the service on this machine",
        "adamss init                                   write a commented job spec",
        "adamss jobs submit spec.yaml --dataset reviews.csv --watch",
        "adamss artifacts download JOB lora --extract",
        'adamss predict JOB "A joy from beginning to end."',
    ),
    no_args_is_help=True,
    pretty_exceptions_enable=False,
    context_settings={"help_option_names": ["-h", "--help"]},
)


@app.callback()
def options(
    show: Annotated[
        bool, typer.Option("--version", callback=show_version, is_eager=True, help="Print the version and exit.")
    ] = False,
) -> None:
    """Fine-tune transformer models with AdaMSS adapters, on your own service.

    Exit codes: 0 success, 1 job failed, 2 invalid arguments or spec, 3 service unavailable, 4 not found or not
    permitted, 130 interrupted.
    """


app.command()(serve.up)
app.command()(serve.link)
app.command()(serve.api)
app.command()(serve.worker)
app.command(epilog=init.EXAMPLES)(init.init)
app.command(name="import", epilog=import_job.EXAMPLES)(import_job.import_job)
jobs.app.command(epilog=job_clone.CLONE)(job_clone.clone)
jobs.app.command(epilog=job_events.EVENTS)(job_events.events)
jobs.app.command(epilog=job_notes.EDIT)(job_notes.edit)
jobs.app.command(epilog=run_comparison_table.COMPARE)(run_comparison_table.compare)
jobs.app.command(epilog=results.EVALUATE)(results.evaluate)
jobs.app.command(epilog=job_checkpoints.CHECKPOINTS)(job_checkpoints.checkpoints)
jobs.app.command(epilog=job_checkpoints.PUBLISH)(job_checkpoints.publish)
jobs.app.command(epilog=results.EVALUATION)(results.evaluation)
jobs.app.command(name="worst", epilog=results.WORST)(results.hardest)
jobs.app.command(epilog=results.SAMPLES)(results.samples)
app.add_typer(jobs.app, name="jobs")
app.command(epilog=sweeps.SWEEP)(sweeps.sweep)
app.add_typer(sweeps.app, name="sweeps")
app.add_typer(presets.app, name="presets")
app.add_typer(datasets.app, name="datasets")
app.add_typer(artifacts.app, name="artifacts")
app.command(epilog=predict.EXAMPLES)(predict.predict)
app.add_typer(workers.app, name="workers")
app.command(epilog=waiting.QUEUE)(waiting.queue)
app.command(epilog=waiting.USAGE)(waiting.usage)
models.app.command(epilog=registered_models.PUBLISH)(registered_models.publish)
models.app.command()(registered_models.registered)
models.app.command(epilog=registered_models.LABEL)(registered_models.label)
models.app.command()(registered_models.rollback)
models.app.command(epilog=registered_models.WEBHOOK)(registered_models.webhook)
models.app.command()(registered_models.withdraw)
app.add_typer(models.app, name="models")
app.command(name="inspect", epilog=model_spectrum.EXAMPLES)(model_spectrum.inspect)
app.add_typer(keys.app, name="keys")
app.add_typer(projects.app, name="projects")
app.command()(doctor.doctor)
app.command()(retention.retention)
app.command()(doctor.adopt)
app.command(epilog=migrate.EXAMPLES)(migrate.migrate)
app.command()(backup.backup)
app.command()(backup.restore)
app.add_typer(storage.app, name="storage")
app.command(name="audit")(audit.audit)


def main() -> None:
    """Run the command; `adamss --help` lists the exit codes."""
    prepare_streams()
    try:
        app()
    except Exception as error:
        sys.exit(report(error))
