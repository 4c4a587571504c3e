"""What Linux needs for the same flushes in the same emulator.

Debian's Linux 6.1.0-56-cloud (6.1.192), and later its backport of Linux 6.12, mitigations off or page-table
isolation on, in the packaged Bochs 2.7 with CPU model corei7_haswell_4770 and "idle=halt nohpet
clocksource=tsc": a module calls flush_tlb_mm_range() on a process with one thread spinning on each CPU and
reads the time-stamp counter before and after, 200 times. Median ticks; a tick is one instruction of each CPU.
In all figures of several CPUs is a real kernel's way into an interrupt and out of it.

Not all of 6.1 with mitigations off was measured so: one CPU is of a boot with several in which the mask held one, its
1 page is the figure of freed tables, and its 10 pages are 215 and 25 a page.
"""

# (kind, pages) as in the kernel's bench lines -> CPUs -> ticks
_6_1 = {
    ("range", 1): {1: 215, 2: 785, 4: 1045, 8: 1485},
    ("range", 10): {1: 440, 2: 1010, 4: 1270, 8: 1710},
    ("range", 33): {2: 1585, 4: 1845, 8: 2285},
    ("all", 0): {2: 750, 4: 1015, 8: 1455},
    ("freed_tables", 1): {1: 215, 2: 755, 4: 965, 8: 1300},
}
_6_1_PTI = {
    ("range", 1): {1: 225, 2: 820, 4: 1045},
    ("range", 10): {1: 540, 2: 1135, 4: 1360},
    ("range", 33): {1: 1345, 2: 1940, 4: 2165},
    ("all", 0): {1: 190, 2: 780, 4: 1005},
    ("freed_tables", 1): {1: 225, 2: 790, 4: 955},
}
_6_12 = {
    ("range", 1): {2: 805, 4: 1060, 8: 1570},
    ("range", 10): {2: 1030, 4: 1285, 8: 1870},
    ("range", 33): {2: 1605, 4: 1860, 8: 2370},
    ("all", 0): {2: 770, 4: 1020, 8: 1530},
    ("freed_tables", 1): {1: 225, 2: 780, 4: 925, 8: 1435},
}
_6_12_PTI = {
    ("range", 1): {1: 240, 2: 835, 4: 1090},
    ("range", 10): {1: 590, 2: 1180, 4: 1440},
    ("range", 33): {1: 1490, 2: 2085, 4: 2340},
    ("all", 0): {1: 195, 2: 785, 4: 1040},
    ("freed_tables", 1): {1: 240, 2: 805, 4: 950},
}
# Page-table isolation -> version -> figures
VERSIONS = {False: {"6.1": _6_1, "6.12": _6_12}, True: {"6.1": _6_1_PTI, "6.12": _6_12_PTI}}


def of(flush, cpus, pti):
    """Version -> ticks of a flush, where there is a figure."""
    return {version: figures[flush][cpus] for version, figures in VERSIONS[pti].items() if cpus in figures[flush]}


def bar(flush, cpus, pti):
    """At most so many ticks are to be enough: half of Linux 6.1, and a third on one CPU. None: there is no figure."""
    peer = of(flush, cpus, pti).get("6.1")
    return None if peer is None else round(peer / 3) if cpus == 1 else peer // 2
