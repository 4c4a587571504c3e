"""QEMU's TCG, a thread of the host for each CPU: the CPUs really run at the same time, and every run is another one.

It has neither x2APIC nor PCIDs. Ticks are the host's time. An interrupt arrives between blocks of instructions that
were translated together; with `any_instruction` between any two, which makes it about five times slower.
"""

import os
import shutil

from bochs_runner import boot_image

NAME = "QEMU"
LOG = "output.log"

# As many as the kernel serves.
MAX_CPUS = 16
WHY_MAX_CPUS = "the most CPUs that the test kernel serves"

DEFAULT_MODEL = "max"

# The port that Bochs has for this: a byte V ends QEMU with status 2 V + 1. The kernel writes 'D' or "Shutdown".
_EXIT_PORT = "isa-debug-exit,iobase=0x8900,iosize=1"
_MEANINGS = {
    2 * ord("D") + 1: (0, ""),
    2 * ord("S") + 1: (1, ""),
    # With -no-reboot a reset ends QEMU as if all were well.
    0: (1, "the machine was reset: a triple fault, or a kernel that ended by no exit port"),
}


def default_cpus():
    """No more than there are cores: the CPUs that wait for each other would wait for the host's scheduler."""
    return max(1, min(4, len(os.sched_getaffinity(0))))


def missing(machine):
    """What the run needs and is not there."""
    return [] if shutil.which(machine.qemu) else [f"{machine.qemu} (Debian package qemu-system-x86)"]


def prepare(machine, folder):
    """A kernel alone is booted as it is, without a boot loader."""
    with open(machine.image, "rb") as file:
        image = file.read()
    if boot_image.is_kernel(image):
        name, image = "kernel.elf", boot_image.as_elf32(image)
    else:
        name, image = "kernel.iso", boot_image.with_options(machine)
    with open(os.path.join(folder, name), "wb") as file:
        file.write(image)


def command(machine, folder, console):
    """The command that boots what `prepare` has left, with the serial port at `console`."""
    kernel = os.path.join(folder, "kernel.elf")
    boot = ["-kernel", kernel, "-append", " ".join(machine.options)]
    if not os.path.exists(kernel):
        boot = ["-cdrom", os.path.join(folder, "kernel.iso")]
    return [machine.qemu, "-nodefaults", "-display", "none", "-no-reboot", "-serial", f"file:{console}",
            "-device", _EXIT_PORT, "-m", "64", "-accel", "tcg,thread=multi", "-smp", str(machine.cpus),
            "-cpu", machine.model or DEFAULT_MODEL, *(["-singlestep"] if machine.any_instruction else []), *boot]


def meaning(exit_status):
    """The status as Bochs would have ended, and what is to be added."""
    return _MEANINGS.get(exit_status, (exit_status, ""))
