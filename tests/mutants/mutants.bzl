"""Programs and tests with a mutant in the place of the core.

How a mutant gets in. Everything depends on //core, //kernel-glue/mm and //hal/host, which are flags
whose defaults are the clean rooms. `mutated_core` is a library of changed copies of the headers of the
first two, and `_mutant_binary` builds a program in a configuration in which both flags name that
library. The clean headers are then no input of any compile action of the program: an include that does
not find the copy finds nothing. A mutant of what runs below the kernel changes copies of the model, too.
//tests/mutants/probe:probe_test shows it.
"""

load("//bazel/private:shared.bzl", "shared_library")

_CORE = "//core:core"
_MM = "//kernel-glue/mm:mm"
_MODEL = "//hal/host:host"
_PARTS = "//fuzz:parts"
_TARGET_PARTS = "//fuzz:target_parts"
_KERNEL_PARTS = "//kernel-glue/kernel:parts"
_HEADERS = ["//core:headers", "//kernel-glue/mm:headers"]
_PARSE_HEADERS = "//command_line_option:process_headers_in_dependencies"

def _mutated_core_impl(ctx):
    tree = ctx.label.name
    copies = []
    pairs = []
    for source in ctx.files.srcs:
        copy = ctx.actions.declare_file(tree + "/" + source.short_path)
        copies.append(copy)
        pairs.append(source.path + "=" + source.short_path)
    root = copies[0].path[:-len(ctx.files.srcs[0].short_path) - 1]
    ctx.actions.run(
        arguments = ["--patch", ctx.file.patch.path, "--tree", root] + pairs,
        executable = ctx.executable._tool,
        inputs = ctx.files.srcs + [ctx.file.patch],
        mnemonic = "Mutate",
        outputs = copies,
        progress_message = "Applying " + ctx.file.patch.short_path,
    )
    context = cc_common.create_compilation_context(
        headers = depset([copy for copy in copies if copy.extension == "h"]),
        quote_includes = depset([root]),
    )
    return [
        DefaultInfo(files = depset(copies)),
        OutputGroupInfo(sources = depset([copy for copy in copies if copy.extension == "cc"])),
        CcInfo(compilation_context = context),
    ]

mutated_core = rule(
    implementation = _mutated_core_impl,
    attrs = {
        "patch": attr.label(allow_single_file = [".patch"], mandatory = True),
        "srcs": attr.label_list(allow_files = [".h", ".cc"], default = _HEADERS),
        "_tool": attr.label(
            cfg = "exec",
            default = "//tests/mutants:copy_and_apply",
            executable = True,
        ),
    },
    doc = "The headers of the core and of the memory manager with one patch applied.",
)

def _settings(attr):
    # That each header compiles on its own is checked with the clean core. Once is enough.
    return {
        _CORE: attr.core,
        _MM: attr.core,
        _PARSE_HEADERS: False,
        _PARTS: "//fuzz:one_piece",
        _TARGET_PARTS: "//fuzz:target_in_two_pieces",
    }

def _transition_impl(_settings_before, attr):
    return dict(_settings(attr), **{_MODEL: "//tests/mutants:shared_model"})

_mutant_transition = transition(
    implementation = _transition_impl,
    inputs = [],
    outputs = [_CORE, _MM, _MODEL, _PARTS, _PARSE_HEADERS, _TARGET_PARTS],
)

def _model_transition_impl(_settings_before, attr):
    return dict(_settings(attr), **{_MODEL: attr.model})

_model_transition = transition(
    implementation = _model_transition_impl,
    inputs = [],
    outputs = [_CORE, _MM, _MODEL, _PARTS, _PARSE_HEADERS, _TARGET_PARTS],
)

def _mutant_binary_impl(ctx):
    target = ctx.attr.target[0][DefaultInfo]
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(
        output = executable,
        is_executable = True,
        target_file = target.files_to_run.executable,
    )

    # The target's own runfiles hold the program under the name that the clean one has, too. In the
    # runfiles of a test that uses both, one would take the other's place.
    return [DefaultInfo(
        executable = executable,
        files = depset([executable]),
        runfiles = ctx.runfiles(files = [executable]),
    )]

def _mutant_binary_rule(settings, **attrs):
    return rule(
        implementation = _mutant_binary_impl,
        attrs = dict({
            "core": attr.string(doc = "Label of the library in the place of the core.", mandatory = True),
            "target": attr.label(cfg = settings, executable = True, mandatory = True),
            "_allowlist_function_transition": attr.label(
                default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
            ),
        }, **attrs),
        executable = True,
    )

_mutant_binary = _mutant_binary_rule(_mutant_transition)

_model_mutant_binary = _mutant_binary_rule(
    _model_transition,
    model = attr.string(doc = "Label of the library in the place of the model.", mandatory = True),
)

def _kernel_transition_impl(_settings_before, attr):
    return {
        _CORE: attr.core,
        _MM: attr.core,
        _KERNEL_PARTS: "//kernel-glue/kernel:one_piece",
        _PARSE_HEADERS: False,
    }

_kernel_transition = transition(
    implementation = _kernel_transition_impl,
    inputs = [],
    outputs = [_CORE, _MM, _KERNEL_PARTS, _PARSE_HEADERS],
)

def _mutant_image_impl(ctx):
    file = ctx.attr.target[0][DefaultInfo].files.to_list()[0]
    link = ctx.actions.declare_file("%s.%s" % (ctx.label.name, file.extension))
    ctx.actions.symlink(output = link, target_file = file)
    return [DefaultInfo(
        files = depset([link]),
        runfiles = ctx.runfiles(files = [link]),
    )]

_mutant_image = rule(
    implementation = _mutant_image_impl,
    attrs = {
        "core": attr.string(doc = "Label of the library in the place of the core.", mandatory = True),
        "target": attr.label(cfg = _kernel_transition, mandatory = True),
        "_allowlist_function_transition": attr.label(
            default = "@bazel_tools//tools/allowlists/function_transition_allowlist",
        ),
    },
    doc = "A boot image as it is with another core.",
)

def _absolute(label):
    return "//%s%s" % (native.package_name(), label) if label.startswith(":") else label

def mutant_binary(name, target, core, model = None, **kwargs):
    """A program as it is with another core.

    Args:
      name: name of the new target.
      target: label of the program, of any variant.
      core: label of the library in the place of the core, such as one of mutated_core.
      model: label of the library in the place of the model, or None.
      **kwargs: tags, testonly, visibility.
    """
    if model:
        kwargs = dict(kwargs, model = _absolute(model))
    (_model_mutant_binary if model else _mutant_binary)(
        name = name,
        core = _absolute(core),
        target = target,
        **kwargs
    )

def shared_model(name):
    """The model as mutants use it that do not reach it.

    Args:
      name: name of the target, which the transition above names.
    """
    shared_library(
        name = name,
        library = "//hal/host:one_piece",
        tags = ["manual"],
        visibility = ["//hal/host:__pkg__"],
    )

def _mutated_rooms(name, patch, with_model):
    """Returns the labels of the libraries in the place of the core and of the model."""
    mutated_core(
        name = name + "_core",
        srcs = _HEADERS + (["//hal/host:sources"] if with_model else []),
        patch = patch,
        tags = ["manual"],
        visibility = ["//core:__pkg__", "//kernel-glue/mm:__pkg__"],
    )
    if not with_model:
        return ":" + name + "_core", None
    native.filegroup(
        name = name + "_model_sources",
        srcs = [":" + name + "_core"],
        output_group = "sources",
        tags = ["manual"],
    )
    native.cc_library(
        name = name + "_model",
        srcs = [":" + name + "_model_sources"],
        features = ["no_coverage"],
        tags = ["manual"],
        visibility = ["//hal/host:__pkg__"],
        deps = [
            ":" + name + "_core",
            "//hal/common",
        ],
    )
    return ":" + name + "_core", ":" + name + "_model"

def mutant_test(
        name,
        patch,
        search_executions,
        libfuzzer_runs,
        seeds,
        how = [],
        with_model = False,
        tags = []):
    """One mutant, its programs, and the tests that it is found.

    Programs, built only when asked for or needed by a test:
      NAME_libfuzzer, NAME_afl  the fuzz target
      NAME_search               the random search
      NAME_reproduce            the reproducer, which tells the mutant's crash files
      NAME_explore              the exhaustive explorer
      NAME_core                 the mutated core; `bazel test --//core=LABEL //...` tests it

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
      with_model: whether the patch changes hal/host.
      tags: tags of the tests.
    """
    core, model = _mutated_rooms(name, patch, with_model)
    for suffix, target in {
        "_libfuzzer": "//fuzz:shootdown_libfuzzer",
        "_afl": "//fuzz:shootdown_afl",
        "_search": "//fuzz:search_bin",
        "_reproduce": "//fuzz:reproduce_bin",
        "_explore": "//fuzz:explore_bin",
    }.items():
        mutant_binary(
            name = name + suffix,
            core = core,
            model = model,
            tags = ["manual"],
            target = target,
            visibility = [
                "//tests:__subpackages__",
                "//tools:__pkg__",
            ],
        )
    search = ":" + name + "_search"
    if search_executions:
        hunt_test(name + "_search_test", search, "search", search_executions, patch, seeds, how, tags)
    if libfuzzer_runs:
        libfuzzer = ":" + name + "_libfuzzer"
        hunt_test(name + "_libfuzzer_test", libfuzzer, "libfuzzer", libfuzzer_runs, patch, seeds, tags = tags)

def unit_mutant_test(name, patch, test):
    """A mutant that a unit test of the core kills. The test NAME_unit_test passes if that test fails.

    Args:
      name: name of the mutant.
      patch: the patch file.
      test: the unit test, as SUITE.NAME.
    """
    mutated_core(
        name = name + "_core",
        patch = patch,
        tags = ["manual"],
        visibility = ["//core:__pkg__", "//kernel-glue/mm:__pkg__"],
    )
    mutant_binary(
        name = name + "_core_test",
        testonly = True,
        core = ":" + name + "_core",
        tags = ["manual"],
        target = "//tests/core:core_test",
    )
    native.sh_test(
        name = name + "_unit_test",
        size = "small",
        srcs = ["//tests/mutants:unit_test.sh"],
        args = ["$(location :%s_core_test)" % name, test],
        data = [":%s_core_test" % name],
    )

def correct_change_test(name, patch, executions, seeds):
    """A correct change of the core, which no oracle may report. NAME_search_test passes if none does.

    Args:
      name: name of the change.
      patch: its patch.
      executions: how many the search makes from each seed.
      seeds: random seeds.
    """
    mutated_core(
        name = name + "_core",
        patch = patch,
        tags = ["manual"],
        visibility = ["//core:__pkg__", "//kernel-glue/mm:__pkg__"],
    )
    for suffix, target in {
        "_search": "//fuzz:search_bin",
        "_explore": "//fuzz:explore_bin",
        "_reproduce": "//fuzz:reproduce_bin",
    }.items():
        mutant_binary(
            name = name + suffix,
            core = ":" + name + "_core",
            tags = ["manual"],
            target = target,
        )
    hunt_test(
        name = name + "_search_test",
        correct = patch,
        executions = executions,
        how = ["--strategy", "aimed", "--any-switch", "--chains"],
        kind = "search",
        program = ":" + name + "_search",
        seeds = seeds,
    )

def boot_mutant_test(name, test, options):
    """NAME_boot_test passes if the test kernel with the mutant NAME inside fails a self-test.

    Args:
      name: name of a mutant that has a mutant_test.
      test: the self-test that must fail, by its title.
      options: of the runner, for the boot.
    """
    _mutant_image(
        name = name + "_image",
        core = _absolute(":" + name + "_core"),
        tags = ["manual"],
        target = "//kernel-glue/kernel:image",
    )
    native.py_test(
        name = name + "_boot_test",
        size = "medium",
        srcs = ["//tests/mutants:boot_mutant_test.py"],
        args = ["$(location :%s_image)" % name, "'%s'" % test] + options,
        data = [":%s_image" % name],
        main = "boot_mutant_test.py",
        deps = ["//kernel-glue:bochs_runner"],
    )

def hunt_test(name, program, kind, executions, patch = None, seeds = [1], how = [], tags = [], correct = None):
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
    """
    args = ["--" + kind, "$(location %s)" % program, "--executions", str(executions), "--seeds"]
    args += [str(seed) for seed in seeds]
    args += how
    for option, file in {"--correct": correct, "--patch": patch}.items():
        args += [option, "$(location %s)" % file] if file else []
    if patch and kind == "search":
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
