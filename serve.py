"""Serve the pages on this machine: `python serve.py [--workspace DIR] [--port N]`, which `make run` calls."""

import argparse
import importlib
import os
import socket
import sys
from pathlib import Path

import jobs

ROOT = Path(__file__).resolve().parent
ADDRESS = "127.0.0.1"


def main() -> int:
    """Serve until Ctrl-C, then say what goes on in the background. Gives 2 when the port is taken."""
    parser = argparse.ArgumentParser(prog="python serve.py", description=__doc__)
    parser.add_argument(
        "--workspace",
        default=os.environ.get("WINNOW_WORKSPACE") or "workspace",
        help="where everything is kept",
    )
    parser.add_argument("--port", type=int, default=8501, help="port on this machine (default 8501)")
    asked = parser.parse_args()
    if _is_taken(asked.port):
        sys.stderr.write(
            f"winnow: port {asked.port} of {ADDRESS} is taken; "
            f"close what uses it, or choose another one: make run PORT={asked.port + 1}\n"
        )
        return 2
    os.environ["WINNOW_WORKSPACE"] = str(Path(asked.workspace).expanduser().resolve())
    try:
        _warm_up(Path(os.environ["WINNOW_WORKSPACE"]))
        _serve(asked.port)
    finally:
        jobs.after(Path(os.environ["WINNOW_WORKSPACE"]))
    return 0


def _is_taken(port: int) -> bool:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)  # one that was just closed is free
        try:
            probe.bind((ADDRESS, port))
        except OSError:
            return True
    return False


def _warm_up(workspace: Path) -> None:
    """Load what the first page needs before the server answers, so that whoever waits gets the truth at once.

    Else a tab that was open while the app was restarted waited for these imports after it had reconnected.
    """
    for name in ("altair", "pandas", "pyarrow", "curation.assemble", "curation.pair_browser"):
        importlib.import_module(name)
    jobs.active(workspace)  # loads the queue's library when there is a queue


def _serve(port: int) -> None:
    from streamlit.runtime.pages_manager import PagesManager
    from streamlit.web import cli

    # A folder called `pages` switches the old menu on until `st.navigation` has run once: whoever opens
    # a deep link first after a start would be told that there is no such page (seen in 1.67).
    PagesManager.uses_pages_directory = False
    os.chdir(ROOT)  # where .streamlit/config.toml is looked for
    cli.main(["run", str(ROOT / "app.py"), "--server.port", str(port)], standalone_mode=False)


if __name__ == "__main__":
    sys.exit(main())
