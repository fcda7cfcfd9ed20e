"""What a request can be refused for. Every refusal is one of these, in MLflow's form."""

from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from serving.model.rows import Problem

MOST_PROBLEMS = 20  # a request that breaks more rules hears of these


class RequestError(Exception):
    """A request that is answered with `status` (4xx or 503) and one sentence.

    `problems` lists the broken rules of a declaration, where there are any.
    """

    def __init__(self, status: int, message: str, problems: list[dict[str, Any]] | None = None):
        """Keep what the answer will say."""
        super().__init__(message)
        self.status = status
        self.message = message
        self.problems = problems or []


def broken(problems: "list[Problem]", all_seen: bool) -> RequestError:
    """Return the refusal of rows that break rules of the declaration; rows count from 0.

    Where not all rows were looked at there may be more that is wrong than it says.
    """
    first, listed = problems[0], []
    for problem in problems[:MOST_PROBLEMS]:
        listed.append({"row": problem.row, "column": problem.column, "rule": problem.rule})
        listed[-1] |= {"found": problem.value, "message": problem.message}
    where = "" if first.row is None else f"row {first.row}: "
    at_least = "" if all_seen else "at least "
    more = f" (and {at_least}{len(problems) - 1:,} more)" if len(problems) > 1 else ""
    return RequestError(422, f"{where}{first.message}{more}", listed)


# Names as in mlflow.protos.databricks_pb2: MLflow's clients look for them.
CODES = {
    400: "BAD_REQUEST",
    401: "UNAUTHENTICATED",
    404: "ENDPOINT_NOT_FOUND",
    405: "BAD_REQUEST",
    408: "BAD_REQUEST",
    413: "BAD_REQUEST",
    415: "BAD_REQUEST",
    421: "BAD_REQUEST",
    422: "INVALID_PARAMETER_VALUE",
    500: "INTERNAL_ERROR",
    503: "TEMPORARILY_UNAVAILABLE",
    504: "DEADLINE_EXCEEDED",
}


def body_of(error: RequestError, request_id: str) -> dict[str, Any]:
    """Return the answer to a refused request."""
    body = {
        "error_code": CODES.get(error.status, "BAD_REQUEST"),
        "message": error.message,
        "request_id": request_id,
    }
    return body | {"problems": error.problems} if error.problems else body
