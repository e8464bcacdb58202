"""Configuration: what an operator can set, and the one door through which it comes in."""

from calotype.settings.door import Settings, secret_variable, settings_from, unknown_variables
from calotype.settings.sections import (
    PIPELINE_NAME,
    EngineSettings,
    LimitSettings,
    LocalSettings,
    MediaSettings,
    PhiAgreement,
    PipelineSettings,
    ProviderSettings,
    Section,
    SecuritySettings,
    StorageSettings,
    WebhookSettings,
    WorkerSettings,
    is_loopback,
)
from calotype.settings.usual import BESIDE, USUAL_VARIABLES

__all__ = [
    "BESIDE",
    "PIPELINE_NAME",
    "USUAL_VARIABLES",
    "EngineSettings",
    "LimitSettings",
    "LocalSettings",
    "MediaSettings",
    "PhiAgreement",
    "PipelineSettings",
    "ProviderSettings",
    "Section",
    "SecuritySettings",
    "Settings",
    "StorageSettings",
    "WebhookSettings",
    "WorkerSettings",
    "is_loopback",
    "secret_variable",
    "settings_from",
    "unknown_variables",
]
