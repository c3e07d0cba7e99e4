"""What systemd is told: ready, stopping, a status line, and a heartbeat where it asks for one.

The protocol is one datagram per message to the socket in NOTIFY_SOCKET (sd_notify(3)); without that
variable nothing is sent. A lost message is never an error of ours.
"""

from __future__ import annotations

import asyncio
import os
import socket
from collections.abc import Mapping


def notify(*lines: str, environ: Mapping[str, str] | None = None) -> bool:
    """Send `lines` such as "READY=1" to the service manager; False where there is none."""
    place = (os.environ if environ is None else environ).get("NOTIFY_SOCKET", "")
    if place[:1] not in ("/", "@"):
        return False
    address = "\0" + place[1:] if place.startswith("@") else place  # @ stands for an abstract socket
    try:
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sender:
            sender.settimeout(1.0)  # a manager with a full queue must not hold the event loop
            sender.sendto("\n".join(lines).encode(), address)
    except OSError:
        return False
    return True


def heartbeat_interval(environ: Mapping[str, str] | None = None) -> float | None:
    """Seconds between heartbeats, half of what the manager waits for; None where it waits for none."""
    values = os.environ if environ is None else environ
    limit, process = values.get("WATCHDOG_USEC", ""), values.get("WATCHDOG_PID", "")
    if not limit.isdecimal() or int(limit) == 0 or (process and process != str(os.getpid())):
        return None
    return int(limit) / 2_000_000


async def heartbeat(interval: float) -> None:
    """Say that the event loop turns, until cancelled: a loop that is stuck says nothing and is restarted."""
    while True:
        notify("WATCHDOG=1")
        await asyncio.sleep(interval)
