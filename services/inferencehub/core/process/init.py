"""The first process of a container: it starts the service as its only child, and reaps orphans.

A process whose parent has died becomes a child of process 1. Process 1 must wait for it, or its entry in the process
table stays for ever. A Python model that runs `sh -c 'program & exit'` makes one orphan in each call. The service itself
cannot wait for "any child": that would steal the exit codes of the processes that it has started. So process 1 is a
parent of the service that does nothing else, as `tini` is. It passes signals on, and ends as the service ends.

Where something else is process 1 already (`docker run --init`, a pod with one process namespace, a laptop), it does
nothing.
"""

from __future__ import annotations

import os
import signal

# What a fault in this process itself causes, and what nobody can block.
OWN = {
    signal.SIGABRT,
    signal.SIGBUS,
    signal.SIGFPE,
    signal.SIGILL,
    signal.SIGSEGV,
    signal.SIGSYS,
    signal.SIGTRAP,
    signal.SIGKILL,
    signal.SIGSTOP,
}


def leave_process_1() -> None:
    """Return in a child process if this is process 1; process 1 reaps until the child ends. Otherwise do nothing.

    Call it before any thread or event loop exists.
    """
    if os.getpid() == 1:
        fork_below_init()


def fork_below_init() -> None:
    """Return in a child process. This process passes signals on to it, reaps all its children, and exits as it exits.

    The exit code is that of the child, or 128 and the number of the signal that killed it.
    """
    waited = set(signal.valid_signals()) - OWN
    # Blocked signals wait in the kernel until `sigwait` takes them, so none is lost, not even by process 1, for which
    # the kernel drops signals without a handler.
    before = signal.pthread_sigmask(signal.SIG_BLOCK, waited)
    child = os.fork()
    if child == 0:
        os.setsid()  # a Ctrl-C at the terminal reaches only the parent, which passes it on once
        signal.pthread_sigmask(signal.SIG_SETMASK, before)
        return
    while True:
        number = signal.sigwait(waited)
        if number != signal.SIGCHLD:
            os.kill(child, number)  # it exists until it has been waited for
            continue
        while (reaped := os.waitpid(-1, os.WNOHANG))[0]:
            if reaped[0] == child:
                code = os.waitstatus_to_exitcode(reaped[1])
                os._exit(code if code >= 0 else 128 - code)
