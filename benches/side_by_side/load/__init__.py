"""What callers do: wrk and h2load where they fit, a loop of Python's where they do not, and connections that only wait."""
