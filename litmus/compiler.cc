#include "litmus/compiler.h"

namespace shootdown::host::litmus {

namespace {

constexpr std::size_t kMostPaths = 4096;
constexpr std::size_t kLongestPath = 2000;

/// Follows a column from instruction to instruction, both ways at each conditional jump.
class PathFinder {
 public:
  PathFinder(const Column& column, unsigned most_repeats, std::vector<Code>& paths)
      : column_(column), most_repeats_(most_repeats), paths_(paths) {}

  /// Returns false if there are too many paths.
  bool follow(Code path, std::size_t at, unsigned repeats) {
    while (at < column_.code.size() && column_.code[at].op != Op::leave) {
      const Instruction& made = column_.code[at];
      if (path.size() > kLongestPath) return false;
      if (made.op == Op::jump_if) {
        Instruction goes_on = made;
        goes_on.op = Op::assume;
        Instruction jumps = goes_on;
        jumps.taken = true;
        Code other = path;
        other.push_back(goes_on);
        if (!follow(std::move(other), at + 1, repeats)) return false;
        path.push_back(jumps);
      }
      if (made.op != Op::jump_if && made.op != Op::jump) {
        path.push_back(made);
        ++at;
        continue;
      }
      if (made.target <= at) {
        path.push_back({.op = repeats == most_repeats_ ? Op::cut : Op::light_fence});
        if (++repeats > most_repeats_) break;
      }
      at = made.target;
    }
    paths_.push_back(std::move(path));
    return paths_.size() <= kMostPaths;
  }

 private:
  const Column& column_;
  unsigned most_repeats_;
  std::vector<Code>& paths_;
};

}  // namespace

bool find_paths(const Column& column, unsigned most_repeats, std::vector<Code>& paths) {
  return PathFinder(column, most_repeats, paths).follow({}, 0, 0);
}

Compiled compile(const Test& test, const Column& column, const CompilerOptions& options) {
  const std::string name = "P" + std::to_string(column.cpu) + suffix_of(column.role);
  std::vector<Code> paths;
  if (!find_paths(column, options.most_repeats, paths)) {
    return {.problem = name + " has too many paths for memory cxx; a smaller --unroll helps"};
  }
  if (column.role != Role::cpu && paths.size() > 1) {
    return {.problem = name + ": a handler with jumps is not supported in memory cxx"};
  }
  Compiled made;
  for (const Code& path : paths) {
    const Lowered lowered = lower(test, column, path);
    if (!lowered.problem.empty()) return {.problem = lowered.problem};
    if (add_orders(lowered, options.load_buffering, made.orders)) continue;
    return {.problem = name +
                       " has too many orders for memory cxx; fences or a smaller --unroll "
                       "help"};
  }
  return made;
}

}  // namespace shootdown::host::litmus
