"""The command `npufleet`: a thin skin over the package, one file per command.

app          the commands, put together
call         `npufleet call`: one subcommand per operation, made of the contract's rows
tensors      arrays from files and text, and back
connection   the options by which a command finds its broker
console      text for people, JSON for scripts, one line for an error
exit_codes   what the exit status says

Nothing here is imported by the rest of the package, and no module of it imports anything slow before its command runs.
"""

from __future__ import annotations


def main() -> int:
    """Run the command line; wrong use and failures end the process with the status that exit_codes says."""
    from npufleet.cli.app import app

    app()
    return 0
