"""The mutants that the test kernel shows where CPUs really run at the same time."""

# Which race finds it in QEMU, with which options. It comes by chance, but many times in each second.
RACED_MUTANTS = {
    "m25_lazy_exit_reads_first": ("race: out of lazy mode", "--cpus 2 --races 30 --test race:_out_of_lazy_mode"),
}
