"""`python -m tunesmith`, which is how torchrun starts each process of a run."""

from tunesmith.cli import main

if __name__ == "__main__":
    main()
