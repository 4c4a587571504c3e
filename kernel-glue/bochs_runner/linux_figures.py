"""What Linux needs for the same flushes in the same emulator.

Debian's Linux 6.1.0-56-cloud (6.1.192), mitigations off or page-table isolation on, in the packaged
Bochs 2.7 with CPU model corei7_haswell_4770 and "idle=halt nohpet clocksource=tsc": a module calls
flush_tlb_mm_range() on a process with one thread spinning on each CPU and reads the time-stamp counter
before and after, 200 times. Median ticks; a tick is one instruction of each CPU.
"""

# (kind, pages) as in the kernel's bench lines -> CPUs -> ticks
MITIGATIONS_OFF = {
    ("range", 1): {1: 215, 2: 785, 4: 1045, 8: 1485},
    ("range", 10): {1: 440, 2: 1010, 4: 1270, 8: 1710},
    ("range", 33): {2: 1585, 4: 1845, 8: 2285},
    ("all", 0): {2: 750, 4: 1015, 8: 1455},
    ("freed_tables", 1): {1: 215, 2: 755, 4: 965, 8: 1300},
}
PTI_ON = {
    ("range", 1): {1: 225, 2: 820, 4: 1045},
    ("range", 10): {1: 540, 2: 1135, 4: 1360},
    ("range", 33): {1: 1345, 2: 1940, 4: 2165},
    ("all", 0): {1: 190, 2: 780, 4: 1005},
    ("freed_tables", 1): {1: 225, 2: 790, 4: 955},
}
