"""Ports with a mistake in them: each is told, by the library or by the conformance tests.

Each case changes one line of the example kernel in C, makes it again, and boots it with its self-test.
"""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

from bochs_runner import emulator

ROOT = Path(os.environ["TEST_SRCDIR"]) / os.environ["TEST_WORKSPACE"]
CPUS = 3
LIMIT_SECONDS = 60

# Name: the file, what is in it, what a port might have in its place, and what is said of it.
CASES = {
    "nothing": ("hooks.c", "", "", "# totals: 7 passed, 0 failed, 1 skipped"),
    "no interrupt is sent": (
        "hooks.c", '__asm__ volatile("wrmsr"', '__asm__ volatile(""', "FATAL: a CPU is dead"),
    "one target is forgotten": (
        "hooks.c", "cpu < cpu_count &&", "cpu < cpu_count - 1 &&", "# CPU 2 does not answer(.|\n)*FATAL"),
    "the handler does not acknowledge the interrupt": (
        "cpu.c", "write_msr(X2APIC_EOI, 0);", "", "does not answer(.|\n)*FATAL"),
    "the handler does not call the library": (
        "cpu.c", "  sd_handle_interrupt(&machine);\n", "", "does not answer(.|\n)*FATAL"),
    "the handler runs with interrupts on": (
        "cpu.c", "0x8e00", "0x8f00", "FATAL: pending calls run with interrupts off"),
    "the other CPUs run with interrupts off": (
        "cpu.c", '__asm__ volatile("sti");', 'if (number == 0) __asm__ volatile("sti");',
        "not ok 1 cpu numbers # a CPU runs threads with interrupts off"),
    "all CPUs have one number": (
        "hooks.c", "return this_cpu();", "return 0;", "FATAL: a CPU is brought up that has not gone offline"),
    "a number is out of range": (
        "hooks.c", "return this_cpu();", "return this_cpu() + 7;", "FATAL: sd_hook_this_cpu.. is out of range"),
    "threads count as handlers": (
        "hooks.c", "return depth != 0;", "return 1;", "FATAL: a flush cannot start in an interrupt handler"),
    "preemption is turned off by interrupts": (
        "hooks.c", "void sd_hook_preempt_disable(void) {}", 'void sd_hook_preempt_disable(void) { __asm__("cli"); }',
        "preemption turns interrupts off, and they stay off"),
    "CR4 of the other CPUs is not set": (
        "cpu.c", "if (config.pcid) cr4 |=", "if (config.pcid && this_cpu() == 0) cr4 |=",
        "FATAL: CR4.PCIDE is not what the configuration says"),
}


class BrokenPortsTest(unittest.TestCase):

    def make(self, folder, file, old, new):
        here = folder / "kernel_c"
        here.mkdir()
        for path in (ROOT / "examples/kernel_c").iterdir():
            if path.suffix in (".c", ".h", ".ld") or path.name == "Makefile":
                shutil.copy2(path, here / path.name)
        parts = folder / "parts"
        parts.mkdir()
        library = parts / "shootdown.o"
        shutil.copy(ROOT / "examples/kernel_c/shootdown.o", library)
        text = (here / file).read_text()
        self.assertTrue(old == "" or text.count(old) == 1, f"{file} has no longer one '{old}'")
        (here / file).write_text(text.replace(old, new) if old else text)
        run = subprocess.run(["make", "--silent", "-f", here / "Makefile", "ROOT=.", f"HERE={here}", f"OUT={parts}",
                              "-o", library],
                             cwd=ROOT, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, check=False)
        self.assertEqual(run.returncode, 0, run.stdout)
        image = folder / "kernel.iso"
        subprocess.run([ROOT / "kernel-glue/kernel/make_image.sh", ROOT / "kernel-glue/kernel/grub.cfg",
                        parts / "kernel.elf", image], check=True)
        return image

    def boot(self, image, folder):
        machine = emulator.Machine(cpus=CPUS, image=str(image), options=(f"cpus={CPUS}", "selftest"))
        emulator.check_tools(machine)
        emulator.prepare(machine, folder)
        return emulator.run(machine, folder, LIMIT_SECONDS, lambda text: None)

    def test_each_is_told(self):
        for name, (file, old, new, told) in CASES.items():
            with self.subTest(name), tempfile.TemporaryDirectory() as folder:
                image = self.make(Path(folder), file, old, new)
                boot = Path(folder) / "boot"
                boot.mkdir()
                outcome = self.boot(image, str(boot))
                print(f"{name}: {outcome.seconds:.1f} s\n{outcome.console}", file=sys.stderr)
                self.assertIsNotNone(outcome.exit_status, f"a hang, and not a word\n{outcome.console}")
                self.assertEqual(outcome.exit_status == 0, name == "nothing", outcome.console)
                self.assertTrue(re.search(told, outcome.console), outcome.console)


if __name__ == "__main__":
    unittest.main(verbosity=2)
