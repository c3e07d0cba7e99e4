"""Becomes a Postgres program: a script that runs in the new process and ends by replacing itself.

A script and not a `preexec_fn`, since Python code between fork and exec can deadlock where there are
threads. The order matters: the kernel forgets the death signal when the user changes, and the parent may
have died before it was set. Called by `spawn`, standard library only:
`child.py PARENT UID GID DIRECTORY PROGRAM [ARGUMENT ...]`, with UID -1 to stay who we are.
"""

from __future__ import annotations

import ctypes
import os
import signal
import sys

NO_DIRECTORY, NO_PROGRAM = 120, 121
_PR_SET_PDEATHSIG = 1


def become(parent: int, uid: int, gid: int, directory: str, command: list[str]) -> int:
    """Drop privileges, tie this process's life to its parent's and exec; returns only when that failed."""
    if uid != -1:
        os.setgroups([])
        os.setgid(gid)
        os.setuid(uid)
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_PDEATHSIG, signal.SIGINT)
    if os.getppid() != parent:
        return 1
    os.umask(0o077)
    failure = NO_DIRECTORY
    try:
        os.chdir(directory)
        failure = NO_PROGRAM
        os.execv(command[0], command)  # noqa: S606  # no shell is wanted
    except OSError as error:
        sys.stderr.write(str(error))
    return failure


if __name__ == "__main__":
    sys.exit(become(int(sys.argv[1]), int(sys.argv[2]), int(sys.argv[3]), sys.argv[4], sys.argv[5:]))
