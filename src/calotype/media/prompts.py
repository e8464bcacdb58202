"""What counts as an embedded prompt, what counts as a mark of AI origin, and the metadata formats that mix them.

Prompts and graphs belong to the caller and leave with the file; C2PA manifests, IPTC digital source types, AIGC labels
and our own label stay, because they tell whoever sees the file where it came from.
"""

import re
import struct
from xml.sax.saxutils import quoteattr

OWN_SOFTWARE = "Calotype"
OWN_DESCRIPTION = "procedural illustration, not an AI model"

_GRAPH = re.compile(
    r"\"class_type\"|\"inputs\"\s*:|\"nodes\"\s*:|\"workflow\"|\"prompt\"\s*:|negative prompt\s*:|steps:\s*\d+"
    r"|^\s*(?:prompt|workflow|parameters)\s*[:=]|sampler\s*[:=]|cfg scale|<lora:",
    re.IGNORECASE,
)
_KEEP_KEYS = frozenset({"copyright", "author", "creation time", "disclaimer", "warning", "aigc", "c2pa"})
_XMP_PROMPT = re.compile(
    r"AIPrompt|dc:description|UserComment|dc:title|ImageDescription|parameters|photoshop:Instructions", re.IGNORECASE
)
_XMP_MARK = re.compile(
    r"(Iptc4xmpExt:DigitalSourceType|dcterms:provenance|TC260:AIGC|tiff:Orientation)"
    r"(?:\s*=\s*\"([^\"]{1,2000})\"|\s*=\s*'([^']{1,2000})'|\s*>\s*([^<]{1,2000})<|\s+rdf:resource=\"([^\"]{1,2000})\")"
)
_NAMESPACES = {
    "Iptc4xmpExt": "http://iptc.org/std/Iptc4xmpExt/2008-02-29/",
    "dcterms": "http://purl.org/dc/terms/",
    "TC260": "http://www.tc260.org.cn/ns/AIGC/1.0/",
    "tiff": "http://ns.adobe.com/tiff/1.0/",
}
_EXIF_ALWAYS = frozenset({0x010E, 0x9286, 0x9C9B, 0x9C9C, 0x9C9E, 0x9C9F})
"""ImageDescription, UserComment, XPTitle, XPComment, XPKeywords, XPSubject: where tools put prompts."""
_EXIF_TEXT = frozenset({0x010D, 0x010F, 0x0110, 0x0131, 0x013B, 0x927C, 0xA420})
"""Names and makers; ComfyUI writes its graph into Make and Model, so these go when they look like one."""
_EXIF_POINTERS = frozenset({0x8769, 0x8825, 0xA005})
_EXIF_SIZES = {1: 1, 2: 1, 3: 2, 4: 4, 5: 8, 6: 1, 7: 1, 8: 2, 9: 4, 10: 8, 11: 4, 12: 8}
_MAX_ENTRIES = 1024


def looks_like_prompt(text: str) -> bool:
    """Say whether a text reads like a graph or a generation record, or is too long for a name."""
    return len(text) > 512 or _GRAPH.search(text) is not None


def is_own_label(key: str, text: str) -> bool:
    """Say whether a labelled text is the mark that our own renderers put on their files."""
    key = key.lower()
    if key == "software":
        return text.startswith(OWN_SOFTWARE) and not looks_like_prompt(text)
    return key in ("description", "comment") and text.startswith(OWN_DESCRIPTION) and len(text) <= 200


def keeps(key: str, text: str) -> bool:
    """Say whether a labelled text may stay: our label, a mark of origin, or a plain legal or date entry."""
    low = key.lower()
    if is_own_label(key, text):
        return True
    return (low in _KEEP_KEYS or low.startswith("date:")) and (low == "aigc" or not looks_like_prompt(text))


def clean_xmp(packet: bytes) -> bytes | None:
    """Return the packet itself when nothing in it reads like a prompt, a packet of its marks alone, or None."""
    text = packet.decode("utf-8", "replace")
    if not _XMP_PROMPT.search(text) and not _GRAPH.search(text):
        return packet
    marks: dict[str, str] = {}
    for match in _XMP_MARK.finditer(text):
        marks.setdefault(match[1], next(value for value in match.groups()[1:] if value is not None).strip())
    if not marks:
        return None
    spaces = sorted({name.partition(":")[0] for name in marks})
    attributes = " ".join(
        [f"xmlns:{space}={quoteattr(_NAMESPACES[space])}" for space in spaces]
        + [f"{name}={quoteattr(_unescaped(value))}" for name, value in marks.items()]
    )
    return (
        '<?xpacket begin="\ufeff" id="W5M0MpCehiHzreSzNTczkc9d"?><x:xmpmeta xmlns:x="adobe:ns:meta/">'
        '<rdf:RDF xmlns:rdf="http://www.w3.org/1999/02/22-rdf-syntax-ns#">'
        f'<rdf:Description rdf:about="" {attributes}/></rdf:RDF></x:xmpmeta><?xpacket end="r"?>'
    ).encode()


def _unescaped(value: str) -> str:
    for escaped, char in (("&lt;", "<"), ("&gt;", ">"), ("&quot;", '"'), ("&apos;", "'"), ("&amp;", "&")):
        value = value.replace(escaped, char)
    return value


def clean_exif(tiff: bytes) -> bytes:
    """Blank the texts of an EXIF block that hold prompts, in place: every offset and the orientation stay.

    Returns the same object when there is nothing to blank; raises ValueError on a malformed block.
    """
    order = {b"II*\x00": "<", b"MM\x00*": ">"}.get(tiff[:4])
    if order is None:
        raise ValueError("not a TIFF block")
    spans: list[tuple[int, int]] = []
    try:
        waiting = [struct.unpack_from(order + "I", tiff, 4)[0]]
        seen: set[int] = set()
        while waiting and len(seen) < 16:
            at = waiting.pop()
            if at == 0 or at in seen:
                continue
            seen.add(at)
            (entries,) = struct.unpack_from(order + "H", tiff, at)
            if entries > _MAX_ENTRIES:
                raise ValueError("too many entries")
            for entry in range(at + 2, at + 2 + 12 * entries, 12):
                tag, kind, length, value = struct.unpack_from(order + "HHII", tiff, entry)
                size = _EXIF_SIZES.get(kind, 1) * length
                start = entry + 8 if size <= 4 else value
                if start + size > len(tiff):
                    raise ValueError("a value lies outside")
                if tag in _EXIF_POINTERS:
                    waiting.append(value)
                elif _hides_prompt(tag, tiff[start : start + size]):
                    spans.append((start, size))
            following = at + 2 + 12 * entries
            waiting.append(struct.unpack_from(order + "I", tiff, following)[0] if following + 4 <= len(tiff) else 0)
    except struct.error as error:
        raise ValueError("cut short") from error
    if not spans:
        return tiff
    out = bytearray(tiff)
    for start, size in spans:
        out[start : start + size] = bytes(size)
    return bytes(out)


def _hides_prompt(tag: int, value: bytes) -> bool:
    if tag not in _EXIF_ALWAYS and tag not in _EXIF_TEXT:
        return False
    plain = value[8:] if tag == 0x9286 else value  # UserComment begins with eight bytes of character code
    text = plain.replace(b"\x00", b"").decode("utf-8", "replace").strip()
    if not text:
        return False
    if tag in _EXIF_TEXT:
        return looks_like_prompt(text)
    return not is_own_label("description", text)
