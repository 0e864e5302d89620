"""The commands that look at runs: check, table, export-inspect, watch, serve. Thin, and a door, as `cli` is."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

import typer

from sirl.cli.endings import FAILED, STOPPED
from sirl.cli.options import AnyProtocol, Changes, Transcripts
from sirl.errors import RunError
from sirl.records import notice, transcripts_of

results = typer.Typer()
Share = float | None


@results.command()
def check(
    runs: Annotated[
        list[Path], typer.Argument(help="An evaluate run; or two, before and after; or a folder of them.")
    ],
    min_dsr: Annotated[Share, typer.Option(help="Attacks withstood, mean over attacks: at least.")] = None,
    min_worst: Annotated[Share, typer.Option(help="DSR of the attack that does best: at least.")] = None,
    min_union: Annotated[Share, typer.Option(help="Requests on which no attack succeeded: at least.")] = None,
    min_plain: Annotated[
        Share, typer.Option(help="Harmful requests withstood when asked plainly: at least.")
    ] = None,
    max_benign: Annotated[Share, typer.Option(help="Benign requests refused: at most.")] = None,
    max_borderline: Annotated[Share, typer.Option(help="Borderline requests refused: at most.")] = None,
    max_dsr_drop: Annotated[Share, typer.Option(help="Fall of attacks withstood: at most.")] = None,
    max_benign_rise: Annotated[Share, typer.Option(help="Rise of benign requests refused: at most.")] = None,
    max_borderline_rise: Annotated[
        Share, typer.Option(help="Rise of borderline requests refused: at most.")
    ] = None,
    max_skill_drop: Annotated[Share, typer.Option(help="Fall of tasks answered correctly: at most.")] = None,
    max_unscored: Annotated[
        Share, typer.Option(help="Replies without a verdict: at most. Default: the run's own setting.")
    ] = None,
    estimates: Annotated[
        bool, typer.Option("--estimates", help="Check the figures themselves, not the ends of their intervals.")
    ] = False,
    junit: Annotated[Path | None, typer.Option(help="JUnit XML to write, for a CI server.")] = None,
    markdown: Annotated[Path | None, typer.Option(help="A summary to write, in Markdown.")] = None,
    allow_different_protocol: AnyProtocol = False,
) -> None:
    """Check runs against limits, for CI: exit code 1 and the reason if one is not kept.

    Limits are shares of 1. A run that has not finished, or with too much unscored, fails.
    """
    from sirl.reporting import checks as gate
    from sirl.reporting import load_runs, tell

    limits = gate.Limits(
        min_dsr,
        min_worst,
        min_union,
        min_plain,
        max_benign,
        max_borderline,
        max_dsr_drop,
        max_benign_rise,
        max_borderline_rise,
        max_skill_drop,
        max_unscored,
    )
    story = tell(load_runs(runs), allow_different_protocol)
    checks = gate.check(story, limits, estimates)
    for path, text in ((junit, gate.junit(story, checks)), (markdown, gate.markdown(story, checks))):
        if path:
            _write(path, text)
    for one in checks:
        typer.echo(
            f"{'FAILS' if one.failure else 'passes'}  {one.name}: {one.failure or one.found}; {one.asked}"
        )
    if any(one.failure for one in checks):
        raise typer.Exit(FAILED)


@results.command()
def table(
    runs: Annotated[list[Path], typer.Argument(help="Run folders of gap or evaluate, or folders of them.")],
    out: Annotated[Path, typer.Option(help="The file to write: .csv or .parquet.")],
    transcripts: Transcripts = "redacted",
) -> None:
    """Write the evidence of runs as a table, one row a reply and verdict: docs/tables.md."""
    from sirl.records import notice, transcripts_of
    from sirl.reporting import load_runs
    from sirl.tables import write_table

    quoted = transcripts_of(transcripts)
    judged = [run for run in load_runs(runs) if run.kind != "train"] or load_runs(runs)
    typer.echo(f"wrote {write_table(judged, out, quoted)} rows to {out}: {notice(quoted)}")


@results.command()
def watch(run: Annotated[Path, typer.Argument(help="The folder of a run that has begun.")]) -> None:
    """Show the progress of a run that another process is at work on, until it has finished."""
    from sirl.workflows.watching import watch as look_on

    try:
        came = look_on(run)
    except KeyboardInterrupt:
        raise typer.Exit(STOPPED) from None
    typer.echo(f"{run} has finished: {came.done} {came.unit}")


@results.command()
def serve(
    runs: Annotated[
        list[Path] | None,
        typer.Argument(help="Run folders, or folders to search for runs. Default: the current folder."),
    ] = None,
    model: Annotated[
        list[str] | None,
        typer.Option(help="A model for the playground, as of sirl evaluate. Repeatable."),
    ] = None,
    host: Annotated[
        str, typer.Option(help="Address to listen at; any but this machine's own asks for a token.")
    ] = "127.0.0.1",
    port: Annotated[int, typer.Option(help="0: any that is free.", min=0, max=65535)] = 8765,
    token: Annotated[
        bool, typer.Option("--token", help="Ask for a token on this machine too, as where others use it.")
    ] = False,
    transcripts: Transcripts = "redacted",
    changes: Changes = None,
) -> None:
    """Serve a live page: runs as they go, reports, transcripts, a playground. Needs the extra serve."""
    from sirl.plugins import load_extra

    for package in ("fastapi", "uvicorn"):
        load_extra(package, "serve")
    from sirl.serve import Speaker
    from sirl.workflows.serving import Address
    from sirl.workflows.serving import serve as start

    def opener(spec: str) -> Speaker:
        from sirl.workflows.speaking import speaker

        return speaker(spec, changes or ())

    start(tuple(runs or ()), tuple(model or ()), opener, Address(host, port, token), transcripts)


def _write(path: Path, text: str) -> None:
    if path.is_dir():
        raise RunError(f"{path} is a folder", "the name of the file to write", "add a file name")
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")


@results.command("export-inspect")
def export_inspect(
    run: Annotated[Path, typer.Argument(help="A run folder of gap or evaluate.")],
    out: Annotated[Path, typer.Option(help="Folder of logs, for `inspect view --log-dir`.")],
    transcripts: Transcripts = "redacted",
) -> None:
    """Write a run as an Inspect AI log. Needs the extra inspect."""
    from sirl.plugins import load_extra

    quoted = transcripts_of(transcripts)
    load_extra("inspect_ai", "inspect")
    from sirl.inspect.log import export

    typer.echo(f"wrote {export(run, out, quoted)}")
    typer.echo(notice(quoted), err=True)
