"""Show a run of the store in MLflow, again or for the first time.

python -m util_lib.tracking publish <run id>
"""

import argparse
import sys

from util_lib.errors import UserError
from util_lib.tracking.publish import publish_own
from util_lib.tracking.store import open_store


def main(argv: list[str] | None = None) -> int:
    """Run the command and return its exit code."""
    parser = argparse.ArgumentParser(
        prog="python -m util_lib.tracking", description=__doc__.splitlines()[0]
    )
    commands = parser.add_subparsers(required=True, metavar="command")
    command = commands.add_parser("publish", help="show a run of the store in MLflow")
    command.add_argument("run_id", help="as in the message that asked for this")
    args = parser.parse_args(argv)
    try:
        store = open_store()
        record = store.run(args.run_id)
        if record is None:
            raise UserError(
                f"there is no run {args.run_id!r} in {store.directory}; go to the directory where "
                "the run was started, or set TRACKING_STORE"
            )
        publish_own(record)
    except UserError as error:
        print(f"tracking: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
