"""From ComfyUI's UI format to its API format, with what a worker says of its node classes (`wire/comfyui.md §4 T10`).

The UI's file holds values by position, not by name; only the classes' own lists of inputs tell which is which.
"""

from typing import Any

from calotype.catalog.template_types import Graph, TemplateError

WIDGETS = frozenset({"INT", "FLOAT", "STRING", "BOOLEAN", "COMBO"})
"""Types whose values are typed in rather than linked."""
AFTER_A_SEED = frozenset({"fixed", "increment", "decrement", "randomize"})
NOTES = frozenset({"Note", "MarkdownNote"})
MUTED, BYPASSED = 2, 4
REROUTES = frozenset({"Reroute"})
PRIMITIVES = frozenset({"PrimitiveNode"})


def is_ui_format(workflow: Any) -> bool:
    """Say whether a file is what the UI saves, with nodes and links."""
    return isinstance(workflow, dict) and isinstance(workflow.get("nodes"), list)


def classes_in(workflow: dict[str, Any]) -> frozenset[str]:
    """Return the node classes that a UI file uses and a worker must know."""
    own = NOTES | REROUTES | PRIMITIVES
    return frozenset(str(node.get("type")) for node in workflow["nodes"] if node.get("type") not in own)


def to_api(origin: str, workflow: dict[str, Any], object_info: dict[str, Any]) -> Graph:
    """Return the graph of a UI file, given `/object_info` of every class in it.

    Raises:
        TemplateError: what only the UI itself can flatten (subgraphs), a class the worker does not have, or a link to
            something that was muted.

    """
    if (workflow.get("definitions") or {}).get("subgraphs"):
        raise TemplateError(origin, "definitions", 'has subgraphs: unpack them, or use "Export (API)" in ComfyUI')
    for name in sorted(classes_in(workflow)):
        if name not in object_info:
            raise TemplateError(origin, "nodes", f"{name!r} is a class that the worker does not have")
    drawing = _Drawing(origin, workflow)
    graph: Graph = {}
    for node in workflow["nodes"]:
        if node.get("mode") in (MUTED, BYPASSED) or node["type"] in NOTES | REROUTES | PRIMITIVES:
            continue
        inputs = _inputs(origin, drawing, node, object_info[node["type"]])
        graph[str(node["id"])] = {"class_type": node["type"], "inputs": inputs, "_meta": {"title": _title(node)}}
    if not graph:
        raise TemplateError(origin, "nodes", "holds no node that runs")
    return graph


class _Drawing:
    """The nodes and links of a UI file by their numbers."""

    def __init__(self, origin: str, workflow: dict[str, Any]) -> None:
        self.origin = origin
        self.nodes = {node["id"]: node for node in workflow["nodes"]}
        self.links: dict[int, tuple[Any, int]] = {}
        for link in workflow.get("links") or ():
            if isinstance(link, dict):
                self.links[link["id"]] = (link["origin_id"], link["origin_slot"])
            else:
                self.links[link[0]] = (link[1], link[2])

    def source(self, link: int, depth: int = 0) -> tuple[dict[str, Any], int] | None:
        """Follow a link to the node that runs, through reroutes and what is bypassed; None when it leads nowhere."""
        if link not in self.links or depth > len(self.nodes):
            return None
        ident, slot = self.links[link]
        node = self.nodes.get(ident)
        if node is None or node.get("mode") == MUTED:
            return None
        if node.get("mode") != BYPASSED and node["type"] not in REROUTES:
            return node, slot
        outputs = node.get("outputs") or []
        wanted = outputs[slot].get("type") if slot < len(outputs) else None
        for one in node.get("inputs") or ():
            if one.get("link") is not None and (node["type"] in REROUTES or one.get("type") == wanted):
                return self.source(one["link"], depth + 1)
        return None


def _inputs(origin: str, drawing: _Drawing, node: dict[str, Any], info: dict[str, Any]) -> dict[str, Any]:
    """Name the values of a node: links by their sockets, the rest in the order of the class's widgets."""
    links = {one["name"]: one["link"] for one in node.get("inputs") or () if one.get("link") is not None}
    values = node.get("widgets_values") or []
    named = values if isinstance(values, dict) else None
    waiting = [] if named is not None else list(values)
    found: dict[str, Any] = {}
    for group in ("required", "optional"):
        for name, spec in (info["input"].get(group) or {}).items():
            facts = spec[1] if len(spec) > 1 and isinstance(spec[1], dict) else {}
            typed = (isinstance(spec[0], list) or spec[0] in WIDGETS) and not facts.get("forceInput")
            if typed and named is None and waiting:
                value = waiting.pop(0)
                seeded = name in ("seed", "noise_seed") or facts.get("control_after_generate")
                if seeded and waiting and waiting[0] in AFTER_A_SEED:
                    waiting.pop(0)
                found[name] = {"__value__": value} if isinstance(value, list) else value
            elif typed and named is not None and name in named:
                found[name] = named[name]
            if name in links:
                found.pop(name, None)
                _link(drawing, name, links[name], found)
                if name not in found and group == "required":
                    where = f"nodes.{node['id']}.{name}"
                    raise TemplateError(origin, where, "is linked to a node that is muted or missing")
    return found


def _link(drawing: _Drawing, name: str, link: int, found: dict[str, Any]) -> None:
    """Set an input to what it is linked to; a link that leads nowhere sets nothing."""
    source = drawing.source(link)
    if source is None:
        return
    given, slot = source
    if given["type"] in PRIMITIVES:
        found[name] = (given.get("widgets_values") or [None])[0]
    else:
        found[name] = [str(given["id"]), slot]


def _title(node: dict[str, Any]) -> str:
    return str(node.get("title") or node["type"])
