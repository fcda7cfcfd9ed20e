#!/usr/bin/env python
"""Say what is going on, and take arguments: the two habits that every step of a pipeline has.

    python exercises/logging_argparse.py --step 3 --name preprocess --verbose true

A line of a log says when, who and how grave, which `print` does not; argparse says what is missing
or wrong before anything is done, and `--help` costs nothing.
"""

import argparse
import logging

logger = logging.getLogger("logging_argparse")


def build_parser() -> argparse.ArgumentParser:
    """Name the inputs."""
    parser = argparse.ArgumentParser(description=__doc__.partition("\n")[0])
    parser.add_argument("--step", type=int, required=True, help="number of the step, such as 3")
    parser.add_argument("--name", default="preprocess", help="what the step is called")
    parser.add_argument(
        "--verbose", choices=["true", "false"], default="false", help="true: also tell details"
    )
    return parser


def main() -> None:
    """Log a line of each kind."""
    args = build_parser().parse_args()
    level = logging.DEBUG if args.verbose == "true" else logging.INFO
    logging.basicConfig(level=level, format="%(asctime)-15s %(levelname)s %(message)s")
    logger.debug("arguments: %s", vars(args))
    logger.info("step %d, %s, begins", args.step, args.name)
    if args.step < 1:
        logger.warning("steps are counted from 1, found %d", args.step)
    logger.info("step %d, %s, is done", args.step, args.name)


if __name__ == "__main__":
    main()
