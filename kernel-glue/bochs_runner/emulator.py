"""Runs an emulator on the boot image and collects what it leaves behind: the process and its console.

What is peculiar to one emulator is in a module of its own, in_bochs.py or in_qemu.py.
"""

import dataclasses
import os
import select
import signal
import subprocess
import time
import tty

DEFAULT_BOCHS = "bochs-bin"
DEFAULT_QEMU = "qemu-system-x86_64"


class SetupError(Exception):
    """Something that a run needs is missing; the message says what and how to get it."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What to emulate and what to boot."""
    cpus: int
    image: str
    options: tuple = ()
    # None: the emulator's default.
    model: object = None
    emulator: str = "bochs"
    # In QEMU, too, interrupts come between any two instructions.
    any_instruction: bool = False
    bochs: str = DEFAULT_BOCHS
    qemu: str = DEFAULT_QEMU


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended. exit_status is that of Bochs, 0 for a good end and 1 for a bad one, with QEMU as well.

    It is None if the run came to its time limit. remark: what the status alone does not say, or nothing.
    """
    console: str
    exit_status: object
    seconds: float
    remark: str = ""


def module_of(name):
    """The module of an emulator."""
    # Here, because both modules take SetupError from this one.
    from bochs_runner import in_bochs, in_qemu  # pylint: disable=import-outside-toplevel
    return {"bochs": in_bochs, "qemu": in_qemu}[name]


EMULATORS = ("bochs", "qemu")


def check_tools(machine):
    """Raises SetupError if something is missing."""
    missing = module_of(machine.emulator).missing(machine)
    if missing:
        raise SetupError("missing: " + ", ".join(missing) + "; tools/setup installs it")
    if not os.path.exists(machine.image):
        raise SetupError(f"no boot image at {machine.image}: build it with "
                         "'bazel build //kernel-glue/kernel:image', or run this tool with "
                         "'bazel run //kernel-glue:boot'")


def prepare(machine, folder):
    """Writes what the emulator boots, with the kernel's options, to `folder`."""
    module_of(machine.emulator).prepare(machine, folder)


def run(machine, folder, timeout, show):
    """Boots the machine in `folder`, which `prepare` has filled, for at most `timeout` seconds.

    show(text) is called with each piece of console output as it arrives; all of it is also left in
    serial.log. When this function has ended, by an exception or not, the emulator has ended as well.
    """
    # The serial port is a pseudo terminal: to a file Bochs writes with a buffer, and what is in it
    # when a hang is killed would be lost.
    console, port = os.openpty()
    tty.setraw(port)
    os.set_blocking(console, False)
    process = None
    begin = time.monotonic()
    try:
        with open(os.path.join(folder, "serial.log"), "wb") as log:
            process = _start(machine, folder, os.ttyname(port))
            exit_status, text = _follow(process, console, log, begin + timeout, show)
    finally:
        if process is not None:
            _end(process)
        os.close(port)
        os.close(console)
    status, remark = module_of(machine.emulator).meaning(exit_status)
    return Outcome(console=text, exit_status=status, seconds=time.monotonic() - begin, remark=remark)


def _start(machine, folder, port):
    command = module_of(machine.emulator).command(machine, folder, port)
    with open(os.path.join(folder, "output.log"), "wb") as output:
        # A session of its own: an interrupt key reaches this process, which then ends the emulator.
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, start_new_session=True,
                                env={**os.environ, "TERM": "xterm", "TMPDIR": folder})


def _follow(process, console, log, deadline, show):
    """Copies the console to `log` and `show` until the process ends or the deadline passes."""
    text = ""
    while True:
        # In this order: what was written before the end is read after it.
        exit_status = process.poll()
        select.select([console], [], [], 0 if exit_status is not None else 0.05)
        piece = _read(console)
        log.write(piece)
        log.flush()
        text += piece.decode("ascii", errors="replace")
        if piece:
            show(piece.decode("ascii", errors="replace"))
        elif exit_status is not None:
            return exit_status, text
        if time.monotonic() > deadline:
            return None, text


def _read(console):
    try:
        return os.read(console, 65536)
    except BlockingIOError:
        return b""


def _end(process):
    """Ends the process and all that it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(timeout=0.5)
        except subprocess.TimeoutExpired:
            pass
