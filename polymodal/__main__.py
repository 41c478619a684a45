"""`python -m polymodal`: the command line, for launchers of several processes."""

from polymodal.interfaces.cli import main

if __name__ == "__main__":
    main()
