"""clang-19 as a Bazel toolchain, once per variant."""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")
load(
    "@bazel_tools//tools/cpp:cc_toolchain_config_lib.bzl",
    "feature",
    "flag_group",
    "flag_set",
    "tool_path",
)

_COMPILE = [
    ACTION_NAMES.assemble,
    ACTION_NAMES.c_compile,
    ACTION_NAMES.cpp_compile,
    ACTION_NAMES.cpp_header_parsing,
    ACTION_NAMES.preprocess_assemble,
]

_CXX = [
    ACTION_NAMES.cpp_compile,
    ACTION_NAMES.cpp_header_parsing,
]

_LINK = [
    ACTION_NAMES.cpp_link_dynamic_library,
    ACTION_NAMES.cpp_link_executable,
    ACTION_NAMES.cpp_link_nodeps_dynamic_library,
]

_TOOLS = {
    "ar": "/usr/bin/llvm-ar-19",
    "cpp": "/usr/bin/clang-cpp-19",
    "dwp": "/bin/false",
    "gcc": "/usr/bin/clang-19",
    "gcov": "/usr/bin/llvm-profdata-19",
    "ld": "/usr/bin/ld.lld-19",
    "nm": "/usr/bin/llvm-nm-19",
    "objcopy": "/usr/bin/llvm-objcopy-19",
    "objdump": "/usr/bin/llvm-objdump-19",
    "strip": "/usr/bin/llvm-strip-19",
}

def _flags(actions, flags):
    return [flag_set(actions = actions, flag_groups = [flag_group(flags = flags)])] if flags else []

def _config_impl(ctx):
    features = [
        feature(
            name = "variant",
            enabled = True,
            flag_sets = _flags(_COMPILE, ctx.attr.copts) +
                        _flags(_CXX, ctx.attr.cxxopts) +
                        _flags(_LINK, ctx.attr.linkopts),
        ),
        # Compiles each header of a library on its own, so that none leans on what its users happen
        # to include first. As a source and not as a header, because the output is much smaller.
        feature(
            name = "parse_headers",
            enabled = ctx.attr.parse_headers,
            flag_sets = _flags(
                [ACTION_NAMES.cpp_header_parsing],
                ["-x", "c++", "-Wno-pragma-once-outside-header"],
            ),
        ),
        # Assertions stay in fastbuild, and it is optimised: the tests and fuzzers of this project
        # spend their time running, not compiling.
        feature(name = "fastbuild", flag_sets = _flags(_COMPILE, ["-O2", "-g1"])),
        feature(name = "opt", flag_sets = _flags(_COMPILE, ["-O2", "-g1", "-DNDEBUG"])),
        feature(name = "dbg", flag_sets = _flags(_COMPILE, ["-O0", "-g"])),
        # What a BUILD file asks for by name, one word for a target or a package; after the modes, whose
        # flags they take back.
        feature(name = "not_fuzzed", flag_sets = _flags(_COMPILE, ctx.attr.not_fuzzed)),
        feature(name = "quick_compile", flag_sets = _flags(_COMPILE, ["-O0"])),
        # clang makes position-independent executables anyway. The feature would only compile every
        # file twice.
        feature(name = "supports_pic", enabled = False),
        feature(name = "supports_dynamic_linker", enabled = False),
        feature(name = "supports_start_end_lib", enabled = False),
    ]
    return cc_common.create_cc_toolchain_config_info(
        ctx = ctx,
        abi_libc_version = "unknown",
        abi_version = "unknown",
        compiler = "clang",
        # Headers from here need no declaration. Among them is the ignore list that ASan reads.
        cxx_builtin_include_directories = [
            "/usr/include",
            "/usr/lib/gcc",
            "/usr/lib/llvm-19/lib/clang/19",
            "%package(//bazel/toolchains)%/fs",
        ],
        features = features,
        host_system_name = "local",
        target_cpu = "k8",
        target_libc = "none" if ctx.attr.freestanding else "glibc",
        target_system_name = "none" if ctx.attr.freestanding else "linux",
        tool_paths = [tool_path(name = name, path = path) for name, path in _TOOLS.items()],
        toolchain_identifier = ctx.label.name,
    )

_config = rule(
    implementation = _config_impl,
    attrs = {
        "copts": attr.string_list(),
        "cxxopts": attr.string_list(),
        "freestanding": attr.bool(),
        "linkopts": attr.string_list(),
        "not_fuzzed": attr.string_list(),
        "parse_headers": attr.bool(),
    },
    provides = [CcToolchainConfigInfo],
)

def variant_toolchain(
        name,
        constraints,
        copts = [],
        cxxopts = [],
        linkopts = [],
        compiler_files = ":none",
        freestanding = False,
        not_fuzzed = [],
        parse_headers = False):
    """Declares a C++ toolchain and registers it for the platforms that meet the constraints.

    Args:
      name: name of the toolchain() target.
      constraints: constraint values beside the CPU that the target platform must have.
      copts: flags for every compilation.
      cxxopts: flags for C++ only.
      linkopts: flags for every link.
      compiler_files: files of this workspace that the flags mention.
      freestanding: whether the target has no operating system.
      not_fuzzed: flags that switch a fuzzer's hooks and sanitizers off again.
      parse_headers: whether each header is compiled on its own too.
    """
    _config(
        name = name + "_config",
        copts = copts,
        cxxopts = cxxopts,
        freestanding = freestanding,
        linkopts = linkopts,
        not_fuzzed = not_fuzzed,
        parse_headers = parse_headers,
    )
    native.cc_toolchain(
        name = name + "_cc",
        all_files = compiler_files,
        ar_files = ":none",
        as_files = compiler_files,
        compiler_files = compiler_files,
        dwp_files = ":none",
        linker_files = ":none",
        objcopy_files = ":none",
        strip_files = ":none",
        supports_header_parsing = True,
        supports_param_files = True,
        toolchain_config = ":" + name + "_config",
        toolchain_identifier = name + "_config",
    )
    native.toolchain(
        name = name,
        exec_compatible_with = [
            "@platforms//cpu:x86_64",
            "@platforms//os:linux",
        ],
        target_compatible_with = constraints + ["@platforms//cpu:x86_64"],
        toolchain = ":" + name + "_cc",
        toolchain_type = "@bazel_tools//tools/cpp:toolchain_type",
    )
