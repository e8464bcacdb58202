"""Templates of ComfyUI graphs: an API-format graph, and a manifest that says which of its values a caller may set.

Clients name a model; the operator's card leads to a template by `upstream = "<id>@<version>"`. Nobody outside sees
node names, files or paths (`wire/comfyui.md §8`). A field's default is what stands in the graph.
"""

from collections.abc import Mapping
from typing import Annotated, Any, Literal

from msgspec import Meta, Struct

Node = dict[str, Any]
Graph = dict[str, Node]
"""API format: node id → `{"class_type", "inputs"}`; a link is `[node id, output index]` (`wire/comfyui.md §2`)."""

Media = Literal["image", "audio", "video"]
Path = Annotated[str, Meta(pattern=r"^[^.]+\..+$")]
"""`node.input`: one value in the graph; `#` in the node's name stands for the number of each repeated block."""
Link = tuple[str, int]
CARRY = "@"
"""The node name that, inside a repeated block, stands for what the block before it made."""

FOLDERS: dict[tuple[str, str], str] = {
    ("CheckpointLoaderSimple", "ckpt_name"): "checkpoints",
    ("ImageOnlyCheckpointLoader", "ckpt_name"): "checkpoints",
    ("UNETLoader", "unet_name"): "diffusion_models",
    ("CLIPLoader", "clip_name"): "text_encoders",
    ("DualCLIPLoader", "clip_name1"): "text_encoders",
    ("DualCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name1"): "text_encoders",
    ("TripleCLIPLoader", "clip_name2"): "text_encoders",
    ("TripleCLIPLoader", "clip_name3"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name1"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name2"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name3"): "text_encoders",
    ("QuadrupleCLIPLoader", "clip_name4"): "text_encoders",
    ("VAELoader", "vae_name"): "vae",
    ("LoraLoader", "lora_name"): "loras",
    ("LoraLoaderModelOnly", "lora_name"): "loras",
    ("ControlNetLoader", "control_net_name"): "controlnet",
    ("DiffControlNetLoader", "control_net_name"): "controlnet",
    ("CLIPVisionLoader", "clip_name"): "clip_vision",
    ("StyleModelLoader", "style_model_name"): "style_models",
    ("UpscaleModelLoader", "model_name"): "upscale_models",
    ("AudioEncoderLoader", "audio_encoder_name"): "audio_encoders",
    ("ModelPatchLoader", "name"): "model_patches",
    ("LatentUpscaleModelLoader", "model_name"): "latent_upscale_models",
    ("GLIGENLoader", "gligen_name"): "gligen",
    ("HypernetworkLoader", "hypernetwork_name"): "hypernetworks",
    ("PhotoMakerLoader", "photomaker_model_name"): "photomaker",
}
"""Class and input of the core loaders → the models folder that must hold the file."""


class TemplateError(ValueError):
    """A template that cannot be used. The message names the file, the key and what would be accepted."""

    def __init__(self, origin: str, key: str, sentence: str) -> None:
        super().__init__(f"{origin}: {key}: {sentence}")
        self.origin = origin
        self.key = key


class RefusedField(ValueError):  # noqa: N818  (it says what was refused)
    """An input that a template cannot take; the message is safe to show to the caller."""

    def __init__(self, field: str, message: str) -> None:
        super().__init__(message)
        self.field = field
        self.message = message


class FieldKind(Struct, frozen=True, kw_only=True, forbid_unknown_fields=True, tag_field="type"):
    """What every field has: the values of the graph that it sets, and whether a caller must give it."""

    to: tuple[Path, ...] = ()
    required: bool = False
    description: str = ""


class Text(FieldKind, frozen=True, kw_only=True, tag="text"):
    """Words, put into the graph as they are."""

    max_length: int = 32_000


class Integer(FieldKind, frozen=True, kw_only=True, tag="integer"):
    """A whole number; `half` are values that get half of it, rounded down and at least 1 (two-stage samplers)."""

    half: tuple[Path, ...] = ()
    min: int = 0
    max: int = 1_000_000
    multiple: int = 1


class Number(FieldKind, frozen=True, kw_only=True, tag="number"):
    """A number."""

    min: float = 0.0
    max: float = 1_000_000.0


class Choice(FieldKind, frozen=True, kw_only=True, tag="choice"):
    """One of a few words, each of which stands for a value in the graph."""

    options: dict[str, Any]


class Seed(FieldKind, frozen=True, kw_only=True, tag="seed"):
    """The seed; drawn where the caller gives none, because equal graphs are answered from the worker's cache."""


class Size(FieldKind, frozen=True, kw_only=True, tag="size"):
    """`WIDTHxHEIGHT`, brought to multiples; one in a template, as `aspect` and `resolution` change it."""

    width: tuple[Path, ...]
    height: tuple[Path, ...]
    multiple: int = 16
    min: int = 256
    max: int = 2048
    max_pixels: int = 2048 * 2048


class Aspect(FieldKind, frozen=True, kw_only=True, tag="aspect"):
    """Width to height such as `16:9`, at the area of the resolution or of the graph's own size."""


class Resolution(FieldKind, frozen=True, kw_only=True, tag="resolution"):
    """A word such as `480p` for an area in pixels."""

    pixels: dict[str, int]


class Seconds(FieldKind, frozen=True, kw_only=True, tag="seconds"):
    """A length in seconds as frames: the least `step`*k + `plus` that lasts so long at `fps`.

    `recording` names the field of the recording with which the video ends at the latest: who runs the template
    measures it and gives the shorter of its length and what was asked, for a template reads no files.
    """

    fps: float
    step: int = 1
    plus: int = 0
    min: float = 0.1
    max: float = 60.0
    recording: str | None = None


class File(FieldKind, frozen=True, kw_only=True, tag="file"):
    """A file of the input; its value is the name under which it was uploaded to the worker."""

    media: Media


class Lora(FieldKind, frozen=True, kw_only=True, tag="lora"):
    """One LoRA by its file's name in the worker's `loras` folder, for the template's chain."""

    strength: float = 1.0


class Loras(FieldKind, frozen=True, kw_only=True, tag="loras"):
    """A list of LoRAs: names, or objects with `name` (or `path`) and `strength` (or `scale`)."""

    strength: float = 1.0
    most: int = 4


AnyField = Text | Integer | Number | Choice | Seed | Size | Aspect | Resolution | Seconds | File | Lora | Loras


class Chain(Struct, frozen=True, forbid_unknown_fields=True):
    """Where LoRAs go: after the `model` (and `clip`) output, in front of all that use it (`wire/comfyui.md §8`)."""

    node: Literal["LoraLoader", "LoraLoaderModelOnly"]
    model: Link
    clip: Link | None = None


class Repeat(Struct, frozen=True, forbid_unknown_fields=True):
    """A block of nodes, in `repeat.json`, once for each piece of a long video after the first (`wire/comfyui.md §9.5`).

    The graph makes `first` frames, each block `more`. `start` is what the graph's own piece ends in and `result` what
    a block ends in; `consumers` are the values that take the last of them. `seconds` names the field that decides.
    """

    seconds: str
    first: int
    more: int
    most: int
    start: Link
    result: Link
    consumers: tuple[Path, ...]


class OutputNode(Struct, frozen=True, forbid_unknown_fields=True):
    """A node whose files are the result, of which kind."""

    node: str
    media: Media


class Manifest(Struct, frozen=True, forbid_unknown_fields=True):
    """`template.toml` as it is written.

    `comfy` is the oldest ComfyUI that has the nodes; `models` adds files that no known loader names. `ignored` are
    fields that cards have and this graph cannot use, with the sentence that says so. `model_set` groups templates that
    keep the same weights loaded; `swap_s` is what loading them costs. `weights` share the progress among nodes.
    `restartable` says that a lost run may be done again elsewhere.
    """

    title: str
    fields: dict[str, AnyField]
    outputs: tuple[OutputNode, ...]
    description: str = ""
    licence: str | None = None
    acknowledge: bool = False
    """Whether the licence asks something of the operator (non-commercial weights)."""
    comfy: str = "0.3.60"
    model_set: str = ""
    vram_gb: int = 0
    swap_s: float = 30.0
    timeout_s: float = 600.0
    restartable: bool = True
    weights: dict[str, float] = {}
    models: dict[str, tuple[str, ...]] = {}
    ignored: dict[str, str] = {}
    chain: Chain | None = None
    repeat: Repeat | None = None


class Template(Struct, frozen=True, eq=False):
    """A template in force: its manifest, its graph, the block it repeats and where it was read."""

    id: str
    version: int
    origin: str
    manifest: Manifest
    graph: Graph
    block: Graph

    @property
    def ref(self) -> str:
        """What a route's `upstream` calls it: `<id>@<version>`."""
        return f"{self.id}@{self.version}"

    @property
    def fields(self) -> Mapping[str, AnyField]:
        """The input fields it takes."""
        return self.manifest.fields

    @property
    def file_fields(self) -> dict[str, Media]:
        """The input fields whose files are uploaded to the worker before it runs, and their kinds."""
        return {name: field.media for name, field in self.fields.items() if isinstance(field, File)}

    @property
    def lora_fields(self) -> frozenset[str]:
        """The input fields that name LoRAs."""
        return frozenset(name for name, field in self.fields.items() if isinstance(field, Lora | Loras))

    @property
    def recordings(self) -> dict[str, str]:
        """Fields in seconds → the field of the recording that bounds them."""
        found = {name: field.recording for name, field in self.fields.items() if isinstance(field, Seconds)}
        return {name: recording for name, recording in found.items() if recording is not None}

    @property
    def output_nodes(self) -> tuple[str, ...]:
        """The nodes whose files are the result."""
        return tuple(output.node for output in self.manifest.outputs)

    @property
    def model_set(self) -> str:
        """The name of the weights that it keeps loaded; its own id where the manifest names none."""
        return self.manifest.model_set or self.id

    @property
    def classes(self) -> frozenset[str]:
        """The node classes a worker must have."""
        chained = {self.manifest.chain.node} if self.manifest.chain is not None else set()
        return frozenset({str(node["class_type"]) for node in (*self.graph.values(), *self.block.values())} | chained)

    @property
    def models(self) -> dict[str, frozenset[str]]:
        """The files a worker must have, by models folder."""
        found: dict[str, set[str]] = {folder: set(names) for folder, names in self.manifest.models.items()}
        for node in (*self.graph.values(), *self.block.values()):
            for name, value in node["inputs"].items():
                folder = FOLDERS.get((node["class_type"], name))
                if folder is not None and isinstance(value, str):
                    found.setdefault(folder, set()).add(value)
        return {folder: frozenset(names) for folder, names in sorted(found.items())}

    def value_at(self, path: str) -> Any:
        """Return the value at `node.input` of the graph, or of the block."""
        node, _, name = path.partition(".")
        return (self.block if "#" in node else self.graph)[node]["inputs"][name]
