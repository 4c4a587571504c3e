"""What the campaign can fuzz."""

from dataclasses import dataclass
from pathlib import Path

from fuzz.campaign.paths import program


@dataclass(frozen=True)
class Target:
    """A fuzz target, as a program of every engine that can run it."""

    programs: dict[str, str]
    max_len: int  # of an input
    scenarios: bool = False  # inputs are scenarios as bytes, and the mutator knows them
    dictionary: str | None = None
    seeds: tuple[str, ...] = ()  # folders of files to start from

    def dictionary_file(self) -> Path | None:
        return program(self.dictionary) if self.dictionary else None

    def seed_files(self) -> list[Path]:
        return [path for folder in self.seeds for path in sorted(program(folder).rglob("*")) if path.is_file()]


def _engines(name: str) -> dict[str, str]:
    return {"libfuzzer": f"{name}_libfuzzer", "afl": f"{name}_afl"}


TARGETS = {
    "machine": Target({**_engines("fuzz/shootdown"), "random": "fuzz/search_bin"}, 776, scenarios=True),
    "scenario-text": Target(_engines("fuzz/scenario_text"), 4096,
                            dictionary="fuzz/scenario_text.dict", seeds=("fuzz/proofs", "fuzz/seeds")),
    "litmus-text": Target(_engines("litmus/litmus_text"), 4096,
                          dictionary="litmus/litmus.dict", seeds=("litmus/seeds",)),
}
