"""Validation of a submitted graph, with ComfyUI's own words for every error (`wire/comfyui.md §2`)."""

from collections.abc import Callable
from typing import Any

from msgspec import Struct

from calotype.sandbox.comfyui_nodes import BIG_LIST, Input, Models, NodeClass

Graph = dict[str, Any]
Errors = list[dict[str, Any]]
TRACEBACK = ['  File "/opt/ComfyUI/execution.py", line 1005, in validate_prompt\n    m = await validate_inputs(prompt_id, prompt, o, validated)\n']  # fmt: skip  # noqa: E501
"""What leaks into some errors: paths of the server."""


class Verdict(Struct, frozen=True):
    """Whether a graph may run: the outputs that do, the whole error, and the nodes' errors (also beside success)."""

    outputs: list[str] = []
    error: dict[str, Any] | None = None
    node_errors: dict[str, Any] = {}


class World(Struct, frozen=True):
    """What a graph is checked against: the classes and models there are, and whether an input file exists."""

    classes: dict[str, NodeClass]
    models: Models
    has_file: Callable[[str], bool]


def check(graph: Any, targets: list[str] | None, world: World) -> Verdict:
    """Check a graph as the server does: whole errors first, then every output with all it depends on."""
    outputs: list[str] = []
    for ident, node in graph.items():
        if not isinstance(node, dict) or "class_type" not in node:
            message = "Cannot execute because a node is missing the class_type property."
            return Verdict(error=_error("invalid_prompt", message, f"Node ID '#{ident}'"))
        kind = world.classes.get(node["class_type"])
        if kind is None:
            message = f"Cannot execute because node {node['class_type']} does not exist."
            return Verdict(error=_error("invalid_prompt", message, f"Node ID '#{ident}'"))
        if kind.saves and (targets is None or ident in targets):
            outputs.append(ident)
    if not outputs:
        return Verdict(error=_error("prompt_no_outputs", "Prompt has no outputs", ""))
    walk = _Walk(graph, world)
    good: list[str] = []
    node_errors: dict[str, Any] = {}
    failed: Errors = []
    for output in outputs:
        if walk.valid(output):
            good.append(output)
            continue
        failed += walk.errors[output]
        for ident, errors in walk.errors.items():
            if errors:
                shown = {"errors": errors, "dependent_outputs": [], "class_type": graph[ident]["class_type"]}
                node_errors.setdefault(ident, shown)["dependent_outputs"].append(output)
    if good:
        return Verdict(good, None, node_errors)
    details = "\n".join(f"{error['message']}: {error['details']}" for error in failed)
    message = "Prompt outputs failed validation"
    return Verdict(error=_error("prompt_outputs_failed_validation", message, details), node_errors=node_errors)


class _Walk:
    """Checks each node once, whoever asks."""

    def __init__(self, graph: Graph, world: World) -> None:
        self.graph = graph
        self.world = world
        self.errors: dict[str, Errors] = {}
        self._valid: dict[str, bool] = {}

    def valid(self, output: str) -> bool:
        """Check an output; what cannot even be walked is an exception in the server's words."""
        try:
            return self._node(output)
        except _UNWALKABLE as error:
            facts = {"exception_type": type(error).__name__, "traceback": TRACEBACK}
            message = "Exception when validating node"
            self.errors[output] = [_error("exception_during_validation", message, str(error), facts)]
            self._valid[output] = False
            return False

    def _node(self, ident: str) -> bool:
        if ident in self._valid:
            return self._valid[ident]
        node = self.graph[ident]
        kind = self.world.classes[node["class_type"]]
        errors: Errors = []
        sound = True
        for spec in kind.inputs.values():
            if spec.name not in node["inputs"]:
                if not spec.optional:
                    facts = {"input_name": spec.name}
                    errors.append(_error("required_input_missing", "Required input is missing", spec.name, facts))
                continue
            value = node["inputs"][spec.name]
            if isinstance(value, list):
                wrong = self._link(kind, spec, value)
                if wrong is None:
                    sound = self._inner(kind, spec, value) and sound
                else:
                    errors.append(wrong)
            elif (wrong := self._value(kind, spec, node["inputs"], value)) is not None:
                errors.append(wrong)
        self.errors[ident] = errors
        self._valid[ident] = sound and not errors
        return self._valid[ident]

    def _inner(self, kind: NodeClass, spec: Input, link: list[Any]) -> bool:
        """Check the node behind a link; what cannot be walked there is that node's error, with the server's paths."""
        try:
            return self._node(link[0])
        except _UNWALKABLE as error:
            facts = {
                "input_name": spec.name, "input_config": self._config(kind, spec), "exception_message": str(error),
                "exception_type": type(error).__name__, "traceback": TRACEBACK, "linked_node": link,
            }  # fmt: skip
            message = "Exception when validating inner node"
            self.errors[link[0]] = [_error("exception_during_inner_validation", message, str(error), facts)]
            self._valid[link[0]] = False
            return False

    def _link(self, kind: NodeClass, spec: Input, link: list[Any]) -> dict[str, Any] | None:
        facts: dict[str, Any] = {"input_name": spec.name, "input_config": self._config(kind, spec)}
        if len(link) != 2:
            message = "Bad linked input, must be a length-2 list of [node_id, slot_index]"
            return _error("bad_linked_input", message, spec.name, {**facts, "received_value": link})
        given = self.world.classes[self.graph[link[0]]["class_type"]].outputs[link[1]]
        if "*" in (given, spec.type) or given == spec.type:
            return None
        details = f"{spec.name}, received_type({given}) mismatch input_type({spec.type})"
        message = "Return type mismatch between linked nodes"
        return _error("return_type_mismatch", message, details, {**facts, "received_type": given, "linked_node": link})

    def _value(self, kind: NodeClass, spec: Input, inputs: dict[str, Any], value: Any) -> dict[str, Any] | None:
        """Check a literal; texts that are numbers are taken as numbers, in the graph too."""
        if isinstance(value, dict) and "__value__" in value:
            value = inputs[spec.name] = value["__value__"]
        facts: dict[str, Any] = {"input_name": spec.name, "input_config": self._config(kind, spec)}
        try:
            if convert := _CONVERT.get(spec.type):
                value = inputs[spec.name] = convert(value)
        except (TypeError, ValueError) as error:
            details = f"{spec.name}, {value}, {error}"
            message = f"Failed to convert an input value to a {spec.type} value"
            return _error(
                "invalid_input_type",
                message,
                details,
                {**facts, "received_value": value, "exception_message": str(error)},
            )
        facts["received_value"] = value
        if spec.type == "FILE":
            if isinstance(value, str) and self.world.has_file(value):
                return None
            what = "audio" if spec.name == "audio" else "video" if spec.name == "file" else "image"
            details = f"{spec.name} - Invalid {what} file: {value}"
            message = "Custom validation failed for node"
            return _error("custom_validation_failed", message, details, {"input_name": spec.name})
        if spec.low is not None and value < spec.low:
            bound = facts["input_config"][1]["min"]
            return _error("value_smaller_than_min", f"Value {value} smaller than min of {bound}", spec.name, facts)
        if spec.high is not None and value > spec.high:
            bound = facts["input_config"][1]["max"]
            return _error("value_bigger_than_max", f"Value {value} bigger than max of {bound}", spec.name, facts)
        # choices of classes written in the newer way are not checked before they run
        options = None if kind.newer else spec.options(self.world.models)
        if options is not None and value not in options:
            shown = str(options)
            if len(options) > BIG_LIST:
                shown, facts["input_config"] = f"(list of length {len(options)})", None
            details = f"{spec.name}: '{value}' not in {shown}"
            return _error("value_not_in_list", "Value not in list", details, facts)
        return None

    def _config(self, kind: NodeClass, spec: Input) -> list[Any]:
        return spec.config(self.world.models, newer=kind.newer)


_UNWALKABLE = (KeyError, IndexError, TypeError, RecursionError)
_CONVERT: dict[str, Callable[[Any], Any]] = {"INT": int, "FLOAT": float, "STRING": str, "BOOLEAN": bool}


def _error(kind: str, message: str, details: str, facts: dict[str, Any] | None = None) -> dict[str, Any]:
    return {"type": kind, "message": message, "details": details, "extra_info": facts or {}}
