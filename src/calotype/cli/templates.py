"""`calotype templates`: the graphs that ComfyUI workers run, checked, and made from workflows of one's own."""

import re
from pathlib import Path
from typing import Annotated, Any

import msgspec
import typer

from calotype.catalog.template_convert import classes_in, is_ui_format, to_api
from calotype.catalog.template_guess import guess, manifest_text
from calotype.catalog.templates import OWN_FOLDER, Graph, Template, TemplateError, Templates, read_template
from calotype.cli.options import DataDir, Json, settings_for
from calotype.cli.terminal import Failure, answer, facts, say, table
from calotype.cli.worker_facts import WorkerFacts

templates = typer.Typer(help="Templates: the graphs that ComfyUI workers run.", no_args_is_help=True)

Worker = Annotated[str | None, typer.Option("--worker", metavar="URL", help="A ComfyUI server to ask.")]
Token = Annotated[str | None, typer.Option("--token", help="What a proxy before the worker wants.")]


@templates.command("list")
def list_(as_json: Json = False, data_dir: DataDir = None) -> None:
    """List the templates, and what they need of a worker."""
    found = Templates.load(settings_for(data_dir).cards_dir).values()
    if as_json:
        answer([_object(template) for template in found])
        return
    rows = [
        (one.ref, one.manifest.title, _makes(one), ", ".join(one.fields), sum(map(len, one.models.values())),
         one.manifest.licence)
        for one in found
    ]  # fmt: skip
    table(("TEMPLATE", "TITLE", "MAKES", "FIELDS", "MODEL FILES", "LICENCE"), rows)


@templates.command("check")
def check_(
    ref: Annotated[str | None, typer.Argument(metavar="TEMPLATE", help="One of them; all without.")] = None,
    worker: Worker = None,
    token: Token = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Check that templates are whole and, with --worker, that a worker has all they need."""
    known = Templates.load(settings_for(data_dir).cards_dir)
    chosen = [known.find(ref)] if ref is not None else list(known.values())
    lacking = {one.ref: [] for one in chosen} if worker is None else _lacking(chosen, WorkerFacts(worker, token))
    if as_json:
        answer([{"template": name, "lacks": lacks} for name, lacks in lacking.items()])
    else:
        good = "whole" if worker is None else "can run"
        rows = [(name, "lacks " + ", ".join(lacks) if lacks else good) for name, lacks in lacking.items()]
        table(("TEMPLATE", "RESULT"), rows)
        for one in chosen:
            if one.manifest.acknowledge:
                say(f"{one.ref}: its weights come under {one.manifest.licence}; keeping to that is yours.")
    if ref is not None and lacking[chosen[0].ref]:
        raise typer.Exit(1)


@templates.command("import")
def import_(
    workflow: Annotated[Path, typer.Argument(help="A workflow's JSON file.", exists=True, dir_okay=False)],
    ident: Annotated[str | None, typer.Option("--id", help="The template's id; the file's name without.")] = None,
    output: Annotated[
        Path | None, typer.Option("--output", "-o", help="Folder of templates; that of cards_dir without.")
    ] = None,
    worker: Worker = None,
    token: Token = None,
    as_json: Json = False,
    data_dir: DataDir = None,
) -> None:
    """Make a template from a workflow: its graph, and a manifest with guessed fields for you to read."""
    cards_dir = settings_for(data_dir).cards_dir
    root = output or (cards_dir / OWN_FOLDER if cards_dir is not None else None)
    if root is None:
        raise Failure("Say where to write it: -o FOLDER, or set CALOTYPE_CARDS_DIR and it goes into its templates/.")
    name = ident or re.sub(r"[^a-z0-9._-]+", "-", workflow.stem.lower()).strip("-._")
    graph = _graph(workflow, WorkerFacts(worker, token) if worker is not None else None)
    made = guess(graph)
    taken = [int(path.name) for path in (root / name).glob("*") if path.name.isascii() and path.name.isdigit()]
    folder = root / name / str(max(taken, default=0) + 1)
    folder.mkdir(parents=True)
    nodes = ",\n".join(f" {_json(node)}: {_json(body)}" for node, body in graph.items())
    (folder / "graph.json").write_text(f"{{\n{nodes}\n}}\n", encoding="utf-8")
    (folder / "template.toml").write_text(manifest_text(name, made), encoding="utf-8")
    for note in made.notes:
        say(note)
    try:
        template = read_template(folder)
    except TemplateError as error:
        raise Failure(f"Written, but it cannot be used yet: {error}. Edit {folder / 'template.toml'}.") from None
    if as_json:
        answer(_object(template) | {"folder": str(folder), "notes": made.notes})
        return
    facts(
        [
            ("template", template.ref),
            ("folder", folder),
            ("makes", _makes(template)),
            ("fields", ", ".join(template.fields)),
            *(("needs", f"{where}/{file}") for where, files in template.models.items() for file in sorted(files)),
            ("in a card", f'provider = "comfyui", upstream = "{template.ref}"'),
        ]
    )


def _graph(path: Path, worker: WorkerFacts | None) -> Graph:
    """Read a workflow in API format, or convert one in UI format with what a worker says of its classes."""
    try:
        raw: Any = msgspec.json.decode(path.read_bytes())
    except msgspec.DecodeError as error:
        raise Failure(f"{path} is not JSON: {error}.") from None
    if isinstance(raw, dict) and isinstance(raw.get("prompt"), dict):  # a request as it is sent to /prompt
        raw = raw["prompt"]
    if is_ui_format(raw):
        if worker is None:
            raise Failure(
                f'{path} is in UI format: use "Export (API)" in ComfyUI, or give --worker URL of a server that has '
                "its nodes, to convert it."
            )
        info = {name: told for name in sorted(classes_in(raw)) if (told := worker.class_info(name)) is not None}
        return to_api(path.name, raw, info)
    if not isinstance(raw, dict) or not raw:
        raise Failure(f"{path} is no workflow: API format is an object of nodes.")
    for node, body in raw.items():
        if not isinstance(body, dict) or "class_type" not in body or not isinstance(body.get("inputs"), dict):
            raise Failure(f"{path} is no workflow in API format: {node!r} is no node with class_type and inputs.")
    return raw


def _lacking(chosen: list[Template], worker: WorkerFacts) -> dict[str, list[str]]:
    """Return what a worker lacks for each template: classes, then files with their folders."""
    names = sorted({name for one in chosen for name in one.classes})
    there = {name for name in names if worker.class_info(name) is not None}
    files = {folder: worker.files(folder) for folder in sorted({folder for one in chosen for folder in one.models})}
    found: dict[str, list[str]] = {}
    for one in chosen:
        lacks = [f"node {name}" for name in sorted(one.classes - there)]
        lacks += [f"{where}/{name}" for where, wanted in one.models.items() for name in sorted(wanted - files[where])]
        found[one.ref] = lacks
    return found


def _object(template: Template) -> dict[str, Any]:
    manifest = template.manifest
    return {
        "id": template.id,
        "version": template.version,
        "ref": template.ref,
        "title": manifest.title,
        "description": manifest.description,
        "licence": manifest.licence,
        "acknowledge": manifest.acknowledge,
        "outputs": [{"node": output.node, "media": output.media} for output in manifest.outputs],
        "fields": {name: field.__struct_config__.tag for name, field in template.fields.items()},
        "classes": sorted(template.classes),
        "models": {folder: sorted(files) for folder, files in template.models.items()},
        "model_set": template.model_set,
        "vram_gb": manifest.vram_gb,
    }


def _makes(template: Template) -> str:
    return ", ".join(dict.fromkeys(output.media for output in template.manifest.outputs))


def _json(value: Any) -> str:
    return msgspec.json.encode(value).decode()
