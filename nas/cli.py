"""The command `nas`. Each command is a plain function; the work is imported when it runs, so that --help is quick."""

import json
import shlex
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Annotated, Any

import typer

from nas.errors import DiskFullError, UserError, refusal

app = typer.Typer(no_args_is_help=True, add_completion=False, pretty_exceptions_enable=False, rich_markup_mode=None)
Json = Annotated[bool, typer.Option("--json", help="Print JSON for programs.")]
RunDir = Annotated[Path, typer.Argument(metavar="RUN_DIR", help="A run folder, such as runs/digits.")]
Output = Annotated[Path | None, typer.Option("--output", "-o", metavar="DIR", help="Where to write.")]
Device = Annotated[str, typer.Option(help="auto, cpu, cuda or cuda:N.")]
Runtime = Annotated[str, typer.Option(help="eager, compile or onnxruntime.")]
Dtype = Annotated[str, typer.Option(help="float32, bfloat16 or float16.")]
Batch = Annotated[int, typer.Option(min=1, help="Images at once.")]
Threads = Annotated[int, typer.Option(min=1, help="Threads of the processor.")]
Watts = Annotated[float | None, typer.Option(help="Power of the device, where nothing counts its energy.")]
Configs = Annotated[list[str], typer.Argument(metavar="CONFIG.yaml...", help="Configs, or names from the zoo.")]


@app.command()
def search(
    campaign: Annotated[Path, typer.Argument(metavar="CAMPAIGN.yaml", help="The campaign file.")],
    name: Annotated[str | None, typer.Option(help="Run folder under runs/; the file's name by default.")] = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="KEY.PATH=VALUE", help="Override a setting.")
    ] = None,
    resume: Annotated[bool, typer.Option("--resume", help="Go on with a stopped or killed campaign.")] = False,
    dry_run: Annotated[
        bool, typer.Option("--dry-run", help="Check everything, with --resume also what is there; run nothing.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Run a search campaign: a front, a report and configs in runs/NAME."""
    from nas.campaign import check_names, load_campaign, placing_errors

    overrides = [*(set_ or []), *([f"name={json.dumps(name)}"] if name is not None else [])]
    loaded = load_campaign(campaign, overrides)
    check_names(loaded, campaign, overrides)
    from nas import session
    from nas.description import dry_run_lines, search_json

    if dry_run:
        with placing_errors(campaign, overrides):
            lines, data = dry_run_lines(session.checked(loaded, resume=resume))
        return _out(data, as_json, lambda: print("\n".join(lines)))
    _warn_workers(loaded.execution.workers, loaded.execution.cpus, loaded.execution.address)
    with placing_errors(campaign, overrides):
        run = session.search(loaded, resume=resume, quiet=as_json)
    _out(search_json(run), as_json, lambda: _print_run(run))
    if run.status == "interrupted":
        words = sys.argv[1:] if resume else [*sys.argv[1:], "--resume"]
        print(f"go on with: nas {shlex.join(words)}", file=sys.stderr)
        raise typer.Exit(130)
    return None


@app.command()
def report(run_dir: RunDir) -> None:
    """Rebuild the report and the tables, also of a running or broken campaign."""
    from nas.folder import rebuild

    print(rebuild(run_dir))


@app.command()
def export(
    run_dir: RunDir,
    select: Annotated[
        str, typer.Option(help='knee, best, all, trial:N, or a limit such as "latency_ms<=2"; several with commas.')
    ] = "knee",
    to: Annotated[str, typer.Option(help="Any of config,torch,onnx, separated by commas.")] = "config",
    output: Output = None,
) -> None:
    """Write architectures out: a config, one plain PyTorch file with weights, ONNX."""
    from nas.exporting import export_run

    for path in export_run(run_dir, select=select, to=tuple(t.strip() for t in to.split(",")), output=output):
        print(path)


@app.command()
def train(
    config: Annotated[Path, typer.Argument(metavar="CONFIG.yaml", help="An exported architecture.")],
    data: Annotated[str, typer.Option(help="A built-in data set or a path.")],
    epochs: Annotated[int, typer.Option(min=1, help="Passes over the training data.")] = 100,
    output: Output = None,
    device: Device = "auto",
) -> None:
    """Train an exported architecture in full; started again, it goes on where it stopped."""
    from nas.retraining import train_config

    trained = train_config(config, data, epochs=epochs, output=output, device=device)
    print(trained)


@app.command()
def show(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="A config, or a name from the zoo.")],
    as_json: Json = False,
) -> None:
    """Stages, tokens, parameters, MACs and activation memory by block, taxonomy classes."""
    from nas.description import describe, print_description

    described = describe(config)
    _out(described, as_json, lambda: print_description(described))


@app.command()
def heads(
    config: Annotated[str, typer.Argument(metavar="CONFIG.yaml", help="A config, or a name from the zoo.")],
    weights: Annotated[Path | None, typer.Option(metavar="FILE", help="Weights; the config's own by default.")] = None,
    data: Annotated[
        str | None, typer.Option(metavar="SOURCE", help="A built-in data set or a path; the config's own by default.")
    ] = None,
    as_json: Json = False,
) -> None:
    """Whether the heads of a network differ: outputs, maps and the labels that each recognises, layer by layer."""
    from nas.head_report import print_heads, report_heads

    found = report_heads(config, weights=weights, data=data)
    _out(found, as_json, lambda: print_heads(found))


@app.command()
def analyze(
    run_dir: RunDir,
    scores: Annotated[str, typer.Option(help="Names separated by commas; all by default.")] = "",
    limit: Annotated[int | None, typer.Option(min=1, help="Only the first so many finished trials.")] = None,
    as_json: Json = False,
) -> None:
    """Which zero-cost scores tell more about accuracy than size does, on a campaign's own trials."""
    from nas.score_report import print_scores, report_scores

    chosen = [name.strip() for name in scores.split(",") if name.strip()]
    found = report_scores(run_dir, scores=chosen, limit=limit)
    _out(found, as_json, lambda: print_scores(found))


@app.command()
def measure(
    configs: Configs,
    device: Device = "auto",
    runtime: Runtime = "eager",
    dtype: Dtype = "float32",
    batch: Batch = 1,
    threads: Threads = 1,
    seconds: Annotated[float, typer.Option(help="Time for the rounds of all networks together.")] = 20.0,
    watts: Watts = None,
    as_json: Json = False,
) -> None:
    """Latency with its interval, peak memory and energy on this machine, networks side by side in a fresh process."""
    from nas.measuring import measure_configs, print_measurements

    found = measure_configs(
        configs, device=device, runtime=runtime, dtype=dtype, batch=batch, threads=threads, seconds=seconds,
        watts=watts, quiet=as_json,
    )  # fmt: skip
    _out(found, as_json, lambda: print_measurements(found))
    if found["interrupted"] or any(m["error"] for m in found["measurements"]):
        raise typer.Exit(130 if found["interrupted"] else 1)


@app.command()
def profile(
    output: Annotated[Path, typer.Option("--output", "-o", metavar="DEVICE.json", help="Where to write.")],
    device: Device = "auto",
    runtime: Runtime = "eager",
    dtype: Dtype = "float32",
    batch: Batch = 1,
    threads: Threads = 1,
    minutes: Annotated[float, typer.Option(help="How long to measure, at least 1.")] = 10.0,
    campaign: Annotated[
        Path | None, typer.Option(metavar="CAMPAIGN.yaml", help="Profile the space and the pictures of a campaign.")
    ] = None,
    space: Annotated[list[str] | None, typer.Option(help="A space's name; may be given again. Default: all.")] = None,
    image_size: Annotated[list[int] | None, typer.Option(help="Pixels; may be given again.")] = None,
    from_: Annotated[
        Path | None, typer.Option("--from", metavar="OTHER.json", help="Adapt the profile of another device.")
    ] = None,
    samples: Annotated[int, typer.Option(help="Networks to measure for --from.")] = 10,
    watts: Watts = None,
    as_json: Json = False,
) -> None:
    """Learn what every architecture costs on this device; started again, it goes on with the file."""
    from nas.profiling import print_profile, profile_device

    found = profile_device(
        output, device=device, runtime=runtime, dtype=dtype, batch=batch, threads=threads, minutes=minutes,
        spaces=space or (), image_sizes=image_size or (), campaign=campaign, origin=from_, samples=samples, watts=watts,
        quiet=as_json,
    )  # fmt: skip
    _out(found, as_json, lambda: print_profile(found))


@app.command()
def predict(
    configs: Configs,
    profile: Annotated[Path, typer.Option(metavar="DEVICE.json", help="Made by nas profile.")],
    device: Annotated[
        str | None, typer.Option(help="Insist on a profile of this machine's cpu, cuda or cuda:N.")
    ] = None,
    runtime: Annotated[str | None, typer.Option(help="Insist on eager, compile or onnxruntime.")] = None,
    dtype: Annotated[str | None, typer.Option(help="Insist on a number format.")] = None,
    batch: Annotated[int | None, typer.Option(min=1, help="Insist on so many images at once.")] = None,
    threads: Annotated[int | None, typer.Option(min=1, help="Insist on so many threads.")] = None,
    force: Annotated[
        bool, typer.Option("--force", help="Use another profile all the same, with wider intervals.")
    ] = False,
    as_json: Json = False,
) -> None:
    """Latency with its interval, by stage, energy and memory on a profiled device, without running anything there."""
    from nas.profiling import predict_configs, print_predictions

    found = predict_configs(
        configs, profile, device=device, runtime=runtime, dtype=dtype, batch=batch, threads=threads, force=force
    )
    _out(found, as_json, lambda: print_predictions(found))


@app.command()
def sample(
    space_or_campaign: Annotated[
        str, typer.Argument(metavar="SPACE_OR_CAMPAIGN", help="A space's name or a campaign file.")
    ],
    count: Annotated[int, typer.Option(min=1)] = 1,
    seed: Annotated[int, typer.Option(min=0)] = 0,
    output: Output = None,
    image_size: Annotated[int, typer.Option(help="Pixels, for a space by name.")] = 0,
) -> None:
    """Draw random valid architectures; with --output as configs."""
    from nas.description import sample_architectures

    for line in sample_architectures(
        space_or_campaign, count=count, seed=seed, output=output, image_size=image_size or None
    ):
        print(line)


@app.command(name="list")
def list_(
    what: Annotated[str, typer.Argument(metavar="spaces|mechanisms|samplers|rules|evaluators|datasets|zoo")],
    as_json: Json = False,
) -> None:
    """What there is to choose from."""
    from nas.listing import list_choices, print_rows

    rows = list_choices(what)
    _out(rows, as_json, lambda: print_rows(rows))


def _out(data: Any, as_json: bool, otherwise: Callable[[], None]) -> None:
    if as_json:
        print(json.dumps(data, indent=2))
    else:
        otherwise()


def _print_run(run: Any) -> None:
    from nas.progress import print_front

    front = run.front()
    if front:
        print_front(front, run.campaign.metrics)
    else:
        print("no trial has ended with every objective measured; the report says why")
    print(f"report   {run.path / 'report' / 'index.html'}")
    for trial in front:
        print(f"config   {run.path / 'configs' / f'trial-{trial.number:04d}.yaml'}")


def _warn_workers(workers: int, cpus: float, address: str | None) -> None:
    import os

    cores = os.cpu_count() or 1
    if address is None and workers * cpus > cores:
        print(
            f"warning: {workers} workers of {cpus:g} CPUs on {cores} cores; trials will slow each other down",
            file=sys.stderr,
        )


def main() -> None:
    """Entry point: a user's mistake, and a disk that is full or read-only, is one line on stderr and exit status 2."""
    try:
        app(standalone_mode=True)
    except (UserError, DiskFullError) as error:
        print(f"nas: {error}", file=sys.stderr)
        sys.exit(2)
    except KeyboardInterrupt:
        sys.exit(130)
    except OSError as error:
        words = refusal(error)
        if words is None:
            raise
        print(f"nas: {words}", file=sys.stderr)
        sys.exit(2)


if __name__ == "__main__":
    main()
