"""How a call to KIE is written: its three families of addresses and the bodies they take (`wire/providers.md §5`)."""

import re
from typing import Any

from msgspec import Struct
from yarl import URL

from calotype.kernel.steps import FileRef
from calotype.providers.base import Call
from calotype.settings import ProviderSettings

BASE_URL = "https://api.kie.ai"
UPLOAD_URL = "https://kieai.redpandaai.co"
UPLOAD_PATH = "calotype"
SUNO = "suno"
"""The upstream name of music: its versions are a field of the input."""
SUCCESSORS = {"V3": "V4", "V3_5": "V4"}
"""Versions of Suno that KIE does not take any more, and what runs in their place (§5.4)."""
MAX_TITLE = 80
_NUMBER = "@number"


class Family(Struct, frozen=True):
    """One of KIE's interfaces: where work is created and where it is looked at."""

    name: str
    create: str
    record: str


JOBS = Family("jobs", "/api/v1/jobs/createTask", "/api/v1/jobs/recordInfo")
VEO = Family("veo", "/api/v1/veo/generate", "/api/v1/veo/record-info")
MUSIC = Family("music", "/api/v1/generate", "/api/v1/generate/record-info")
FAMILIES = {family.name: family for family in (JOBS, VEO, MUSIC)}


def family_of(upstream_model: str) -> Family:
    """Return the interface that runs a model."""
    if upstream_model == SUNO:
        return MUSIC
    return VEO if upstream_model.startswith("veo3") else JOBS


def body_of(call: Call, files: dict[str, Any], callback_url: str) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Return what is posted to create the work, and what the caller should know about it.

    `files` holds the addresses of the input's files by field. `callback_url` is empty where nobody can be called.
    """
    fields = {**_written(call.input), **files}
    family = family_of(call.upstream_model)
    called: dict[str, Any] = {"callBackUrl": callback_url} if callback_url else {}
    if family is MUSIC:
        music, warnings = _music(fields)
        return {**music, **called}, warnings
    if family is VEO:
        return {**fields, "model": call.upstream_model, **called}, ()
    return {"model": _model(call), **called, "input": fields}, ()


def bases(name: str, settings: ProviderSettings) -> tuple[str, str]:
    """Return the addresses of the API and of the upload host.

    A server that is not KIE's own takes uploads itself unless the settings name another: nothing meant for it reaches
    the real KIE.

    Raises:
        ValueError: an address that cannot be used.

    """
    api = _base(f"providers.{name}.base_url", settings.base_url or BASE_URL)
    beside = UPLOAD_URL if api == BASE_URL else api
    return api, _base(f"providers.{name}.upload_base_url", settings.upload_base_url or beside)


def file_name(call: Call, field: str, n: int, file: FileRef) -> str:
    """Return a name that no other upload has: KIE overwrites a file of the same name (§5.6)."""
    suffix = (file.path.suffix or "").lower()
    return f"{call.token}-{field}-{n}{suffix if re.fullmatch(r'[.][a-z0-9]{1,8}', suffix) else ''}"


def one_file(field: str) -> bool:
    """Say whether a field of KIE's takes one address and not a list of them."""
    return field.lower().endswith("url")


def _written(fields: dict[str, Any]) -> dict[str, Any]:
    """Leave out what is unset; a route may name a field `duration@number`, whose text KIE wants as a number."""
    written: dict[str, Any] = {}
    for name, value in fields.items():
        if value is None:
            continue
        if name.endswith(_NUMBER):
            written[name.removesuffix(_NUMBER)] = int(value) if str(value).isdecimal() else value
        else:
            written[name] = value
    return written


def _model(call: Call) -> str:
    """Return the member of a pair such as `seedream/5-lite-text-to-image` that fits the input."""
    return call.upstream_model.replace("text-to-", "image-to-", 1) if call.files else call.upstream_model


def _music(fields: dict[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    """Write a call to Suno: with a style the prompt holds the lyrics, without one it is a description (§5.4)."""
    fields, warnings = dict(fields), []
    asked = fields.pop("model", "V4")
    version = SUCCESSORS.get(asked, asked)
    if version != asked:
        warnings.append(f"the provider does not offer {asked} any more: {version} was used")
    instrumental = bool(fields.pop("instrumental", False))
    prompt = str(fields.get("prompt", ""))
    if fields.get("style"):
        title = str(fields.get("title") or prompt.strip().partition("\n")[0])
        if len(title) > MAX_TITLE and fields.get("title"):
            warnings.append(f"the provider takes titles of {MAX_TITLE} characters: the rest was left out")
        fields["title"] = title[:MAX_TITLE].strip() or "Untitled"
    else:
        if set(fields) - {"prompt", "style"}:
            warnings.append("without a style the provider reads the prompt alone: title and details were left out")
        fields = {"prompt": prompt}
    how = {"customMode": "style" in fields, "instrumental": instrumental, "model": version}
    return {**fields, **how}, tuple(warnings)


def _base(setting: str, address: str) -> str:
    try:
        url = URL(address.strip())
        usable = bool(url.host) and url.scheme in ("http", "https") and not (url.raw_user or url.raw_query_string)
    except ValueError:
        usable = False
    if not usable:
        raise ValueError(f"{setting} must be like {BASE_URL}, without a user name or a query")
    return str(url).rstrip("/")
