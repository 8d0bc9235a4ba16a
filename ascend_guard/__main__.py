"""``python -m ascend_guard``: the command line."""

from ascend_guard.cli import main

if __name__ == "__main__":
    raise SystemExit(main())
