"""One job of the emulated ComfyUI: it walks its graph, tells its client, and ends as a history entry.

The order of events is that of `wire/comfyui.md §3`; what leaks on the real server leaks here.
"""

import asyncio
import random
import time
from collections.abc import Callable
from typing import Any

import msgspec
from msgspec import Struct

from calotype.sandbox.comfyui_files import Files
from calotype.sandbox.comfyui_nodes import Models, NodeClass
from calotype.sandbox.comfyui_sockets import Sockets
from calotype.sandbox.comfyui_work import (
    ROOT,
    SAMPLERS,
    Graph,
    Made,
    NodeError,
    facts_of,
    order_of,
    perform,
    signatures,
    steps_of,
)

TIPS = (
    "This error means you ran out of memory on your GPU.\n\nTIPS: If the workflow worked before you might have "
    "accidentally set the batch_size to a large number."
)


class Interrupted(Exception):  # noqa: N818  (it happens to the run)
    """Somebody asked to stop the running job."""


class Item(Struct, order=True):
    """A job in the queue, in order of number, then of coming."""

    number: float
    turn: int
    id: str
    graph: Graph
    extra: dict[str, Any]
    outputs: list[str]
    words: dict[str, str]

    @property
    def shown(self) -> list[Any]:
        """As `/queue` and the history show it."""
        number = int(self.number) if float(self.number).is_integer() else self.number
        return [number, self.id, self.graph, self.extra, self.outputs]

    @property
    def client_id(self) -> str | None:
        """The WebSocket session that hears of it."""
        return self.extra.get("client_id")

    def word(self, name: str) -> float:
        """Return the number of a word in its graph, such as `@work=2`; 0 without it."""
        return float(self.words.get(name, 0))


class Process:
    """What a run works with, and leaves to the next: caches, loaded models, and the word to stop."""

    def __init__(
        self, files: Files, sockets: Sockets, settings: dict[str, float], classes: dict[str, NodeClass],
        models: Models, crash: Callable[[], None],
    ) -> None:  # fmt: skip
        self.files, self.sockets, self.settings = files, sockets, settings
        self.classes, self.models, self.crash = classes, models, crash
        self.cache: dict[str, Made] = {}
        self.loads: list[str] = []
        self.loaded: set[str] = set()
        self.node: str | None = None
        self.stop = asyncio.Event()

    async def pause(self, seconds: float) -> None:
        """Let time pass inside a node.

        Raises:
            Interrupted: somebody asked to stop.

        """
        if seconds > 0 and not self.stop.is_set():
            _, waiting = await asyncio.wait((asyncio.create_task(self.stop.wait()),), timeout=seconds)
            for task in waiting:
                task.cancel()
        else:
            await asyncio.sleep(0)
        if self.stop.is_set():
            raise Interrupted


class Run:
    """One job on its way through its graph."""

    def __init__(self, process: Process, item: Item) -> None:
        self.process, self.item, self.graph = process, item, item.graph
        self.messages: list[tuple[str, dict[str, Any]]] = []
        self.executed: list[str] = []
        self.made: dict[str, Made] = {}
        self.shown: dict[str, dict[str, Any]] = {}
        self.progress: dict[str, dict[str, Any]] = {}
        outputs = list(item.outputs)
        random.Random(item.turn).shuffle(outputs)  # noqa: S311  (their order varies on the real server too)
        self.order = order_of(self.graph, outputs)
        self.signatures = signatures(self.graph, self.order, process.classes, process.files)
        self.texts = self._texts() if process.settings["metadata"] else ()

    async def whole(self) -> dict[str, Any]:
        """Run all of it and return its history entry."""
        process = self.process
        process.stop.clear()
        self._note("execution_start", {})
        cached = [ident for ident in self.order if self.signatures[ident] in process.cache]
        self._note("execution_cached", {"nodes": cached})
        ok = False
        try:
            for ident in self.order:
                await self._node(ident, cached=ident in cached)
            ok = True
            self._note("execution_success", {})
        except Interrupted:
            self._note("execution_interrupted", self._place(), to_all=True)
        except NodeError as error:
            self._note("execution_error", self._place() | self._blame(error))
        kept = {self.signatures[ident]: self.made[ident] for ident in self.made}
        process.cache = kept if process.settings["cache"] else {}
        status = {"status_str": "success" if ok else "error", "completed": ok, "messages": self.messages}
        outputs = {} if "empty" in self.item.words else self.shown
        meta = {
            ident: {"node_id": ident, "display_node": ident, "parent_node": None, "real_node_id": ident}
            for ident in outputs
        }
        return {"prompt": self.item.shown, "outputs": outputs, "status": status, "meta": meta}

    async def _node(self, ident: str, *, cached: bool) -> None:
        process, item = self.process, self.item
        process.node = ident
        await process.pause(0)
        if cached:
            self.made[ident] = process.cache[self.signatures[ident]]
            # trap T1: without a client nobody is told what a cached output node had shown
            if self.made[ident].shown is not None and item.client_id is not None:
                self._show(ident)
                self._progress(ident, 1, 1, "finished")
            return
        self._progress(ident, 0, 1)
        self._tell("executing", {"node": ident, "display_node": ident})
        facts = facts_of(self.graph, ident, self.made)
        await self._load(ident)
        sampler = self.graph[ident]["class_type"] in SAMPLERS
        if sampler or ident == self.order[-1]:
            await self._trouble(ident)
        if sampler:
            await self._sample(ident, steps_of(self.graph, ident, facts), facts)
        await process.pause(process.settings["node_s"])
        self.made[ident] = await asyncio.to_thread(
            perform, self.graph, ident, facts, self.signatures[ident], process.files, self.texts
        )
        self.executed.append(ident)
        if self.made[ident].shown is not None:
            self._show(ident)
        self._progress(ident, 1, 1, "finished")

    async def _load(self, ident: str) -> None:
        """Load the models that a node names; what the job before had loaded is quick."""
        node, process = self.graph[ident], self.process
        kind = process.classes[node["class_type"]]
        for name, value in node["inputs"].items():
            spec = kind.inputs.get(name)
            if spec is None or spec.folder is None:
                continue
            if value not in process.models.get(spec.folder, ()):
                message = f"Model in folder '{spec.folder}' with filename '{value}' not found."
                raise NodeError("FileNotFoundError", message)
            if value not in process.loaded:
                process.loads.append(value)
                await process.pause(process.settings["load_s"])
                process.loaded.add(value)

    async def _sample(self, ident: str, steps: int, facts: dict[str, Any]) -> None:
        process, most = self.process, self.process.settings["oom_pixels"]
        pixels = facts.get("width", 0) * facts.get("height", 0) * facts.get("batch_size", 1) * facts.get("length", 1)
        if most and pixels > most:
            raise self._out_of_memory()
        step_s = self.item.word("work") / steps or process.settings["step_s"]
        for step in range(1, steps + 1):
            await process.pause(step_s)
            self._progress(ident, step, steps)
            self._tell("progress", {"value": step, "max": steps, "node": ident})
            if process.settings["previews"]:
                process.sockets.preview(ident, self.item.id, self.item.client_id)

    async def _trouble(self, ident: str) -> None:
        """Do what words in the graph ask for, at the first sampler or at the last node."""
        words = self.item.words
        if "crash" in words:
            self.process.crash()
            await asyncio.Event().wait()
        if "stuck" in words:  # deep in a C call: no interrupt is seen
            await asyncio.Event().wait()
        if "oom" in words:
            raise self._out_of_memory()
        if "fails" in words:
            raise NodeError("RuntimeError", f"shapes cannot be multiplied in {ROOT}/comfy/ops.py ({ident})")
        if "interrupted" in words:
            raise Interrupted

    def _out_of_memory(self) -> NodeError:
        self.process.loaded.clear()
        message = "Allocation on device 0 would exceed allowed memory. (out of memory)\n" + TIPS
        return NodeError("torch.OutOfMemoryError", message)

    def _show(self, ident: str) -> None:
        self.shown[ident] = self.made[ident].shown or {}
        self._tell("executed", {"node": ident, "display_node": ident, "output": self.shown[ident]})

    def _progress(self, ident: str, value: int, most: int, state: str = "running") -> None:
        self.progress[ident] = {
            "value": value, "max": most, "state": state, "node_id": ident, "prompt_id": self.item.id,
            "display_node_id": ident, "parent_node_id": None, "real_node_id": ident,
        }  # fmt: skip
        self._tell("progress_state", {"nodes": dict(self.progress)})

    def _tell(self, event: str, facts: dict[str, Any]) -> None:
        """Tell the job's own client; a job without one is silent."""
        if self.item.client_id is not None:
            self.process.sockets.tell(event, {"prompt_id": self.item.id, **facts}, self.item.client_id)

    def _note(self, event: str, facts: dict[str, Any], *, to_all: bool = False) -> None:
        """Write a message of the history, and tell it."""
        facts = {"prompt_id": self.item.id, **facts, "timestamp": int(time.time() * 1000)}
        self.messages.append((event, facts))
        if self.item.client_id is not None or to_all:
            self.process.sockets.tell(event, facts, None if to_all else self.item.client_id)

    def _place(self) -> dict[str, Any]:
        node = self.process.node or self.order[0]
        return {"node_id": node, "node_type": self.graph[node]["class_type"], "executed": list(self.executed)}

    def _blame(self, error: NodeError) -> dict[str, Any]:
        """Return what leaks: paths of the server, and the inputs of the node, prompts among them."""
        node = self.process.node or self.order[0]
        return {
            "exception_message": error.message,
            "exception_type": error.kind,
            "traceback": [
                f'  File "{ROOT}/execution.py", line 510, in execute\n    output_data = await get_output_data()\n'
            ],
            "current_inputs": {name: [value] for name, value in self.graph[node]["inputs"].items()},
            "current_outputs": list(self.made),
        }

    def _texts(self) -> tuple[tuple[str, str], ...]:
        beside = self.item.extra.get("extra_pnginfo") or {}
        named = [("prompt", self.graph), *beside.items()]
        return tuple((name, msgspec.json.encode(value).decode()) for name, value in named)
