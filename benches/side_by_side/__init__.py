"""attache beside other proxies, all doing the same work on loopback. Run it as `python3 benches/side_by_side`.

What is where:

    command_line.py   what can be asked for, and what the exit code says
    programs.py       which programs are there, and how to get those that are not
    scenarios.py      what is measured: the table to read first
    world.py          what all proxies of a run share: a folder, a token, certificates, an upstream
    upstream/         the server behind the proxies, and the token endpoint
    proxies/          how each proxy is configured for the same task
    load/             what callers do
    check.py          nothing is measured that answers wrongly
    rounds.py         each proxy in each round; what one turn yields
    memory.py         the turns that look at memory
    processes.py      starting, pinning, ending
    errors.py         whose fault it is
    machine.py        what the kernel counts: time on a core, resident memory, other programs' time
    figures.py        medians, ranges, ratios
    report.py         the tables, and one run beside another
"""
