"""Whether a template is whole, without a worker: links resolve, fields lead to values, outputs exist."""

from collections.abc import Callable, Iterator

from calotype.catalog.template_types import (
    CARRY,
    AnyField,
    Aspect,
    Choice,
    File,
    Graph,
    Integer,
    Lora,
    Loras,
    Number,
    Resolution,
    Seconds,
    Seed,
    Size,
    Template,
    TemplateError,
    Text,
)

KINDS_OF_VALUE: dict[type, tuple[type, ...]] = {
    Text: (str,), File: (str,), Seed: (int,), Integer: (int,), Number: (int, float), Seconds: (int, float),
}  # fmt: skip
"""What the graph must hold where a field of this kind leads to."""

Refuse = Callable[[str, str], TemplateError]


def check(template: Template) -> None:
    """Refuse a template that is not whole.

    Raises:
        TemplateError: the first thing that does not fit, with its key.

    """

    def refuse(key: str, sentence: str) -> TemplateError:
        return TemplateError(template.origin, key, sentence)

    _check_graph("graph.json", template.graph, template.graph, refuse)
    _check_graph("repeat.json", template.block, {**template.graph, **template.block}, refuse)
    _check_repeat(template, refuse)
    if not template.manifest.outputs:
        raise refuse("outputs", "is empty: name the node that saves the result")
    for n, output in enumerate(template.manifest.outputs):
        if output.node not in template.graph:
            raise refuse(f"outputs[{n}].node", f"{output.node!r} is not in the graph; use {_list(template.graph)}")
    for node in template.manifest.weights:
        if node not in template.graph and node not in template.block:
            raise refuse(f"weights.{node}", f"is not a node; use {_list(template.graph)}")
    for name, field in template.fields.items():
        _check_field(template, f"fields.{name}", field, refuse)
    _check_size(template, refuse)
    _check_chain(template, refuse)


def paths_of(field: AnyField) -> Iterator[str]:
    """Yield every value of the graph that a field sets."""
    yield from field.to
    if isinstance(field, Integer):
        yield from field.half
    if isinstance(field, Size):
        yield from (*field.width, *field.height)


def _check_graph(file: str, graph: Graph, known: Graph, refuse: Refuse) -> None:
    for node, body in graph.items():
        if not isinstance(body, dict) or not isinstance(body.get("class_type"), str):
            raise refuse(f"{file}.{node}", 'is not a node: API format is {"class_type": …, "inputs": {…}}')
        if not isinstance(body.get("inputs"), dict):
            raise refuse(f"{file}.{node}.inputs", "must be an object")
        for name, value in body["inputs"].items():
            if not isinstance(value, list):
                continue
            fits = len(value) == 2 and isinstance(value[0], str) and isinstance(value[1], int)
            if not fits or (value[0] not in known and not (value[0] == CARRY and file == "repeat.json")):
                raise refuse(f"{file}.{node}.{name}", f"{value!r} is not a link to a node of the graph")


def _check_field(template: Template, key: str, field: AnyField, refuse: Refuse) -> None:
    if isinstance(field, Lora | Loras):
        if template.manifest.chain is None:
            raise refuse(key, "needs a [chain] that says where LoRAs go")
        return
    paths = tuple(paths_of(field))
    if not paths and not isinstance(field, Aspect | Resolution):
        raise refuse(f"{key}.to", "is empty: name the values it sets, as node.input")
    if paths and isinstance(field, Aspect | Resolution):
        raise refuse(f"{key}.to", "is not for this type: it changes the field of type size")
    for path in paths:
        try:
            value = template.value_at(path)
        except KeyError:
            raise refuse(f"{key}.to", f"{path!r} is not a value of the graph") from None
        if isinstance(value, list):
            raise refuse(f"{key}.to", f"{path!r} is a link in the graph; only values can be set")
        wanted = KINDS_OF_VALUE.get(type(field), (int,) if isinstance(field, Size) else ())
        if wanted and (not isinstance(value, wanted) or isinstance(value, bool)):
            raise refuse(
                f"{key}.to", f"{path!r} holds {type(value).__name__} in the graph, not what a {_word(field)} is"
            )
        if isinstance(field, Integer | Number) and path in field.to and not field.min <= value <= field.max:
            raise refuse(f"{key}.to", f"{path!r} holds {value}, outside {field.min} to {field.max}")
        if isinstance(field, Choice) and value not in field.options.values():
            raise refuse(f"{key}.options", f"do not include {value!r}, which stands in the graph")
    if isinstance(field, Seconds) and field.recording is not None and field.recording not in template.file_fields:
        raise refuse(f"{key}.recording", f"{field.recording!r} is not a field of type file")


def _check_size(template: Template, refuse: Refuse) -> None:
    sizes = [name for name, field in template.fields.items() if isinstance(field, Size)]
    if len(sizes) > 1:
        raise refuse(f"fields.{sizes[1]}", "is a second field of type size; a template has one")
    for name, field in template.fields.items():
        if isinstance(field, Aspect | Resolution) and not sizes:
            raise refuse(f"fields.{name}", "needs a field of type size that it changes")


def _check_chain(template: Template, refuse: Refuse) -> None:
    chain = template.manifest.chain
    if chain is None:
        return
    for key, link in (("chain.model", chain.model), ("chain.clip", chain.clip)):
        if link is not None and link[0] not in template.graph:
            raise refuse(key, f"{link[0]!r} is not in the graph; use {_list(template.graph)}")
    if (chain.node == "LoraLoader") != (chain.clip is not None):
        raise refuse("chain.clip", "goes with LoraLoader, and LoraLoader with it")
    if taken := [node for node in template.graph if node.startswith("lora")]:
        raise refuse(f"graph.json.{taken[0]}", "must have another name: lora1, lora2 … are the chain's")


def _check_repeat(template: Template, refuse: Refuse) -> None:
    repeat = template.manifest.repeat
    if (repeat is None) != (not template.block):
        raise refuse("repeat", "and repeat.json go together")
    if repeat is None:
        return
    if not isinstance(template.fields.get(repeat.seconds), Seconds):
        raise refuse("repeat.seconds", f"{repeat.seconds!r} is not a field of type seconds")
    if unnumbered := [node for node in template.block if "#" not in node]:
        raise refuse(f"repeat.json.{unnumbered[0]}", "must have # in its name, for the number of the piece")
    if repeat.start[0] not in template.graph:
        raise refuse("repeat.start", f"{repeat.start[0]!r} is not in the graph")
    if repeat.result[0] not in template.block:
        raise refuse("repeat.result", f"{repeat.result[0]!r} is not in the block")
    if min(repeat.first, repeat.more, repeat.most) < 1:
        raise refuse("repeat", "first, more and most are at least 1")
    for path in repeat.consumers:
        node, _, name = path.partition(".")
        if template.graph.get(node, {}).get("inputs", {}).get(name) != list(repeat.start):
            raise refuse("repeat.consumers", f"{path!r} does not take repeat.start")


def _word(field: AnyField) -> str:
    return str(field.__struct_config__.tag)


def _list(graph: Graph) -> str:
    return ", ".join(graph)
