"""The command line: every command is in a file of its own group and is registered here."""

import sys
from typing import Annotated

import typer

from calotype import __version__
from calotype.cli.ca import ca
from calotype.cli.credits import credits_
from calotype.cli.demo import demo
from calotype.cli.doctor import doctor
from calotype.cli.errors import is_expected, sentence
from calotype.cli.generate import generate
from calotype.cli.jobs import jobs
from calotype.cli.keys import keys
from calotype.cli.models import models
from calotype.cli.models_check import check
from calotype.cli.options import DataDir, remember_data_dir
from calotype.cli.orgs import orgs
from calotype.cli.prices import prices
from calotype.cli.pull import pull_, pulled
from calotype.cli.reference import reference
from calotype.cli.sandbox import sandbox
from calotype.cli.serve import serve
from calotype.cli.skill import skill
from calotype.cli.templates import templates
from calotype.cli.terminal import Failure, say
from calotype.cli.upkeep import db, ledger, media, secrets
from calotype.cli.webhooks import webhooks
from calotype.cli.workers import workers
from calotype.telemetry import configure_logs

__all__ = ["main"]

program = typer.Typer(
    name="calotype", no_args_is_help=True, pretty_exceptions_enable=False, rich_markup_mode=None,
    context_settings={"help_option_names": ["-h", "--help"]},
)  # fmt: skip


def _version(wanted: bool) -> None:
    if wanted:
        typer.echo(f"calotype {__version__}")
        raise typer.Exit


@program.callback()
def _root(
    data_dir: DataDir = None,
    version: Annotated[  # noqa: ARG001  (its callback answers)
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Show the version.")
    ] = False,
) -> None:
    """Calotype: one self-hosted API in front of every generative-media model."""
    remember_data_dir(data_dir)


program.command()(serve)
program.command()(generate)
models.command()(check)
models.command("pull")(pull_)
models.command()(pulled)
program.add_typer(models, name="models")
program.add_typer(prices, name="prices")
program.add_typer(templates, name="templates")
program.add_typer(keys, name="keys")
program.add_typer(orgs, name="orgs")
program.add_typer(credits_, name="credits")
program.add_typer(jobs, name="jobs")
program.add_typer(webhooks, name="webhooks")
program.add_typer(workers, name="workers")
program.add_typer(ledger, name="ledger")
program.add_typer(media, name="media")
program.add_typer(secrets, name="secrets")
program.add_typer(skill, name="skill")
program.add_typer(ca, name="ca")
program.add_typer(db, name="db")
program.command()(doctor)
program.command()(sandbox)
program.command(hidden=True)(demo)
program.command(hidden=True)(reference)


def main() -> None:
    """Run a command; a failure it can expect is one sentence on standard error, never a traceback."""
    configure_logs("critical", "auto")  # a command's own sentence says what went wrong; `serve` logs as it is told
    try:
        program(prog_name="calotype")
    except Exception as error:
        if not is_expected(error):
            raise
        say(f"calotype: {sentence(error)}")
        sys.exit(error.exit_code if isinstance(error, Failure) else 1)
    except KeyboardInterrupt:
        sys.exit(130)
