"""Which files may be weights: formats that hold numbers and no code, told by their first bytes."""

from pathlib import Path
from typing import IO

import msgspec

from calotype.providers.local.weights.catalogue import PICKLES, WeightsError, WeightsFile

_MAX_TEXT_BYTES = 64 << 20
_NCNN_PARAM = b"7767517\n"


def check_format(file: WeightsFile, path: Path) -> None:
    """Look whether a file is what its entry says.

    Raises:
        WeightsError: it is something else, or something that could hold code.

    """
    with path.open("rb") as body:
        head = body.read(64)
        if _is_pickle(head) or Path(file.name).suffix.lower() in PICKLES:
            raise WeightsError(f"{file.name} is a pickle, which can run code; it is never used.")
        if not _fits(file, head, body):
            raise WeightsError(f"{file.name} is not a file of the format {file.format}.")


def _is_pickle(head: bytes) -> bool:
    """Say whether the bytes begin as a pickle, or as an archive that usually holds one."""
    bare = len(head) > 2 and head[0] == 0x80 and 2 <= head[1] <= 5 and head[2:3] in b"\x95}](cX\x8a\x8c"
    return bare or head.startswith((b"PK\x03\x04", b"PK\x05\x06", b"\x89HDF", b"\x93NUMPY"))


def _fits(file: WeightsFile, head: bytes, body: IO[bytes]) -> bool:
    match file.format:
        case "gguf":
            return head.startswith(b"GGUF")
        case "tflite":
            return head[4:8] == b"TFL3"
        case "safetensors":
            return head[8:9] == b"{" and 2 <= int.from_bytes(head[:8], "little") < file.size_bytes
        case "onnx":
            # field 1 of the message, the version of the format
            return head[0] == 0x08 and 1 <= head[1] <= 20
        case "ctranslate2":
            return 2 <= int.from_bytes(head[:4], "little") <= 10
        case "ncnn-param":
            return head.replace(b"\r", b"").startswith(_NCNN_PARAM)
        case "ncnn-bin":
            return not head.startswith((b"#!", b"\x7fELF", b"MZ", b"<"))
        case "json" | "text":
            return _is_text(file, body)


def _is_text(file: WeightsFile, body: IO[bytes]) -> bool:
    if file.size_bytes > _MAX_TEXT_BYTES:
        return False
    body.seek(0)
    try:
        text = body.read().decode()
        if file.format == "json":
            msgspec.json.decode(text)
    except (UnicodeDecodeError, msgspec.DecodeError):
        return False
    return "\x00" not in text
