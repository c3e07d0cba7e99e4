"""One record of settings, from flags, then `ARCHON_*` variables, then defaults.

The fields of `Settings` are the single source: flag, variable, help text, default and the sentence that
an error quotes are all read from them (`options()`). The command line hands in what was typed, as text;
nothing else in the package reads an option from the environment. An empty variable counts as not set.
"""

from .loading import FALLBACK_VARIABLES, Setting, load, options, redact
from .record import Settings
from .values import SettingsError, seconds

__all__ = [
    "FALLBACK_VARIABLES",
    "Setting",
    "Settings",
    "SettingsError",
    "load",
    "options",
    "redact",
    "seconds",
]
