"""The provider twin: it answers, validates, throttles, signs and fails like the real providers; docs/sandbox.md."""

from callboard_adapters.sandbox.app import Sandbox, create_sandbox
from callboard_adapters.sandbox.config import (
    CallbackConfig,
    MittoConfig,
    NumberConfig,
    SandboxConfig,
    TemplateConfig,
    WhatsAppConfig,
)

__all__ = [
    "CallbackConfig",
    "MittoConfig",
    "NumberConfig",
    "Sandbox",
    "SandboxConfig",
    "TemplateConfig",
    "WhatsAppConfig",
    "create_sandbox",
]
