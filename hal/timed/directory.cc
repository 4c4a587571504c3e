#include "hal/timed/directory.h"

namespace shootdown::timed {

Source Line::source_for(CpuId cpu, bool write) const {
  if (held_by == 0) return Source::memory;
  const bool holds = holders.test(cpu);
  if (holds && (!write || held_by == 1)) return Source::own_cache;
  return owner != kNoCpu && owner != cpu ? Source::owner : Source::sharers;
}

void Directory::name(const void* begin, std::size_t bytes, const std::string& name, bool numbered) {
  const auto address = reinterpret_cast<std::uintptr_t>(begin);
  const std::uint64_t first = address / line_bytes_;
  const std::uint64_t last = (address + bytes - 1) / line_bytes_;
  for (std::uint64_t number = first; number <= last; ++number) {
    const bool numbers = numbered && number != first;
    lines_.try_emplace(
        number, Line{.name = numbers ? name + "[" + std::to_string(number - first) + "]" : name,
                     .index = lines_.size()});
  }
}

void Directory::forget() {
  lines_.clear();
  moves_.clear();
  counting_ = false;
}

void Directory::start() {
  moves_.clear();
  for (auto& [number, line] : lines_) {
    line.took_part.clear();
    line.users.clear();
  }
  counting_ = true;
}

void Directory::take(std::uint64_t number, Line& line, CpuId cpu, bool write) {
  const Source source = line.source_for(cpu, write);
  if (counting_) line.users.set(cpu);
  // A line that no CPU holds comes from memory, which is no transfer.
  if (counting_ && (source == Source::owner || source == Source::sharers)) {
    Moves& moves = moves_[line.name];
    ++moves.count;
    moves.lines.insert(number);
    line.took_part.set(cpu);
    if (line.owner != kNoCpu) line.took_part.set(line.owner);
    if (write) line.took_part |= line.holders;
  }
  if (write) {
    if (source != Source::own_cache) {
      line.holders.clear();
      line.holders.set(cpu);
      line.held_by = 1;
    }
    line.owner = cpu;
  } else {
    if (!line.holders.test(cpu)) {
      line.holders.set(cpu);
      ++line.held_by;
    }
    if (line.owner != cpu) line.owner = kNoCpu;
  }
}

std::map<std::string, unsigned> Directory::used() const {
  std::map<std::string, unsigned> found;
  for (const auto& [number, line] : lines_) {
    if (!line.users.empty()) ++found[line.name];
  }
  return found;
}

std::map<std::string, unsigned> Directory::used_by(CpuId cpu) const {
  std::map<std::string, unsigned> found;
  for (const auto& [number, line] : lines_) {
    if (line.users.test(cpu)) ++found[line.name];
  }
  return found;
}

std::map<std::string, unsigned> Directory::between(CpuId one, CpuId other) const {
  std::map<std::string, unsigned> found;
  for (const auto& [number, line] : lines_) {
    if (line.took_part.test(one) && line.took_part.test(other)) ++found[line.name];
  }
  return found;
}

}  // namespace shootdown::timed
