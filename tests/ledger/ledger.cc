// Prints the ledger: a line for each entry point of the core and configuration, and what of it has
// a bar. README.md explains both.
#include <cstdio>
#include <initializer_list>
#include <map>
#include <string>

#include "tests/ledger/entry_points.h"
#include "tests/ledger/machine.h"

namespace {

using namespace shootdown;
using namespace shootdown::ledger;

std::string pair(const char* name, std::uint64_t one, std::uint64_t other, char sign) {
  if (one == 0 && other == 0) return "";
  return std::string(" ") + name + "=" + std::to_string(one) + sign + std::to_string(other);
}

std::string number(const char* name, std::uint64_t count) {
  return count == 0 ? "" : std::string(" ") + name + "=" + std::to_string(count);
}

std::string executed() {
  struct Column {
    const char* name;
    std::uint64_t Executed::* field;
  };
  std::string text;
  for (const Column& column : {Column{"locked", &Executed::locked},
                               {"fences", &Executed::fences},
                               {"invlpg", &Executed::invlpg},
                               {"invpcid", &Executed::invpcid},
                               {"cr3", &Executed::cr3},
                               {"cr3-kept", &Executed::cr3_kept},
                               {"cr4", &Executed::cr4},
                               {"invlpgb", &Executed::invlpgb},
                               {"tlbsync", &Executed::tlbsync},
                               {"whole", &Executed::whole},
                               {"needless", &Executed::needless}}) {
    std::uint64_t others = 0;
    for (CpuId cpu = 1; cpu < kCpus; ++cpu) others += counted().executed[cpu].*column.field;
    text += pair(column.name, counted().executed[0].*column.field, others, '+');
  }
  return text;
}

std::string interrupts() {
  const Interrupts& sent = counted().interrupts;
  if (sent.taken == 0) return "";
  return " interrupts=" + std::to_string(sent.taken) + number("unicast", sent.unicast) +
         number("cluster", sent.cluster) + number("shorthand", sent.shorthand);
}

/// How many moves of how many lines, all together and by name.
std::string moves(const char* title, bool by_name) {
  std::uint64_t lines = 0;
  std::uint64_t all = 0;
  std::string names;
  for (const auto& [name, moves] : directory().moves()) {
    lines += moves.lines.size();
    all += moves.count;
    names +=
        " " + name + "=" + std::to_string(moves.count) + "/" + std::to_string(moves.lines.size());
  }
  return pair(title, all, lines, '/') + (by_name && all != 0 ? ":" + names : "");
}

std::string key_of(const char* entry_point, const Configuration& configuration) {
  return std::string(entry_point) + " " + kModeNames[static_cast<unsigned>(configuration.mode)] +
         " pti=" + (configuration.isolation ? "on" : "off") +
         " cpus=" + std::to_string(configuration.cpus);
}

bool count(const char* entry_point, const Configuration& configuration, Schedule schedule) {
  const std::string failure = count_operation(entry_point, configuration, schedule);
  if (failure.empty()) return true;
  std::fprintf(stderr, "ledger: %s: %s\n", key_of(entry_point, configuration).c_str(),
               failure.c_str());
  return false;
}

bool print_line(const char* entry_point, const Configuration& configuration) {
  if (!count(entry_point, configuration, Schedule::in_turns)) return false;
  const std::string in_turns = moves("moves-in-turns", false);
  if (!count(entry_point, configuration, Schedule::to_completion)) return false;
  const std::string text = executed() + interrupts() + in_turns + moves("moves", true);
  std::printf("%s:%s\n", key_of(entry_point, configuration).c_str(),
              text.empty() ? " nothing" : text.c_str());
  return true;
}

bool print_lines() {
  bool all_ran = true;
  for (const char* entry_point : entry_points()) {
    for (const Mode mode :
         {Mode::concurrent, Mode::serial, Mode::early, Mode::kept, Mode::invlpgb}) {
      for (const bool isolation : {false, true}) {
        for (const CpuId cpus : {1U, 2U, 4U, 8U}) {
          const Configuration configuration{.mode = mode, .isolation = isolation, .cpus = cpus};
          if (is_in_ledger(entry_point, configuration)) {
            all_ran &= print_line(entry_point, configuration);
          }
        }
      }
    }
  }
  return all_ran;
}

/// The bars, each with what it is measured by.
bool print_bars() {
  constexpr const char* kFlush = "range_1_page";
  // Or one command would be for all CPUs but the sender.
  constexpr const char* kNotAll = "range_1_last_lazy";
  const auto with_cpus = [](CpuId cpus) {
    return Configuration{.mode = Mode::concurrent, .isolation = false, .cpus = cpus};
  };
  bool all_ran = true;
  for (const CpuId cpus : {2U, 4U, 8U}) {
    all_ran &= count(kFlush, with_cpus(cpus), Schedule::to_completion);
    const std::string key = key_of(kFlush, with_cpus(cpus));
    unsigned lines = 0;
    std::string names;
    for (const auto& [name, count] : directory().between(0, cpus - 1)) {
      lines += count;
      names += " " + name + "=" + std::to_string(count);
    }
    std::printf("%s, lines between CPUs 0 and %u (bar: mm.tlb_gen and 2): %u:%s\n", key.c_str(),
                cpus - 1, lines, names.c_str());
    all_ran &= count(kNotAll, with_cpus(cpus), Schedule::to_completion);
    const Interrupts& sent = counted().interrupts;
    const std::uint64_t commands = sent.unicast + sent.cluster + sent.shorthand;
    std::printf("%s, commands to the interrupt controller (bar: 1 a cluster of 4, %u): %s\n",
                key_of(kNotAll, with_cpus(cpus)).c_str(), cpus / 8 + (cpus > 2 ? 1 : 0),
                std::to_string(commands).c_str());
  }
  all_ran &= count(kFlush, with_cpus(1), Schedule::to_completion);
  std::string names;
  for (const auto& [name, lines] : directory().used()) names += " " + name;
  std::printf("%s, lines used (bar: none of a call):%s\n", key_of(kFlush, with_cpus(1)).c_str(),
              names.c_str());
  return all_ran;
}

}  // namespace

int main() {
  const bool lines = print_lines();
  const bool bars = print_bars();
  return lines && bars ? 0 : 2;
}
