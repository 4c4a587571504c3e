"""Runs the packaged Bochs on a copy of the boot image and collects what it leaves behind."""

import dataclasses
import os
import shutil
import signal
import subprocess
import time

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
com1: enabled=1, mode=file, dev=serial.log
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
    """Writes everything the emulator reads to `folder`."""
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
    configuration = _CONFIGURATION.format(cpus=machine.cpus, model=machine.model)
    for name, content in {"bochsrc": configuration, "debugger": _DEBUGGER_COMMANDS, "serial.log": ""}.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(content)


def run(machine, folder, timeout, show):
    """Boots the machine in `folder`, which `prepare` has filled, for at most `timeout` seconds.

    show(text) is called with each piece of console output as it arrives. Whatever ends this
    function, an exception included, the emulator has ended as well.
    """
    command = [machine.bochs, "-q", "-f", "bochsrc", "-rc", "debugger"]
    begin = time.monotonic()
    with open(os.path.join(folder, "output.log"), "wb") as output:
        # A session of its own: an interrupt key reaches this process, which then ends the emulator.
        process = subprocess.Popen(command, cwd=folder, stdin=subprocess.DEVNULL, stdout=output,
                                   stderr=subprocess.STDOUT, start_new_session=True,
                                   env={**os.environ, "TERM": "xterm"})
    try:
        exit_status, console = _follow(process, os.path.join(folder, "serial.log"),
                                       begin + timeout, show)
    finally:
        _end(process)
    return Outcome(console=console, exit_status=exit_status, seconds=time.monotonic() - begin)


def _follow(process, serial_log, deadline, show):
    """Copies the console to `show` until the process ends or the deadline passes."""
    console = ""
    with open(serial_log, "rb") as serial:
        while True:
            # In this order: what was written before the end is read after it.
            exit_status = process.poll()
            piece = serial.read().decode("ascii", errors="replace")
            console += piece
            if piece:
                show(piece)
            if exit_status is not None:
                return exit_status, console
            if time.monotonic() > deadline:
                return None, console
            time.sleep(0.02)


def _end(process):
    """Ends the process and whatever it started."""
    for number in (signal.SIGTERM, signal.SIGKILL):
        if process.poll() is not None:
            return
        os.killpg(process.pid, number)
        try:
            process.wait(timeout=2)
        except subprocess.TimeoutExpired:
            pass
