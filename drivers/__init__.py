"""Talks to instruments: links carry bytes and registers, drivers turn them into roles."""

from drivers.catalog import CATALOG, DriverEntry, Probe, Setting
from drivers.errors import (
    AnswerError,
    ConfigError,
    DeviceError,
    IdentityError,
    InstrumentError,
    LinkError,
    SettingError,
)

__all__ = [
    "CATALOG",
    "AnswerError",
    "ConfigError",
    "DeviceError",
    "DriverEntry",
    "IdentityError",
    "InstrumentError",
    "LinkError",
    "Probe",
    "Setting",
    "SettingError",
]
