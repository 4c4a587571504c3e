"""Programs with mutants in the place of the core.

How a mutant gets in. Everything depends on //core, //kernel-glue/mm and //hal/host, which are flags whose defaults
are the clean rooms. `joint_core` is a library of changed copies of their headers which hold all mutants
(joint.py), and `_mutant_binary` builds a program in a configuration in which the flags name that library and the
model that is made of it. So each program is compiled once, as `joint_PROGRAM`, and NAME_PROGRAM is a link to it: it
runs the mutant that it is called by (choose.cc).

`mutated_core` is the same with one patch, applied as it is. //tests/mutants:joint_program_test compares the two.

The clean headers are no input of any compile action of such a program: an include that does not find the copy finds
nothing. //tests/mutants/probe:probe_test shows it.
"""

load("@rules_cc//cc:defs.bzl", "cc_library")
load("//bazel:link.bzl", "link_alone")
load("//hal/host:wide.bzl", "WIDE", "WIDE_DEFINES")

_CORE = "//core:core"
_MM = "//kernel-glue/mm:mm"
_MODEL = "//hal/host:host"
_HEADERS = ["//core:headers", "//kernel-glue/mm:headers"]
_SOURCES = _HEADERS + ["//hal/host:sources"]
_PARSE_HEADERS = "//command_line_option:process_headers_in_dependencies"
_STOOD_IN_FOR = ["//core:__pkg__", "//hal/host:__pkg__", "//kernel-glue/mm:__pkg__"]

def _tree(ctx, arguments, inputs, new, message):
    """Changed copies of the sources, in a tree of their own."""
    copies = [ctx.actions.declare_file(ctx.label.name + "/" + source.short_path) for source in ctx.files.srcs]
    root = copies[0].path[:-len(ctx.files.srcs[0].short_path) - 1]
    others = [ctx.actions.declare_file(ctx.label.name + "/" + name) for name in new]
    ctx.actions.run(
        arguments = arguments + ["--tree", root, "--files"] + [
            source.path + "=" + source.short_path
            for source in ctx.files.srcs
        ],
        executable = ctx.executable._tool,
        inputs = ctx.files.srcs + inputs,
        mnemonic = "Mutate",
        outputs = copies + others,
        progress_message = message,
    )
    context = cc_common.create_compilation_context(
        headers = depset([copy for copy in copies if copy.extension in ("h", "inc")]),
        quote_includes = depset([root]),
    )
    return [
        DefaultInfo(files = depset(copies), runfiles = ctx.runfiles(files = copies)),
        OutputGroupInfo(
            names = depset(others),
            sources = depset([copy for copy in copies if copy.extension == "cc"]),
        ),
        cc_common.merge_cc_infos(
            direct_cc_infos = [CcInfo(compilation_context = context)],
            cc_infos = [dep[CcInfo] for dep in ctx.attr.deps],
        ),
    ]

def _mutated_core_impl(ctx):
    patch = ctx.file.patch
    return _tree(ctx, ["--patch", patch.path], [patch], [], "Applying " + patch.short_path)

mutated_core = rule(
    implementation = _mutated_core_impl,
    attrs = {
        "deps": attr.label_list(providers = [CcInfo]),
        "patch": attr.label(allow_single_file = [".patch"], mandatory = True),
        "srcs": attr.label_list(allow_files = [".h", ".inc", ".cc"], default = _HEADERS),
        "_tool": attr.label(
            cfg = "exec",
            default = "//tests/mutants:copy_and_apply",
            executable = True,
        ),
    },
    doc = "The headers of the core and of the memory manager with one patch applied.",
)

def _joint_core_impl(ctx):
    patches = ctx.files.patches
    return _tree(
        ctx,
        ["--patches"] + [patch.path for patch in patches],
        patches,
        ["mutants/names.cc"],
        "Merging %d mutants" % len(patches),
    )

_joint_core = rule(
    implementation = _joint_core_impl,
    attrs = {
        "deps": attr.label_list(
            default = ["//tests/mutants:choice"],
            providers = [CcInfo],
        ),
        "patches": attr.label_list(allow_files = [".patch"], mandatory = True),
        "srcs": attr.label_list(allow_files = [".h", ".inc", ".cc"], default = _HEADERS),
        "_tool": attr.label(
            cfg = "exec",
            default = "//tests/mutants:joint",
            executable = True,
        ),
    },
    doc = "The headers of the core and of the memory manager with all patches in them.",
)

def _transition_impl(settings_before, attr):
    return {
        _CORE: attr.core,
        _MM: attr.core,
        _MODEL: attr.model,
        WIDE: attr.wide or settings_before[WIDE],
        # That each header compiles on its own is checked with the clean core. Once is enough.
        _PARSE_HEADERS: False,
    }

_mutant_transition = transition(
    implementation = _transition_impl,
    inputs = [WIDE],
    outputs = [_CORE, _MM, _MODEL, _PARSE_HEADERS, WIDE],
)

_ALLOWLIST = attr.label(default = "@bazel_tools//tools/allowlists/function_transition_allowlist")

def _mutant_binary_impl(ctx):
    return link_alone(ctx, ctx.attr.target[0])

_mutant_binary = rule(
    implementation = _mutant_binary_impl,
    attrs = {
        "core": attr.string(doc = "Label of the library in the place of the core.", mandatory = True),
        "model": attr.string(doc = "Label of the library in the place of the model.", mandatory = True),
        "target": attr.label(cfg = _mutant_transition, executable = True, mandatory = True),
        "wide": attr.bool(doc = "Whether the machine has many CPUs."),
        "_allowlist_function_transition": _ALLOWLIST,
    },
    executable = True,
)

def _named_binary_impl(ctx):
    return link_alone(ctx, ctx.attr.program)

named_binary = rule(
    implementation = _named_binary_impl,
    attrs = {"program": attr.label(executable = True, mandatory = True, cfg = "target")},
    doc = "A program under a name by which it is called.",
    executable = True,
)

def _kernel_transition_impl(_settings_before, attr):
    return {
        _CORE: attr.core,
        _MM: attr.core,
        _PARSE_HEADERS: False,
    }

_kernel_transition = transition(
    implementation = _kernel_transition_impl,
    inputs = [],
    outputs = [_CORE, _MM, _PARSE_HEADERS],
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
        "_allowlist_function_transition": _ALLOWLIST,
    },
    doc = "A boot image as it is with another core.",
)

def _absolute(label):
    return "//%s%s" % (native.package_name(), label) if label.startswith(":") else label

def mutant_binary(name, target, core, model = "//hal/host:model", **kwargs):
    """A program as it is with another core.

    Args:
      name: name of the new target.
      target: label of the program, of any variant.
      core: label of the library in the place of the core, such as one of mutated_core.
      model: label of the library in the place of the model, made of `core`, or of the clean one.
      **kwargs: tags, testonly, visibility.
    """
    _mutant_binary(
        name = name,
        core = _absolute(core),
        model = _absolute(model),
        target = target,
        **kwargs
    )

def _model(name, core, deps = []):
    """The model, made of copies of its sources."""
    native.filegroup(
        name = name + "_sources",
        srcs = [core],
        output_group = "sources",
        tags = ["manual"],
    )
    cc_library(
        name = name,
        srcs = [":" + name + "_sources"],
        defines = WIDE_DEFINES,
        features = ["not_fuzzed"],
        tags = ["manual"],
        visibility = ["//hal/host:__pkg__"],
        deps = deps + [
            core,
            "//hal/common",
        ],
    )

# The programs that hold all mutants, and what each stands for.
_PROGRAMS = {
    "afl": "//fuzz:shootdown_afl",
    "explore": "//fuzz:explore_bin",
    "libfuzzer": "//fuzz:shootdown_libfuzzer",
    "reproduce": "//fuzz:reproduce_bin",
    "search": "//fuzz:search_bin",
}

def joint_programs(patches):
    """The programs that hold all mutants: joint_PROGRAM, where a link's name or a variable says which one runs.

    Args:
      patches: the mutants' patches.
    """
    _joint_core(
        name = "joint_headers",
        srcs = _SOURCES,
        patches = patches,
        tags = ["manual"],
    )
    native.filegroup(
        name = "joint_names",
        srcs = [":joint_headers"],
        output_group = "names",
        tags = ["manual"],
    )
    cc_library(
        name = "choose",
        srcs = [
            "choose.cc",
            ":joint_names",
        ],
        alwayslink = True,
        # A function that is always inlined brings the bodies of all mutants to each of its callers, and those to
        # theirs: without this the compiler needs 7 GB for one source. The second is for what core/macros_begin.inc
        # puts aside, the first for headers that are included alone.
        defines = [
            "always_inline=unused",
            "SHOOTDOWN_NO_ALWAYS_INLINE",
        ],
        features = ["not_fuzzed"],
        tags = ["manual"],
        deps = [":choice"],
    )
    cc_library(
        name = "joint_core",
        tags = ["manual"],
        visibility = _STOOD_IN_FOR,
        deps = [
            ":choose",
            ":joint_headers",
        ],
    )
    _model("joint_model", ":joint_headers", [":choose"])
    for program, target in _PROGRAMS.items():
        _joint_binary("joint_" + program, target, visibility = ["//tests:__subpackages__"])
    _joint_binary("joint_search_wide", "//fuzz:search_bin", wide = True)
    _joint_binary(
        "joint_regression",
        "//tests/regressions:m25_lazy_exit_reads_first",
        testonly = True,
        visibility = ["//tests:__subpackages__"],
    )
    _joint_binary("joint_core_test", "//tests/core:core_test", testonly = True)
    _joint_binary("joint_determinism_test", "//tests/host:determinism_test", testonly = True)

def _joint_binary(name, target, **kwargs):
    mutant_binary(
        name = name,
        core = ":joint_core",
        model = ":joint_model",
        tags = ["manual"],
        target = target,
        **kwargs
    )

def named_programs(name, visibility = None):
    """NAME_PROGRAM for each program that holds all mutants: that one, which runs the mutant NAME.

    Args:
      name: name of a mutant.
      visibility: of the programs.
    """
    for program in _PROGRAMS:
        named_binary(
            name = "%s_%s" % (name, program),
            program = ":joint_" + program,
            tags = ["manual"],
            visibility = visibility,
        )

def patched_alone(name, patch):
    """NAME_alone_search, the random search with one patch applied as it is.

    Args:
      name: name of a mutant.
      patch: its patch.
    """
    mutated_core(
        name = name + "_core",
        srcs = _SOURCES,
        patch = patch,
        tags = ["manual"],
        visibility = _STOOD_IN_FOR,
    )
    _model(name + "_model", ":" + name + "_core")
    mutant_binary(
        name = name + "_alone_search",
        core = ":%s_core" % name,
        model = ":%s_model" % name,
        tags = ["manual"],
        target = "//fuzz:search_bin",
    )

def joint_image(patches):
    """joint_image, the test kernel that holds these mutants. boot_mutant_test.py says in a copy which one runs.

    It holds no other ones: what they ask for, code that runs on a user root could not read.

    Args:
      patches: the mutants' patches.
    """
    _joint_core(
        name = "booted_headers",
        patches = patches,
        tags = ["manual"],
    )
    cc_library(
        name = "booted_core",
        # As in `joint_programs`: what is always inlined would bring all bodies to each of its callers.
        defines = [
            "always_inline=unused",
            "SHOOTDOWN_NO_ALWAYS_INLINE",
        ],
        tags = ["manual"],
        visibility = _STOOD_IN_FOR,
        deps = [":booted_headers"],
    )
    _mutant_image(
        name = "joint_image",
        core = _absolute(":booted_core"),
        tags = ["manual"],
        target = "//kernel-glue/kernel:image",
    )
