"""The command line of //kernel-glue:boot, which is also called //kernel-glue:bochs."""

import argparse
import os
import shutil
import signal
import sys
import tempfile

from bochs_runner import bench_table
from bochs_runner import emulator
from bochs_runner import in_bochs
from bochs_runner import in_qemu
from bochs_runner import scenario
from bochs_runner import verdict

PASS, FAIL, NO_RUN, INTERRUPTED = 0, 1, 2, 130

_NAME = "boot"
_TAIL_LINES = 20

_MOST_CPUS = 16
_DEATHS = ["stack-overflow", "wrong-gs", "fatal-report"]

_EPILOG = """\
exit status: 0 all tests passed, 1 a test or the boot failed or the time was over, 2 wrong usage, or
something is missing that a run needs, 130 interrupted.
"""


def _built(name):
    """A file beside this tool: in Bazel's runfiles, or in the source tree's bazel-bin."""
    glue = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
    built = os.path.join(os.path.dirname(glue), "bazel-bin", "kernel-glue", "kernel", name)
    beside = os.path.join(glue, "kernel", name)
    return built if os.path.exists(built) and not os.path.exists(beside) else beside


def default_image(emulator_name="bochs"):
    """Bochs needs a boot loader; QEMU is one."""
    return _built("kernel" if emulator_name == "qemu" else "kernel.iso")


def _cpu_count(text):
    cpus = int(text) if text.isdecimal() else 0
    if not 1 <= cpus <= _MOST_CPUS:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to {_MOST_CPUS}")
    return cpus


def _strides(text):
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1000000")
    return int(text)


def _seed(text):
    if not text.isdecimal() or int(text) > 1_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 0 to 1000000")
    return int(text)


def _steps(text):
    if not text.isdecimal() or not 1 <= int(text) <= 10_000_000:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 to 10000000")
    return int(text)


def _count(text):
    if not text.isdecimal() or int(text) == 0:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number from 1 on")
    return int(text)


def _race_seconds(text):
    """The kernel's watchdog lets a race have a minute."""
    seconds = _seconds(text)
    if not 0.001 <= seconds <= 60:
        raise argparse.ArgumentTypeError(f"'{text}' is not a number of seconds from 0.001 to 60")
    return seconds


def _seconds(text):
    try:
        seconds = float(text)
    except ValueError:
        seconds = 0
    if not 0 < seconds < float("inf"):
        raise argparse.ArgumentTypeError(f"'{text}' is not a positive number of seconds")
    return seconds


def _user_path(text):
    # "bazel run" starts the tool in its runfiles, not where the user is.
    return os.path.join(os.environ.get("BUILD_WORKING_DIRECTORY", os.getcwd()), text)


class _Parser(argparse.ArgumentParser):
    def error(self, message):
        self.exit(NO_RUN, f"{_NAME}: {message}; --help tells more\n")


def parse_arguments(arguments):
    parser = _Parser(
        prog=_NAME, epilog=_EPILOG, formatter_class=argparse.RawDescriptionHelpFormatter,
        description="Boots the test kernel in a packaged emulator and judges its self-tests.")
    parser.add_argument("--emulator", choices=emulator.EMULATORS, default="bochs",
                        help="bochs, the default, repeats itself exactly; in qemu the CPUs really run at the same time")
    parser.add_argument("--cpus", type=_cpu_count, metavar="N",
                        help="CPUs to emulate, 1 to 15 in Bochs and 16 in QEMU (default: 4, in QEMU no more than "
                        "this machine has)")
    parser.add_argument("--bench", action="store_true",
                        help="measure range flushes instead of running the self-tests")
    parser.add_argument("--serial-flush", action="store_true",
                        help="flush locally first, then the other CPUs, not both at the same time")
    parser.add_argument("--races", type=_race_seconds, metavar="S",
                        help="races between CPUs, each for S seconds, instead of the self-tests; in Bochs a second is "
                        "a million instructions")
    parser.add_argument("--scenario", type=_user_path, metavar="FILE",
                        help="the operations of a scenario of the fuzzers, with its CPUs and configuration, instead of "
                        "the self-tests")
    parser.add_argument("--stress", type=_steps, metavar="N",
                        help="the memory manager under load alone, N steps of all CPUs together")
    parser.add_argument("--test", metavar="TITLE", help="this test alone; underscores may stand for spaces")
    parser.add_argument("--list", action="store_true", help="print the titles of the tests, of the races with --races")
    parser.add_argument("--seed", type=_seed, default=1, metavar="N",
                        help="with --races and --stress: what the CPUs do (default: 1); run R of --repeat takes N + R")
    parser.add_argument("--repeat", type=_count, default=1, metavar="N", help="runs, one after the other (default: 1)")
    parser.add_argument("--until-failure", action="store_true", help="with --repeat: no run after one that fails")
    parser.add_argument("--break", choices=["no-ipi", "no-kernel-flush", "wrong-key", "early-wake", *_DEATHS],
                        dest="broken",
                        help="disable the remote shootdown of user or kernel pages, boot with a wrong static key, or "
                        "wake CPUs before their job is stored: the tests must fail; or die in a way that the kernel "
                        "must name")
    _add_core_options(parser.add_argument_group(
        "the flush core's configuration", "the first choice is the default"))
    parser.add_argument("--model", help="the emulator's name of the CPU model (default: "
                        f"{in_bochs.DEFAULT_MODEL}, {in_qemu.DEFAULT_MODEL} in QEMU)")
    parser.add_argument("--timeout", type=_seconds, metavar="S",
                        help="seconds after which the run has failed (default: 120, 600 in QEMU)")
    parser.add_argument("--keep", type=_user_path, metavar="DIR",
                        help="leave image, configuration and logs in DIR")
    parser.add_argument("--image", type=_user_path, help=argparse.SUPPRESS)
    parser.add_argument("--bochs", default=emulator.DEFAULT_BOCHS, help=argparse.SUPPRESS)
    parser.add_argument("--qemu", default=emulator.DEFAULT_QEMU, help=argparse.SUPPRESS)
    parsed = parser.parse_args(arguments)
    for problem in _contradictions(parsed):
        parser.exit(NO_RUN, f"{_NAME}: {problem}\n")
    try:
        return _with_defaults(_with_scenario(parsed))
    except (emulator.SetupError, OSError) as error:
        return parser.exit(NO_RUN, f"{_NAME}: {_reason(error, parsed.scenario)}\n")


def _with_scenario(parsed):
    """A scenario says how the machine is configured."""
    parsed.operations = None
    if parsed.scenario:
        found = scenario.read(parsed.scenario)
        parsed.operations, parsed.told = found.encoded(), found.told
        # A run of one CPU would leave out what CPUs do to each other; more than named ones do no harm.
        parsed.cpus = parsed.cpus or found.cpus
        parsed.ceiling = found.ceiling
        for name, choice in found.options.items():
            setattr(parsed, name, choice)
    return parsed


def _with_defaults(parsed):
    """What depends on the emulator."""
    module = emulator.module_of(parsed.emulator)
    parsed.cpus = parsed.cpus or module.default_cpus()
    # On a busy host CPUs that wait for each other wait for the host's scheduler, too.
    parsed.timeout = parsed.timeout or (600 if parsed.emulator == "qemu" else 120)
    parsed.image = parsed.image or default_image(parsed.emulator)
    return parsed


def _contradictions(parsed):
    """What is asked for and cannot be, one sentence each."""
    if parsed.defer == "on" and parsed.pti != "on":
        yield "--defer on defers what page-table isolation needs: add --pti on, or leave it out."
    if parsed.bench and parsed.broken:
        yield (f"--break {parsed.broken} makes self-tests fail, and --bench runs none: leave one of them "
               "out.")
    instead = [name for name in ("bench", "races", "stress", "scenario") if getattr(parsed, name)]
    if len(instead) > 1:
        yield (f"--{instead[0]} and --{instead[1]} are two things to do instead of the self-tests: leave one of "
               "them out.")
    module = emulator.module_of(parsed.emulator)
    if parsed.cpus is not None and parsed.cpus > module.MAX_CPUS:
        yield f"--cpus {parsed.cpus}: a number from 1 to {module.MAX_CPUS} is needed, {module.WHY_MAX_CPUS}."
    if parsed.emulator == "qemu":
        if parsed.bench:
            yield "--bench counts instructions, which QEMU does not: leave --emulator qemu out."
        return
    known = [] if parsed.model in (None, in_bochs.DEFAULT_MODEL) else in_bochs.models(parsed.bochs)
    if known and parsed.model not in known:
        yield f"--model {parsed.model}: Bochs has no such CPU. It has {', '.join(known)}."


# Options of the core with two choices: name, the default, the other one, what it is about.
_CORE_CHOICES = [
    ("pti", "off", "on", "page-table isolation"),
    ("defer", "off", "on", "with page-table isolation: user pages are invalidated on the way to user mode"),
    ("early", "off", "on", "acknowledgement before the flush where nothing is released"),
    ("masks", "exact", "kept", "a space's CPU mask: cleared at switches, or kept until a flush notices"),
    ("lazy", "queued", "up-front", "when laziness is tested"),
    ("targets", "not-lazy", "loaded", "which members of the mask are interrupted"),
]


def _add_core_options(group):
    for name, default, other, about in _CORE_CHOICES:
        group.add_argument(f"--{name}", choices=[default, other], default=default, help=about)
    group.add_argument("--ceiling", type=_strides, default=33, metavar="N",
                       help="more strides than this become a full flush (default: 33)")


def kernel_options(arguments):
    """The words of the kernel's command line."""
    options = []
    if arguments.bench:
        options.append("bench")
    if arguments.races:
        options.append(f"races={round(arguments.races * 1000)}")
    if arguments.operations is not None:
        options.append(f"scenario={arguments.operations}")
    if arguments.stress:
        options.append(f"stress={arguments.stress}")
    if arguments.races or arguments.stress:
        options.append(f"seed={arguments.seed}")
    if arguments.test:
        options.append("test=" + arguments.test.replace(" ", "_"))
    if arguments.list:
        options.append("list")
    if arguments.serial_flush:
        options.append("serial-flush")
    if arguments.broken:
        options.append(f"break={arguments.broken}")
    options += [f"{name}={other}" for name, _, other, _ in _CORE_CHOICES if getattr(arguments, name) == other]
    if arguments.ceiling != 33:
        options.append(f"ceiling={arguments.ceiling}")
    return tuple(options)


def expected_configuration(arguments):
    """What the kernel must say that it runs with."""
    return {"cpus": str(arguments.cpus),
            "flush": "serial" if arguments.serial_flush else "concurrent",
            "break": arguments.broken or "none",
            "ceiling": str(arguments.ceiling),
            **({"races": str(round(arguments.races * 1000))} if arguments.races else {}),
            **({"stress": str(arguments.stress)} if arguments.stress else {}),
            **({"seed": str(arguments.seed)} if arguments.races or arguments.stress else {}),
            **{name: getattr(arguments, name) for name, *_ in _CORE_CHOICES}}


def _reason(error, folder):
    """What the system says, and about what: a full disk is told without a name."""
    if isinstance(error, emulator.SetupError):
        return str(error)
    return f"{error.filename or folder}: {error.strerror}. Make room, or name another folder with --keep."


def _print_tail(title, path):
    try:
        with open(path, encoding="ascii", errors="replace") as file:
            lines = file.read().splitlines()[-_TAIL_LINES:]
    except OSError:
        lines = []
    print(f"--- the end of {title} ---")
    print("\n".join(lines) if lines else "(empty)")


def _judge(arguments, outcome, folder):
    """Prints the verdict and what led to it; returns the exit status."""
    if arguments.list:
        return PASS if "# test: " in outcome.console and outcome.exit_status == 0 else FAIL
    console = verdict.parse(outcome.console)
    problems = verdict.problems(console, expected_configuration(arguments), outcome.exit_status,
                                arguments.timeout)
    problems += [outcome.remark] if outcome.remark else []
    if arguments.bench:
        problems += [f"not measured: {title}" for title in bench_table.missing(outcome.console)]
        if bench_table.parse(outcome.console):
            print("\n" + bench_table.render(outcome.console, arguments.pti == "on"))
    if not problems:
        passed, _, skipped = console.totals[0]
        print(f"PASS: {passed} passed, {skipped} skipped, {arguments.cpus} CPUs, {outcome.seconds:.1f} s")
        return PASS
    _print_tail("the console", os.path.join(folder, "serial.log"))
    module = emulator.module_of(arguments.emulator)
    log = module.LOG if os.path.exists(os.path.join(folder, module.LOG)) else "output.log"
    _print_tail(f"{module.NAME}'{'' if module.NAME.endswith('s') else 's'} log", os.path.join(folder, log))
    print(f"FAIL after {outcome.seconds:.1f} s:")
    for problem in problems:
        print(f"  {problem}")
    return FAIL


def _show(piece):
    sys.stdout.write(piece)
    sys.stdout.flush()


def _boot(arguments, folder):
    machine = emulator.Machine(cpus=arguments.cpus, image=arguments.image, model=arguments.model,
                               options=kernel_options(arguments), emulator=arguments.emulator,
                               any_instruction=arguments.races is not None,
                               bochs=arguments.bochs, qemu=arguments.qemu)
    for line in arguments.told if arguments.scenario else []:
        print(f"# {line}")
    try:
        emulator.check_tools(machine)
        emulator.prepare(machine, folder)
        outcome = emulator.run(machine, folder, arguments.timeout, _show)
    except (emulator.SetupError, OSError) as error:
        print(f"{_NAME}: {_reason(error, folder)}", file=sys.stderr)
        return NO_RUN
    status = _judge(arguments, outcome, folder)
    sys.stdout.flush()
    return status


def _boot_often(arguments, folder):
    """Several runs, each with a seed of its own. The worst status is that of all."""
    worst = PASS
    for run in range(arguments.repeat):
        this = argparse.Namespace(**{**vars(arguments), "seed": arguments.seed + run})
        if arguments.repeat > 1:
            seed = f", seed {this.seed}" if this.races or this.stress else ""
            print(f"--- run {run + 1} of {arguments.repeat}{seed}", flush=True)
        worst = max(worst, _boot(this, folder))
        if worst == NO_RUN or (worst != PASS and arguments.until_failure):
            break
    return worst


def _raise_interrupt(_number, _frame):
    raise KeyboardInterrupt


def main(arguments):
    """Returns the exit status."""
    parsed = parse_arguments(arguments)
    # A signal that ends this tool politely ends the emulator with it.
    signal.signal(signal.SIGTERM, _raise_interrupt)
    folder = parsed.keep or tempfile.mkdtemp(prefix="shootdown-boot.")
    try:
        os.makedirs(folder, exist_ok=True)
        return _boot_often(parsed, folder)
    except OSError as error:
        print(f"{_NAME}: {_reason(error, folder)}", file=sys.stderr)
        return NO_RUN
    except KeyboardInterrupt:
        print(f"{_NAME}: interrupted; the emulator has been ended", file=sys.stderr)
        return INTERRUPTED
    finally:
        if not parsed.keep:
            shutil.rmtree(folder, ignore_errors=True)
