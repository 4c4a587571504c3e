"""Runs the packaged Bochs on a copy of the boot image and collects what it leaves behind."""

import dataclasses
import os
import select
import shutil
import signal
import subprocess
import time
import tty

# The debugger build of Bochs 2.7 has timers for this many CPUs beside the usual devices.
MAX_CPUS = 15

DEFAULT_MODEL = "corei7_haswell_4770"
DEFAULT_BOCHS = "bochs-bin"

# What a run needs besides the emulator itself, and the Debian package it comes in.
_FILES = {
    "/usr/share/bochs/BIOS-bochs-latest": "bochsbios",
    "/usr/share/vgabios/vgabios.bin": "vgabios",
    "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so": "bochs-term",
}

# The blanks that grub.cfg in the image reserves for the kernel's options.
_OPTIONS_BEGIN = b'set options="'
_OPTIONS_BYTES = 120

# ips is the lowest value: it only sets how many instructions the firmware's waits take. Ticks that
# the kernel measures do not depend on it.
_CONFIGURATION = """\
config_interface: textconfig
display_library: term
romimage: file=/usr/share/bochs/BIOS-bochs-latest
vgaromimage: file=/usr/share/vgabios/vgabios.bin
cpu: model={model}, count={cpus}, ips=1000000, reset_on_triple_fault=0
megs: 64
boot: cdrom
ata0: enabled=1, ioaddr1=0x1f0, ioaddr2=0x3f0, irq=14
ata0-master: type=cdrom, path=kernel.iso, status=inserted
com1: enabled=1, mode=term, dev={console}
clock: sync=none, time0=946684800
panic: action=fatal
error: action=report
info: action=ignore
debug: action=ignore
log: bochs.log
speaker: enabled=0, mode=none
sound: waveoutdrv=dummy
plugin_ctrl: speaker=0, sb16=0, es1370=0, e1000=0, ne2k=0, gameport=0, voodoo=0, usb_uhci=0, parallel=0
"""

# Debian's Bochs is the debugger build: it wants to be told to go, and the kernel's good end breaks
# into the debugger again, which then quits with status 0.
_DEBUGGER_COMMANDS = "c\nq\n"


class SetupError(Exception):
    """Something that a run needs is missing; the message says what and how to get it."""


@dataclasses.dataclass(frozen=True)
class Machine:
    """What to emulate and what to boot."""
    cpus: int
    image: str
    options: tuple = ()
    model: str = DEFAULT_MODEL
    bochs: str = DEFAULT_BOCHS


@dataclasses.dataclass(frozen=True)
class Outcome:
    """How a run ended. exit_status is None if it ran into its time limit."""
    console: str
    exit_status: object
    seconds: float


def models(bochs):
    """The names of the CPUs that an emulator knows; empty if it cannot be asked."""
    try:
        run = subprocess.run([bochs, "--help", "cpu"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    _, _, listed = run.stdout.decode(errors="replace").partition("Supported CPU models:\n")
    return listed.strip().partition("\n\n")[0].split()


def check_tools(machine):
    """Raises SetupError if something is missing."""
    missing = []
    if shutil.which(machine.bochs) is None:
        missing.append(f"{machine.bochs} (Debian package bochs)")
    missing += [f"{path} (Debian package {package})"
                for path, package in _FILES.items() if not os.path.exists(path)]
    if missing:
        raise SetupError("missing: " + ", ".join(missing) + "; tools/setup installs it")
    if not os.path.exists(machine.image):
        raise SetupError(f"no boot image at {machine.image}: build it with "
                         "'bazel build //kernel-glue/kernel:image', or run this tool with "
                         "'bazel run //kernel-glue:bochs'")


def prepare(machine, folder):
    """Writes the boot image, with the kernel's options in it, to `folder`."""
    with open(machine.image, "rb") as file:
        image = bytearray(file.read())
    blanks = _OPTIONS_BEGIN + b" " * _OPTIONS_BYTES
    if image.count(blanks) != 1:
        raise SetupError(f"{machine.image} has no place for the kernel's options; is it the image of "
                         "//kernel-glue/kernel:image?")
    options = " ".join(machine.options).encode()
    if len(options) > _OPTIONS_BYTES:
        raise SetupError(f"the kernel's options are longer than {_OPTIONS_BYTES} characters")
    start = image.index(blanks) + len(_OPTIONS_BEGIN)
    image[start:start + len(options)] = options
    with open(os.path.join(folder, "kernel.iso"), "wb") as file:
        file.write(image)


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
    return Outcome(console=text, exit_status=exit_status, seconds=time.monotonic() - begin)


def _start(machine, folder, port):
    configuration = _CONFIGURATION.format(cpus=machine.cpus, model=machine.model, console=port)
    for name, content in {"bochsrc": configuration, "debugger": _DEBUGGER_COMMANDS}.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(content)
    command = [machine.bochs, "-q", "-f", "bochsrc", "-rc", "debugger"]
    with open(os.path.join(folder, "output.log"), "wb") as output:
        # A session of its own: an interrupt key reaches this process, which then ends the emulator.
        return subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                                stderr=subprocess.STDOUT, start_new_session=True,
                                env={**os.environ, "TERM": "xterm"})


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
