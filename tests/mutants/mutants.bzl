"""The tests of mutants. programs.bzl has the programs that they run."""

load(":programs.bzl", "named_binary", "named_programs")

def mutant_test(
        name,
        patch,
        search_executions,
        libfuzzer_runs,
        seeds,
        how = [],
        tags = []):
    """One mutant, its programs, and the tests that it is found.

    Programs, built only when asked for or needed by a test:
      NAME_libfuzzer, NAME_afl  the fuzz target
      NAME_search               the random search
      NAME_reproduce            the reproducer, which tells the mutant's crash files
      NAME_explore              the exhaustive explorer

    Tests: each looks for the mutant from each seed, with nothing to start from, and passes if an
    oracle that the patch names reports it within the budget every time.
      NAME_search_test          the random search
      NAME_libfuzzer_test       libFuzzer with ASan and UBSan

    Args:
      name: name of the mutant.
      patch: the patch file.
      search_executions: budget of the random search for each seed; 0 for no such test.
      libfuzzer_runs: budget of libFuzzer for each seed; 0 for no such test.
      seeds: random seeds, fixed so that the verdict is always the same.
      how: options of the random search besides: --strategy NAME, --turn SWITCH.
      tags: tags of the tests.
    """
    named_programs(name, [
        "//tests:__subpackages__",
        "//tools:__pkg__",
    ])
    search = ":" + name + "_search"
    if search_executions:
        hunt_test(name + "_search_test", search, "search", search_executions, patch, seeds, how, tags)
    if libfuzzer_runs:
        libfuzzer = ":" + name + "_libfuzzer"
        hunt_test(name + "_libfuzzer_test", libfuzzer, "libfuzzer", libfuzzer_runs, patch, seeds, tags = tags)

def unit_mutant_test(name, test):
    """A mutant that a unit test of the core kills. The test NAME_unit_test passes if that test fails.

    Args:
      name: name of the mutant.
      test: the unit test, as SUITE.NAME.
    """
    named_binary(
        name = name + "_core_test",
        testonly = True,
        program = ":joint_core_test",
        tags = ["manual"],
    )
    native.sh_test(
        name = name + "_unit_test",
        size = "small",
        srcs = ["//tests/mutants:unit_test.sh"],
        args = ["$(location :%s_core_test)" % name, test],
        data = [":%s_core_test" % name],
    )

def wide_mutant_test(name, patch, executions, seeds, how = []):
    """A mutant that takes more CPUs than a word has bits. wide_NAME_search_test passes if the search finds it.

    Args:
      name: name of the mutant.
      patch: the patch file.
      executions: budget of the search for each seed.
      seeds: random seeds.
      how: options of the search besides.
    """
    named_binary(
        name = name + "_search",
        program = ":joint_search_wide",
        tags = ["manual"],
    )
    hunt_test(
        name = "wide_%s_search_test" % name,
        executions = executions,
        how = ["--cpus", "70"] + how,
        kind = "search",
        patch = patch,
        program = ":" + name + "_search",
        published = False,
        seeds = seeds,
    )

def correct_change_test(name, patch, executions, seeds):
    """A correct change of the core, which no oracle may report. correct_NAME_search_test passes if none does.

    Args:
      name: name of the change.
      patch: its patch.
      executions: how many the search makes from each seed.
      seeds: random seeds.
    """
    named_programs(name)
    hunt_test(
        name = "correct_%s_search_test" % name,
        correct = patch,
        executions = executions,
        how = ["--strategy", "aimed", "--any-switch", "--chains"],
        kind = "search",
        program = ":" + name + "_search",
        seeds = seeds,
    )

def boot_mutant_test(name, test, options, emulator = "bochs"):
    """NAME_boot_test passes if the test kernel with the mutant NAME inside fails a self-test; NAME_race_test in QEMU.

    Args:
      name: name of a mutant that joint_image holds.
      test: the self-test that must fail, by its title.
      options: of the runner, for the boot.
      emulator: "bochs" or "qemu".
    """
    native.py_test(
        name = name + ("_boot_test" if emulator == "bochs" else "_race_test"),
        size = "medium",
        srcs = ["//tests/mutants:boot_mutant_test.py"],
        args = ["$(location :joint_image)", name, "'%s'" % test, "--emulator", emulator] + options,
        data = [":joint_image"],
        main = "boot_mutant_test.py",
        tags = [] if emulator == "bochs" else [emulator],
        deps = [
            "//kernel-glue:bochs_runner",
            "//tests/mutants:joint_library",
        ],
    )

def hunt_test(
        name,
        program,
        kind,
        executions,
        patch = None,
        seeds = [1],
        how = [],
        tags = [],
        correct = None,
        published = True):
    """A test that a counted search finds a mutant, or with no patch that it finds nothing.

    Args:
      name: name of the test.
      program: the program that searches.
      kind: how to run it: "search" or "libfuzzer".
      executions: budget for each seed.
      patch: the mutant's patch, which names the oracles; None if nothing is to be found.
      seeds: random seeds.
      how: options of the random search besides: --strategy NAME, --turn SWITCH.
      tags: tags of the test.
      correct: the patch of a correct change, if it was not the clean core that was built.
      published: whether documents may have the counts.
    """
    args = ["--" + kind, "$(location %s)" % program, "--executions", str(executions), "--seeds"]
    args += [str(seed) for seed in seeds]
    args += how
    for option, file in {"--correct": correct, "--patch": patch}.items():
        args += [option, "$(location %s)" % file] if file else []
    if patch and kind == "search" and published:
        args += ["--published", "."]
    native.py_test(
        name = name,
        size = "small",
        timeout = "moderate",
        srcs = ["//tests/mutants:hunt.py"],
        args = args,
        data = [program] + [file for file in [correct, patch] if file],
        main = "hunt.py",
        tags = tags,
        deps = [
            "//fuzz/campaign:crashes",
            "//tests/docs:figures",
            "//tests/mutants:mutant",
        ],
    )
