"""Becomes a PostgreSQL program: run as a script between `postgres_process` and the program itself.

PostgreSQL refuses to run as root, and the kernel forgets "send me a signal when my parent dies" when a
process changes its user: so the user is changed first, the signal asked for second, and the program takes
this process's place last. The interpreter is loaded before the user changes; that user need not reach it.

Arguments: the parent's process id, then ``UID:GID`` or ``-`` (stay who you are), then the program with its
arguments. Standard library only; nothing of the package is imported.
"""

import ctypes
import os
import signal
import sys

PR_SET_PDEATHSIG = 1


def main(parent: str, account: str, *command: str) -> None:
    """Does not return: the program takes over, or the process ends because its parent is gone."""
    if account != "-":
        _become(*(int(number) for number in account.split(":")))
    # A shell that starts a job in the background makes it ignore SIGINT, and that would be inherited.
    signal.signal(signal.SIGINT, signal.SIG_DFL)
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGINT, 0, 0, 0)
    if os.getppid() != int(parent):
        return  # it died before it could be watched
    # Nothing of the caller's environment (PG…, LD_PRELOAD, TZ) shall change what the server does.
    os.execve(command[0], command, {"PATH": os.defpath, "LC_ALL": "C"})  # noqa: S606


def _become(uid: int, gid: int) -> None:
    os.setgroups([])
    os.setgid(gid)
    os.setuid(uid)


if __name__ == "__main__":
    main(*sys.argv[1:])
