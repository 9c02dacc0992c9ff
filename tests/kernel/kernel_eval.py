"""Reading a value out of a live kernel."""

import ast
import json
from typing import Any

from jupyter_client.blocking.client import BlockingKernelClient


def evaluate(client: BlockingKernelClient, expression: str, timeout: float = 30) -> Any:
    """Evaluate ``expression`` in the kernel's namespace, leaving no trace in its history or outputs.

    What JSON cannot hold arrives as its ``repr``. An exception in the kernel is raised here as `RuntimeError`.
    """
    wrapped = f"__import__('json').dumps(({expression}), default=repr)"
    message = client.execute("", silent=True, store_history=False, user_expressions={"value": wrapped})
    while True:
        reply = client.get_shell_msg(timeout=timeout)
        if reply["parent_header"].get("msg_id") == message:
            break
    value = reply["content"]["user_expressions"]["value"]
    if value["status"] != "ok":
        raise RuntimeError(f"{value['ename']}: {value['evalue']} in {expression!r}")
    return json.loads(ast.literal_eval(value["data"]["text/plain"]))
