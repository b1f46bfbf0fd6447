"""What goes wrong, by whose fault it is: the command line makes exit codes of it."""


class Wrong(Exception):
    """A proxy does not do what is measured: it would be a figure of something else."""


class Missing(Exception):
    """The machine lacks what was asked for by name."""


class Ended(Exception):
    """What all proxies need is gone, so that nothing more can be measured."""
