"""The packaged Bochs: one deterministic interleaving for each image, and every instruction counted."""

import os
import shutil
import subprocess

from bochs_runner import boot_image

NAME = "Bochs"
LOG = "bochs.log"

# The debugger build of Bochs 2.7 has timers for this many CPUs beside the usual devices.
MAX_CPUS = 15
WHY_MAX_CPUS = "the most CPUs that the packaged Bochs emulates"

DEFAULT_MODEL = "corei7_haswell_4770"

# What a run needs besides the emulator itself, and the Debian package it comes in.
_FILES = {
    "/usr/share/bochs/BIOS-bochs-latest": "bochsbios",
    "/usr/share/vgabios/vgabios.bin": "vgabios",
    "/usr/lib/x86_64-linux-gnu/bochs/plugins/libbx_term_gui.so": "bochs-term",
}

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


def default_cpus():
    return 4


def models(bochs):
    """The names of the CPUs that an emulator knows; empty if it cannot be asked."""
    try:
        run = subprocess.run([bochs, "--help", "cpu"], stdin=subprocess.DEVNULL, stdout=subprocess.PIPE,
                             stderr=subprocess.STDOUT, timeout=20, check=False)
    except (OSError, subprocess.TimeoutExpired):
        return []
    _, _, listed = run.stdout.decode(errors="replace").partition("Supported CPU models:\n")
    return listed.strip().partition("\n\n")[0].split()


def missing(machine):
    """What the run needs and is not there."""
    found = []
    if shutil.which(machine.bochs) is None:
        found.append(f"{machine.bochs} (Debian package bochs)")
    return found + [f"{path} (Debian package {package})"
                    for path, package in _FILES.items() if not os.path.exists(path)]


def prepare(machine, folder):
    with open(os.path.join(folder, "kernel.iso"), "wb") as file:
        file.write(boot_image.with_options(machine))


def command(machine, folder, console):
    """The command that boots what `prepare` has left, with the serial port at `console`."""
    configuration = _CONFIGURATION.format(cpus=machine.cpus, model=machine.model or DEFAULT_MODEL, console=console)
    for name, content in {"bochsrc": configuration, "debugger": _DEBUGGER_COMMANDS}.items():
        with open(os.path.join(folder, name), "w", encoding="ascii") as file:
            file.write(content)
    return [machine.bochs, "-q", "-f", "bochsrc", "-rc", "debugger"]


def meaning(exit_status):
    """The status as it is, and nothing to add."""
    return exit_status, ""
