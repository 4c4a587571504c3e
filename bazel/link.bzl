"""What rules share that build a program in another configuration, or under another name."""

def link(ctx, target):
    """The program of the rule: a link to another one.

    Args:
      ctx: of the rule.
      target: an executable target.

    Returns:
      the link, a file named after the rule's target.
    """
    executable = ctx.actions.declare_file(ctx.label.name)
    ctx.actions.symlink(
        output = executable,
        is_executable = True,
        target_file = target[DefaultInfo].files_to_run.executable,
    )
    return executable

def link_alone(ctx, target):
    """The same as all that the rule provides.

    The target's own runfiles hold the program under the name that it has in the usual configuration, too. In the
    runfiles of a test that uses both, one would take the other's place.

    Args:
      ctx: of the rule.
      target: an executable target that needs no runfiles.

    Returns:
      the rule's providers.
    """
    executable = link(ctx, target)
    return [DefaultInfo(
        executable = executable,
        files = depset([executable]),
        runfiles = ctx.runfiles(files = [executable]),
    )]
