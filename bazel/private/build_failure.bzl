"""A test that a piece of C++ does not compile, and that it fails for the reason it should."""

load("@bazel_tools//tools/build_defs/cc:action_names.bzl", "ACTION_NAMES")
load("@bazel_tools//tools/cpp:toolchain_utils.bzl", "find_cpp_toolchain")

def _command(ctx, toolchain, features, context, defines):
    variables = cc_common.create_compile_variables(
        cc_toolchain = toolchain,
        feature_configuration = features,
        include_directories = context.includes,
        preprocessor_defines = depset(
            defines,
            transitive = [context.defines],
        ),
        quote_include_directories = context.quote_includes,
        source_file = ctx.file.src.path,
        system_include_directories = context.system_includes,
        user_compile_flags = ctx.attr.copts,
    )
    return [cc_common.get_tool_for_action(
        action_name = ACTION_NAMES.cpp_compile,
        feature_configuration = features,
    )] + cc_common.get_memory_inefficient_command_line(
        action_name = ACTION_NAMES.cpp_compile,
        feature_configuration = features,
        variables = variables,
    )

def _context(deps):
    return cc_common.merge_cc_infos(
        cc_infos = [dep[CcInfo] for dep in deps],
    ).compilation_context

def _trial(ctx, toolchain, features, deps, defines):
    context = _context(deps)
    return struct(
        command = _command(ctx, toolchain, features, context, defines),
        files = [[file.short_path, file.path] for file in context.headers.to_list() + [ctx.file.src]],
    )

def _impl(ctx):
    toolchain = find_cpp_toolchain(ctx)
    features = cc_common.configure_features(
        cc_toolchain = toolchain,
        ctx = ctx,
        requested_features = ctx.features,
        unsupported_features = ctx.disabled_features,
    )
    trials = struct(
        control = _trial(ctx, toolchain, features, ctx.attr.deps, []),
        expect = ctx.attr.expect,
        failure = _trial(ctx, toolchain, features, ctx.attr.deps, [ctx.attr.define]),
        remedy = _trial(
            ctx,
            toolchain,
            features,
            ctx.attr.deps + ctx.attr.remedy_deps,
            [ctx.attr.define],
        ) if ctx.attr.remedy_deps else None,
    )
    description = ctx.actions.declare_file(ctx.label.name + ".json")
    ctx.actions.write(description, trials.to_json())
    script = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.write(
        script,
        "#!/bin/sh\nexec %s %s\n" % (ctx.file._runner.short_path, description.short_path),
        is_executable = True,
    )
    headers = _context(ctx.attr.deps + ctx.attr.remedy_deps).headers
    return [DefaultInfo(
        executable = script,
        runfiles = ctx.runfiles(
            files = [ctx.file.src, ctx.file._runner, description],
            transitive_files = headers,
        ),
    )]

build_failure_test = rule(
    implementation = _impl,
    attrs = {
        "copts": attr.string_list(),
        "define": attr.string(default = "MUST_NOT_COMPILE"),
        "deps": attr.label_list(providers = [CcInfo]),
        "expect": attr.string(mandatory = True),
        "remedy_deps": attr.label_list(providers = [CcInfo]),
        "src": attr.label(allow_single_file = [".cc"], mandatory = True),
        "_cc_toolchain": attr.label(default = "@bazel_tools//tools/cpp:current_cc_toolchain"),
        "_runner": attr.label(
            allow_single_file = True,
            default = "//bazel/private:build_failure.py",
        ),
    },
    fragments = ["cpp"],
    test = True,
    toolchains = ["@bazel_tools//tools/cpp:toolchain_type"],
)
