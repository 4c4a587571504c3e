#include "tests/ledger/directory.h"

namespace shootdown::ledger {
namespace {

std::uint64_t line_of(const void* address) {
  return reinterpret_cast<std::uintptr_t>(address) / kCacheLine;
}

}  // namespace

Directory& directory() {
  static Directory one;
  return one;
}

void Directory::name(const void* begin, std::size_t bytes, const std::string& name, bool numbered) {
  const std::uint64_t first = line_of(begin);
  const std::uint64_t last = line_of(static_cast<const char*>(begin) + bytes - 1);
  for (std::uint64_t line = first; line <= last; ++line) {
    const bool numbers = numbered && line != first;
    names_.try_emplace(line, numbers ? name + "[" + std::to_string(line - first) + "]" : name);
  }
}

void Directory::forget() {
  names_.clear();
  lines_.clear();
  moves_.clear();
  used_.clear();
  counting_ = false;
}

void Directory::start() {
  moves_.clear();
  used_.clear();
  for (auto& [number, line] : lines_) line.took_part = 0;
  counting_ = true;
}

void Directory::access(CpuId cpu, const void* address, std::size_t bytes, bool write) {
  if (bytes == 0) return;
  const std::uint64_t last = line_of(static_cast<const char*>(address) + bytes - 1);
  for (std::uint64_t line = line_of(address); line <= last; ++line) {
    if (names_.contains(line)) access_line(line, cpu, write);
  }
}

void Directory::access_line(std::uint64_t number, CpuId cpu, bool write) {
  Line& line = lines_[number];
  const std::string& name = names_.at(number);
  const std::uint64_t self = std::uint64_t{1} << cpu;
  const bool holds = (line.holders & self) != 0;
  const bool alone = line.holders == self;
  if (counting_) used_.insert(name);
  // A line that no CPU holds comes from memory, which is no transfer.
  if (line.holders != 0 && (write ? !alone : !holds)) {
    if (counting_) {
      Moves& moves = moves_[name];
      ++moves.count;
      moves.lines.insert(number);
      const std::uint64_t from = line.owner != kNoCpu ? std::uint64_t{1} << line.owner : 0;
      line.took_part |= self | from | (write ? line.holders : 0);
    }
  }
  if (write) {
    line.holders = self;
    line.owner = cpu;
  } else {
    line.holders |= self;
    if (line.owner != cpu) line.owner = kNoCpu;
  }
}

std::map<std::string, unsigned> Directory::between(CpuId one, CpuId other) const {
  const std::uint64_t both = (std::uint64_t{1} << one) | (std::uint64_t{1} << other);
  std::map<std::string, unsigned> found;
  for (const auto& [number, line] : lines_) {
    if ((line.took_part & both) == both) ++found[names_.at(number)];
  }
  return found;
}

}  // namespace shootdown::ledger
