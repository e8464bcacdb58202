"""`calotype ca init|bundle`: the authority that lets programs written for fal reach this server unchanged."""

import sys
from pathlib import Path
from typing import Annotated

import typer

from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import Failure, answer, facts, say
from calotype.dialects.fal.authority import Authority, NoAuthorityError

ca = typer.Typer(help="The certificate authority for fal's host names: init, bundle.", no_args_is_help=True)

FOLDER = "ca"
BUNDLE = "bundle.pem"


@ca.command("init")
def init(as_json: Json = False, data_dir: DataDir = None) -> None:
    """Make the authority, unless there is one, and write a bundle of it and this machine's public roots."""
    folder = (settings_for(data_dir).data_dir / FOLDER).absolute()
    authority = Authority(folder)
    made = authority.make()
    bundle = folder / BUNDLE
    bundle.write_text(authority.bundle())
    if as_json:
        answer({"made": made, "certificate": str(authority.certificate), "bundle": str(bundle)})
        return
    facts([("certificate", authority.certificate), ("bundle", bundle)])
    say(
        "Start the server with: calotype serve --fal-proxy-port 8701\n"
        "Start a program written for fal with:\n"
        f"  export HTTPS_PROXY=http://127.0.0.1:8701 SSL_CERT_FILE={bundle}\n"
        f"  export NODE_USE_ENV_PROXY=1 NODE_EXTRA_CA_CERTS={authority.certificate}"
    )


@ca.command("bundle")
def write_bundle(
    output: Annotated[Path | None, typer.Option("--output", "-o", help="A file; without it, standard output.")] = None,
    data_dir: DataDir = None,
) -> None:
    """Write this machine's public roots and the authority as one PEM text, for SSL_CERT_FILE."""
    try:
        text = Authority(settings_for(data_dir).data_dir / FOLDER).bundle()
    except NoAuthorityError as missing:
        raise Failure(f"{str(missing)[0].upper()}{str(missing)[1:]}.") from None
    if output is None:
        sys.stdout.write(text)
    else:
        output.write_text(text)
