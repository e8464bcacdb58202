"""The variables that the providers' own clients read, and what they set here: the lowest of the doors."""

import os
from collections.abc import Mapping
from typing import Any

from pydantic_settings import PydanticBaseSettingsSource

USUAL_VARIABLES: dict[str, tuple[str, str, str]] = {
    "OPENAI_API_KEY": ("openai", "openai", "api_key"),
    "OPENAI_BASE_URL": ("openai", "openai", "base_url"),
    "OPENAI_ORG_ID": ("openai", "openai", "headers.OpenAI-Organization"),
    "OPENAI_PROJECT_ID": ("openai", "openai", "headers.OpenAI-Project"),
    "OPENROUTER_API_KEY": ("openrouter", "openrouter", "api_key"),
    "OPENROUTER_API_BASE": ("openrouter", "openrouter", "base_url"),
    "ANTHROPIC_API_KEY": ("anthropic", "openai", "api_key"),
    "FIREWORKS_API_KEY": ("fireworks", "openai", "api_key"),
    "SCW_SECRET_KEY": ("scaleway", "openai", "api_key"),
    "TOGETHER_API_KEY": ("together", "openai", "api_key"),
    "FAL_KEY": ("fal", "fal", "api_key"),
    "FAL_QUEUE_RUN_HOST": ("fal", "fal", "base_url"),
    "FAL_IMAGE_MODEL": ("fal", "fal", "models.krea-2"),
    "FAL_VIDEO_MODEL": ("fal", "fal", "models.wan"),
    "FAL_AVATAR_MODEL": ("fal", "fal", "models.avatar"),
    "BFL_API_KEY": ("bfl", "bfl", "api_key"),
    "BFL_API_BASE": ("bfl", "bfl", "base_url"),
    "BFL_EU_API_BASE": ("bfl-eu", "bfl", "base_url"),
    "BFL_US_API_BASE": ("bfl-us", "bfl", "base_url"),
    "MINIMAX_API_KEY": ("minimax", "minimax", "api_key"),
    "MINIMAX_BASE_URL": ("minimax", "minimax", "base_url"),
    "MISTRAL_API_KEY": ("mistral", "mistral", "api_key"),
    "MISTRAL_API_BASE": ("mistral", "mistral", "base_url"),
    "AZURE_CH_API_KEY": ("azure-ch", "azure", "api_key"),
    "AZURE_CH_API_BASE": ("azure-ch", "azure", "base_url"),
    "AZURE_EU_API_KEY": ("azure-eu", "azure", "api_key"),
    "AZURE_EU_API_BASE": ("azure-eu", "azure", "base_url"),
    "AZURE_US_API_KEY": ("azure-us", "azure", "api_key"),
    "AZURE_US_API_BASE": ("azure-us", "azure", "base_url"),
    "KIE_API_KEY": ("kie", "kie", "api_key"),
    "KIE_BASE_URL": ("kie", "kie", "base_url"),
    "KIE_UPLOAD_BASE_URL": ("kie", "kie", "upload_base_url"),
    "GEMINI_API_KEY": ("google", "google", "api_key"),
    "GOOGLE_API_KEY": ("google", "google", "api_key"),
    "GEMINI_API_BASE": ("google", "google", "base_url"),
    "GOOGLE_GEMINI_BASE_URL": ("google", "google", "base_url"),
}
"""Environment variable → provider name, kind, setting; ours (`CALOTYPE_PROVIDERS__…`) win over these.

Of two for the same setting the later one here wins, as `GOOGLE_API_KEY` does in Google's own client.

A variable named `…_HOST` holds a host, perhaps with a path, and stands for an https address.
"""

BESIDE: dict[str, tuple[str, ...]] = {"bfl": ("bfl-eu", "bfl-us")}
"""Instances that the first one's usual key sets up too: the same account at the upstream's hosts of other regions.

Where the operator chose the first one's address, theirs must be chosen as well: no key goes to a host nobody named.
"""


class UsualVariables(PydanticBaseSettingsSource):
    """The variables the providers' own SDKs read, lowest in rank."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:  # noqa: ARG002
        """Unused by this source, which answers whole."""
        return None, field_name, False

    def __call__(self) -> dict[str, Any]:
        """Return the providers that these variables set up."""
        providers: dict[str, dict[str, Any]] = {}
        environ = {**_of_fals_clients(os.environ), **os.environ}
        for variable, (name, kind, path) in USUAL_VARIABLES.items():
            if value := environ.get(variable):
                setting, _, key = path.partition(".")
                value = f"https://{value}" if variable.endswith("_HOST") else value
                item = providers.setdefault(name, {"kind": kind})
                item[setting] = {**item.get(setting, {}), key: value} if key else value
        # a base URL or a model alone names no account: without a key the provider is not set up
        named = {str(name).lower(): item for name, item in (self.current_state.get("providers") or {}).items()}
        _set_up_beside(providers, named)
        found = {name: item for name, item in providers.items() if "api_key" in item or name in named}
        return {"providers": found} if found else {}


def _set_up_beside(providers: dict[str, dict[str, Any]], named: Mapping[str, Any]) -> None:
    """Add the instances of `BESIDE`."""
    for name, others in BESIDE.items():
        first, written = providers.get(name, {}), named.get(name)
        chosen = "base_url" in first or (isinstance(written, dict) and "base_url" in written)
        for other in others:
            if "api_key" in first and (other in providers or not chosen):
                shared = {"kind": first["kind"], "api_key": first["api_key"]}
                providers[other] = {**shared, **providers.get(other, {})}


def _of_fals_clients(environ: Mapping[str, str]) -> dict[str, str]:
    """Return what fal's own clients make of a key in two parts and of `FAL_RUN_HOST` alone (`wire/fal.md §3, §12.1`).

    A host with a path that ends with `/run` is a gateway's, whose queue is beside it.
    """
    found: dict[str, str] = {}
    ident, secret, host = (environ.get(f"FAL_{name}", "").strip() for name in ("KEY_ID", "KEY_SECRET", "RUN_HOST"))
    if ident and secret:
        found["FAL_KEY"] = f"{ident}:{secret}"
    if host:
        beside = host.rstrip("/").removesuffix("/run")
        found["FAL_QUEUE_RUN_HOST"] = f"queue.{host}" if beside == host.rstrip("/") else f"{beside}/queue"
    return found
