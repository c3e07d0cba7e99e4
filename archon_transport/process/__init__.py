"""The process around the program: its socket, its signals and what it tells systemd.

Knows nothing of sessions or settings: `serve` takes whatever has a web application, a way to drain and
a way to close.
"""

from .listen import Listener, StartError
from .run import Program, Stopped, serve

__all__ = ["Listener", "Program", "StartError", "Stopped", "serve"]
